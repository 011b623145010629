//! Flag groups that commands share.

use std::path::PathBuf;

use clap::Args;

use super::help;
use crate::error::{At, Error, Result};
use crate::eval::Variant;
use crate::model::Backend;
use crate::quantize::{LayerRecipe, REFERENCE_IS_STORED};
use crate::report::Format;
use crate::run::allocation_file;
use crate::run::inputs;
use crate::run::options::{CalibrationOptions, PlanOptions, RunOptions};
use crate::run::plan::Plan;
use crate::run::plan_file;

/// What to measure.
#[derive(Debug, Clone, Default, Args)]
pub struct PlanArgs {
    /// Read these choices from a TOML plan; flags override it
    ///
    /// Keys are named as flags, with underscores.
    #[arg(long, value_name = "FILE")]
    pub plan: Option<PathBuf>,
    /// Folder, GGUF file, hf:owner/name[@revision] or demo [default: demo]
    #[arg(long, short, value_name = "CHECKPOINT")]
    pub model: Option<String>,
    /// Text to score (UTF-8) [default: the demo's, for the demo]
    #[arg(long, short, value_name = "FILE")]
    pub text: Option<String>,
    /// Bit-widths, each with its recommended recipe [default: 4,2,1]
    ///
    /// 16, 8, 6, 4, 3, 2 or 1, separated by commas. 2 and 1 are vectors, or palettes if the tables of
    /// vectors would add more than 0.2 bits per weight to a small model.
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    pub bits: Option<Vec<u8>>,
    /// Recipes by name, instead of --bits
    ///
    /// Separated by commas. A mix uses other recipes for some parts:
    /// palette2-g16+attention:palette4-g16+embed:int8. @FILE takes a recipe for each tensor from a file
    /// that --target-bits or --fit wrote.
    #[arg(long, value_name = "LIST", value_delimiter = ',', conflicts_with = "bits")]
    pub recipes: Option<Vec<String>>,
    /// Recipe of the embedding [default: fp16]
    #[arg(long, value_name = "RECIPE")]
    pub embed: Option<String>,
    /// Recipe of the head [default: fp16]
    ///
    /// A tied head with the embedding's recipe is stored once.
    #[arg(long, value_name = "RECIPE")]
    pub head: Option<String>,
    /// Recipe of attention [default: that of the blocks]
    #[arg(long, value_name = "RECIPE", hide_short_help = true)]
    pub attention: Option<String>,
    /// Recipe of experts or MLP [default: that of the blocks]
    #[arg(long, value_name = "RECIPE", hide_short_help = true)]
    pub experts: Option<String>,
    /// How text is cut and scored: full, llama.cpp, gptq-2048 [default: full]
    #[arg(long, value_name = "NAME")]
    pub protocol: Option<String>,
    /// Tokens per window [default: 512]
    ///
    /// The default is 2048 for gptq-2048 and 256 for the demo.
    #[arg(long, value_name = "TOKENS")]
    pub context: Option<usize>,
    /// Score only the first windows [default: all]
    #[arg(long, value_name = "WINDOWS")]
    pub limit: Option<usize>,
    /// Where the begin-of-text token goes: none, prepend, replace, text
    ///
    /// The default is what the protocol and the tokenizer say.
    #[arg(long, value_name = "MODE", hide_short_help = true)]
    pub bos: Option<String>,
    /// Read <|start|> and the like as special tokens, not as text
    #[arg(long, hide_short_help = true)]
    pub parse_special: bool,
    #[command(flatten)]
    pub backend: BackendArgs,
    /// Seed of everything random [default: 0]
    #[arg(long, value_name = "SEED", hide_short_help = true)]
    pub seed: Option<u64>,
    #[command(flatten, next_help_heading = help::CALIBRATION)]
    pub calibration: CalibrationArgs,
    /// Quantize -cal recipes from a file of evalkit calibrate
    #[arg(
        long = "calibration",
        value_name = "FILE",
        help_heading = help::CALIBRATION,
        hide_short_help = true
    )]
    pub moments: Option<String>,
    /// Measure what each step of a calibrated recipe is worth
    ///
    /// Adds variants: without calibration, with all steps off, with each step off by itself, with all
    /// steps on. Example: vector2-d4-cal.
    #[arg(long, value_name = "RECIPE", help_heading = help::CALIBRATION, hide_short_help = true)]
    pub ablate: Option<String>,
    #[command(flatten, next_help_heading = help::BITS_BY_TENSOR)]
    pub allocation: AllocationArgs,
}

impl PlanArgs {
    /// The plan that the flags and the file of `--plan` describe.
    ///
    /// # Errors
    /// Input errors that name the flag or key.
    pub fn plan(&self) -> Result<Plan> {
        let file = self.plan.as_deref().map(plan_file::read).transpose()?.unwrap_or_default();
        if let Some(model) = self.model.as_ref().or(file.model.as_ref()) {
            inputs::check_local(model)?;
        }
        Plan::resolve(&self.options(), file)
    }

    /// The flags as plain options.
    fn options(&self) -> PlanOptions {
        let PlanArgs { calibration, allocation, .. } = self.clone();
        PlanOptions {
            model: self.model.clone(),
            text: self.text.clone(),
            protocol: self.protocol.clone(),
            bos: self.bos.clone(),
            context: self.context,
            limit: self.limit,
            parse_special: self.parse_special,
            recipes: self.recipes.clone(),
            bits: self.bits.clone(),
            ablate: self.ablate.clone(),
            attention: self.attention.clone(),
            experts: self.experts.clone(),
            embed: self.embed.clone(),
            head: self.head.clone(),
            seed: self.seed,
            backend: self.backend.backend.clone(),
            pretokenizer: self.backend.pretokenizer.clone(),
            calibrate: calibration.calibrate,
            calibration_windows: calibration.calibration_windows,
            activation_range: calibration.activation_range,
            moments: self.moments.clone(),
            target_bits: allocation.target_bits,
            fit: allocation.fit,
            entitled: allocation.entitled,
            candidates: allocation.candidates,
            sensitivity_windows: allocation.sensitivity_windows,
            ..PlanOptions::default()
        }
    }
}

/// What computes the model, and what its file leaves open.
#[derive(Debug, Clone, Default, Args)]
pub struct BackendArgs {
    /// What computes: cpu, accelerate, metal [default: the fastest]
    ///
    /// accelerate and metal are for Macs. Their numbers agree with those of cpu within 1e-5, and only those
    /// of cpu are the same bits in every run. Runs of different backends are never mixed.
    #[arg(long, value_name = "NAME", hide_short_help = true)]
    pub backend: Option<String>,
    /// How text is split into words, for a GGUF file that does not say it
    #[arg(long, value_name = "NAME", hide_short_help = true)]
    pub pretokenizer: Option<String>,
}

impl BackendArgs {
    /// The backend that the flag names; otherwise the fastest one that is there.
    ///
    /// # Errors
    /// As [`Backend::resolve`].
    pub fn backend(&self) -> Result<Backend> {
        Backend::resolve(self.backend.as_deref())
    }
}

/// How many bits are allocated tensor by tensor, and from which recipes.
#[derive(Debug, Clone, Default, Args)]
pub struct AllocationArgs {
    /// Give each tensor its own recipe; at most BITS on average
    ///
    /// BITS are the stored bits per weight of the blocks' linear layers, tables and scales included.
    /// First measures how sensitive the model is to each tensor.
    #[arg(long, value_name = "BITS", conflicts_with = "fit")]
    pub target_bits: Option<f64>,
    /// Like --target-bits, with the bits that DEVICE should hold
    ///
    /// Uses as many bits as DEVICE's memory is predicted to hold. Leaves room for a key/value cache of
    /// --context tokens, the app and the rest of the model. DEVICE is an identifier (iPhone14,2) or a
    /// name ("iPhone 13 Pro").
    #[arg(long, value_name = "DEVICE")]
    pub fit: Option<String>,
    /// With --fit: assume Apple's increased-memory-limit entitlement
    #[arg(long, hide_short_help = true)]
    pub entitled: bool,
    /// Recipes to choose from
    ///
    /// The default is palettes of 1, 2, 3, 4 and 6 bits; with --calibrate also vectors of 1 and 2 bits.
    #[arg(long, value_name = "LIST", value_delimiter = ',', hide_short_help = true)]
    pub candidates: Option<Vec<String>>,
    /// Windows to measure sensitivities on [default: 2]
    ///
    /// They are not scored: the first of --calibrate, otherwise the windows after the scored ones.
    #[arg(long, value_name = "WINDOWS", hide_short_help = true)]
    pub sensitivity_windows: Option<usize>,
}

/// How codes and the ranges of int8 inputs are calibrated.
#[derive(Debug, Clone, Default, Args)]
pub struct CalibrationArgs {
    /// Text to calibrate codes and int8 ranges on
    ///
    /// UTF-8, and never text that is scored. `demo` is the demo's own text. In a sweep, recipes of
    /// --bits below 8 bits and vectors become -cal recipes.
    #[arg(long, value_name = "FILE")]
    pub calibrate: Option<String>,
    /// Windows of that text [default: 32; 128 for -ft; 16 for -a8 alone]
    ///
    /// They are spread over the whole text.
    #[arg(long, value_name = "WINDOWS", hide_short_help = true)]
    pub calibration_windows: Option<usize>,
    /// Range of int8 inputs (-a8): minmax, percentile, entropy [default: percentile]
    ///
    /// percentile is the 99.99th.
    #[arg(long, value_name = "METHOD", hide_short_help = true)]
    pub activation_range: Option<String>,
}

impl CalibrationArgs {
    /// The flags as plain options.
    pub fn options(&self) -> CalibrationOptions {
        CalibrationOptions {
            calibrate: self.calibrate.clone(),
            calibration_windows: self.calibration_windows,
            activation_range: self.activation_range.clone(),
        }
    }
}

/// Where results go, and what the run may use.
#[derive(Debug, Clone, Args)]
pub struct RunArgs {
    /// Folder of runs
    ///
    /// This run is written to <DIR>/<date>-<model>-<hash>.
    #[arg(long, value_name = "DIR", default_value = "reports")]
    pub reports: PathBuf,
    /// Memory budget such as 4GB
    ///
    /// Windows are processed in batches that fit.
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    pub memory: Option<u64>,
    /// Score files of evalkit quantize, do not quantize again
    #[arg(long, value_name = "LIST", value_delimiter = ',', hide_short_help = true)]
    pub coded: Vec<PathBuf>,
    /// Print the work and the peak memory, and stop
    #[arg(long)]
    pub dry_run: bool,
}

impl RunArgs {
    /// The flags as plain options.
    pub fn options(&self) -> RunOptions {
        RunOptions {
            reports: self.reports.clone(),
            memory_bytes: self.memory,
            coded: self.coded.clone(),
        }
    }
}

/// The format of tables.
#[derive(Debug, Clone, Args)]
pub struct FormatArgs {
    /// Format: terminal, markdown, html, csv or json
    #[arg(long, value_name = "FORMAT", default_value = "terminal")]
    pub format: Format,
}

/// A size such as `4GB`, `512MB` or `2GiB`, in bytes.
pub fn parse_size(text: &str) -> Result<u64> {
    const UNITS: [(&str, f64); 7] = [
        ("KiB", 1024.0),
        ("MiB", 1_048_576.0),
        ("GiB", 1_073_741_824.0),
        ("kB", 1e3),
        ("MB", 1e6),
        ("GB", 1e9),
        ("B", 1.0),
    ];
    let refused = || Error::input(format!("expected a size such as 4GB or 512MiB, found {text:?}"));
    let (unit, factor) = UNITS.iter().find(|(unit, _)| text.ends_with(unit)).ok_or_else(refused)?;
    let number: f64 = text.trim_end_matches(unit).trim().parse().map_err(|_| refused())?;
    let bytes = number * factor;
    if !(bytes.is_finite() && (1.0..1e18).contains(&bytes)) {
        return Err(refused());
    }
    Ok(bytes as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_decimal_or_binary_and_need_a_unit() {
        assert_eq!(parse_size("4GB").unwrap(), 4_000_000_000);
        assert_eq!(parse_size("1.5 MiB").unwrap(), 1_572_864);
        for bad in ["4", "GB", "-1GB", "NaNGB", "1e30GB"] {
            assert!(parse_size(bad).is_err(), "{bad}");
        }
    }
}

/// The checkpoint to code, and its recipe.
#[derive(Debug, Args)]
pub struct RecipeArgs {
    /// Folder, GGUF file, hf:owner/name[@revision] or demo
    #[arg(long, short, value_name = "CHECKPOINT", default_value = "demo")]
    pub model: String,
    /// Recipe of the blocks, a mix by part, or @FILE
    ///
    /// @FILE holds a recipe for each tensor: a sweep with --target-bits or --fit wrote it.
    #[arg(long, value_name = "RECIPE")]
    recipe: Option<String>,
    /// Recipe of the embedding [default: fp16]
    #[arg(long, value_name = "RECIPE")]
    embed: Option<String>,
    /// Recipe of the head [default: fp16]
    ///
    /// A tied head with the embedding's recipe is stored once.
    #[arg(long, value_name = "RECIPE")]
    head: Option<String>,
}

impl RecipeArgs {
    /// The variant that the flags describe.
    ///
    /// # Errors
    /// Input errors of the recipes; `fp` is one, because it keeps the weights as they are.
    pub fn variant(&self) -> Result<Variant> {
        let recipe = self.recipe.as_deref().ok_or_else(|| {
            Error::input("no recipe is given")
                .hint("name one with --recipe, such as palette2-g16-s")
        })?;
        let mut variant = allocation_file::variant(recipe).at(|| "--recipe")?;
        for (part, recipe) in [("embed", &self.embed), ("head", &self.head)] {
            if let Some(recipe) = recipe {
                variant.set_part(part, recipe).at(|| format!("--{part}"))?;
            }
        }
        let parts = [variant.attention, variant.mlp, variant.embedding.into(), variant.head];
        if parts.iter().any(LayerRecipe::is_reference) {
            return Err(Error::input(REFERENCE_IS_STORED).at("--recipe").hint("use `fp16`"));
        }
        Ok(variant)
    }
}
