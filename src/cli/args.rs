//! Flag groups that commands share.

use std::path::PathBuf;

use clap::Args;

use crate::error::{At, Error, Result};
use crate::eval::Variant;
use crate::quantize::LayerRecipe;
use crate::report::Format;
use crate::run::allocation_file;
use crate::run::options::{CalibrationOptions, PlanOptions, RunOptions};
use crate::run::plan::Plan;
use crate::run::plan_file;

/// What to measure.
#[derive(Debug, Clone, Default, Args)]
pub struct PlanArgs {
    /// TOML plan; flags override its keys
    #[arg(long, value_name = "FILE")]
    pub plan: Option<PathBuf>,
    /// Checkpoint: a Hugging Face folder, a GGUF file, hf:owner/name[@revision], or demo
    #[arg(long, short, value_name = "CHECKPOINT")]
    pub model: Option<String>,
    /// Evaluation text (UTF-8); the demo has its own
    #[arg(long, short, value_name = "FILE")]
    pub text: Option<String>,
    /// Recipes of the decoder blocks, comma-separated [default: those of --bits]; a mix sets parts
    /// apart: palette2-g16+attention:palette4-g16+embed:int8; @FILE takes them, tensor by tensor, from
    /// the file of an allocation
    #[arg(long, value_name = "LIST", value_delimiter = ',', conflicts_with = "bits")]
    pub recipes: Option<Vec<String>>,
    /// A calibrated recipe, such as vector2-d4-cal: adds the variants that show what each of its
    /// steps is worth
    #[arg(long, value_name = "RECIPE")]
    pub ablate: Option<String>,
    /// Bit-widths, comma-separated, each with its recommended recipe [default: 4,2,1]
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    pub bits: Option<Vec<u8>>,
    /// Recipe of attention in every variant [default: that of the blocks]
    #[arg(long, value_name = "RECIPE")]
    pub attention: Option<String>,
    /// Recipe of the experts (or MLP) in every variant [default: that of the blocks]
    #[arg(long, value_name = "RECIPE")]
    pub experts: Option<String>,
    /// Recipe of the embedding [default: fp16]
    #[arg(long, value_name = "RECIPE")]
    pub embed: Option<String>,
    /// Recipe of the head [default: fp16]; a tied head with the embedding's recipe is stored once
    #[arg(long, value_name = "RECIPE")]
    pub head: Option<String>,
    /// How the text is cut and scored: full, llama.cpp or gptq-2048 [default: full]
    #[arg(long, value_name = "NAME")]
    pub protocol: Option<String>,
    /// Where BOS goes: none, prepend, replace or text [default: as protocol and tokenizer say]
    #[arg(long, value_name = "MODE")]
    pub bos: Option<String>,
    /// Tokens per window [default: 512; 2048 for gptq-2048; 256 for the demo]
    #[arg(long, value_name = "TOKENS")]
    pub context: Option<usize>,
    /// Score only the first windows [default: all]
    #[arg(long, value_name = "WINDOWS")]
    pub limit: Option<usize>,
    /// Parse special tokens such as <|start|> in the text instead of reading them as text
    #[arg(long)]
    pub parse_special: bool,
    /// Seed of everything random [default: 0]
    #[arg(long, value_name = "SEED")]
    pub seed: Option<u64>,
    #[command(flatten)]
    pub calibration: CalibrationArgs,
    /// Second moments that evalkit calibrate saved: -cal recipes are coded by them, without a text
    #[arg(long = "calibration", value_name = "FILE")]
    pub moments: Option<String>,
    #[command(flatten)]
    pub allocation: AllocationArgs,
}

impl PlanArgs {
    /// The plan that the flags and the file of `--plan` describe.
    ///
    /// # Errors
    /// Input errors that name the flag or key.
    pub fn plan(&self) -> Result<Plan> {
        let file = self.plan.as_deref().map(plan_file::read).transpose()?.unwrap_or_default();
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

/// What bits are allocated for, tensor by tensor, and from which recipes.
#[derive(Debug, Clone, Default, Args)]
pub struct AllocationArgs {
    /// Allocate bits by tensor, so many per weight of the blocks' linear layers on average, tables
    /// and scales included; the tensors' sensitivities are measured first
    #[arg(long, value_name = "BITS", conflicts_with = "fit", help_heading = "Allocation")]
    pub target_bits: Option<f64>,
    /// The same, so many as this device is predicted to hold with windows of --context in its cache:
    /// iPhone14,2 or "iPhone 13 Pro"
    #[arg(long, value_name = "DEVICE", help_heading = "Allocation")]
    pub fit: Option<String>,
    /// Count on the entitlement for an increased memory limit on the device of --fit
    #[arg(long, help_heading = "Allocation")]
    pub entitled: bool,
    /// Recipes to choose from, comma-separated [default: palettes of 1, 2, 3, 4 and 6 bits, with
    /// --calibrate vectors of 1 and 2 bits too]
    #[arg(long, value_name = "LIST", value_delimiter = ',', help_heading = "Allocation")]
    pub candidates: Option<Vec<String>>,
    /// Windows that sensitivities are measured on: the first of --calibrate, else the first that are
    /// not scored [default: 2]
    #[arg(long, value_name = "WINDOWS", help_heading = "Allocation")]
    pub sensitivity_windows: Option<usize>,
}

/// What codes and the ranges of int8 activations are chosen on, and how.
#[derive(Debug, Clone, Default, Args)]
pub struct CalibrationArgs {
    /// Text (UTF-8) that codes (-cal, -ft) and the ranges of int8 activations (-a8) are chosen on; the
    /// demo has its own
    #[arg(long, value_name = "FILE")]
    pub calibrate: Option<String>,
    /// Windows of that text, spread over it [default: 128 for -ft, 32 for other codes, 16 for ranges alone]
    #[arg(long, value_name = "WINDOWS")]
    pub calibration_windows: Option<usize>,
    /// How ranges are chosen: minmax, percentile (99.99) or entropy [default: percentile]
    #[arg(long, value_name = "METHOD")]
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

/// Where results go and what the run may use.
#[derive(Debug, Clone, Args)]
pub struct RunArgs {
    /// Folder of all runs; this one gets <DIR>/<date>-<model>-<hash>
    #[arg(long, value_name = "DIR", default_value = "reports")]
    pub reports: PathBuf,
    /// Memory budget, such as 4GB; windows are walked in batches that stay within it
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    pub memory: Option<u64>,
    /// Files of coded weights from `evalkit quantize`: scored as they are instead of coding again
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    pub coded: Vec<PathBuf>,
    /// List the work and the peak memory, and stop
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

/// How a table is printed.
#[derive(Debug, Clone, Args)]
pub struct FormatArgs {
    /// terminal, markdown, html, csv or json
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

/// What is coded, and how.
#[derive(Debug, Args)]
pub struct RecipeArgs {
    /// Checkpoint: a Hugging Face folder, a GGUF file, hf:owner/name[@revision], or demo
    #[arg(long, short, value_name = "CHECKPOINT", default_value = "demo")]
    pub model: String,
    /// Recipe of the decoder blocks, such as palette2-g16-s, a mix by part such as
    /// palette2-g16+attention:palette4-g16, or @FILE for that of an allocation
    #[arg(long, value_name = "RECIPE")]
    recipe: Option<String>,
    /// Recipe of the embedding [default: fp16]
    #[arg(long, value_name = "RECIPE")]
    embed: Option<String>,
    /// Recipe of the head [default: fp16]
    #[arg(long, value_name = "RECIPE")]
    head: Option<String>,
}

impl RecipeArgs {
    /// The mix that the flags describe.
    ///
    /// # Errors
    /// Input errors of the recipes; `fp`, which codes nothing.
    pub fn variant(&self) -> Result<Variant> {
        let recipe = self.recipe.as_deref().ok_or_else(|| {
            Error::input("no recipe to code by")
                .hint("give one with --recipe, such as palette2-g16-s")
        })?;
        let mut variant = allocation_file::variant(recipe).at(|| "--recipe")?;
        for (part, recipe) in [("embed", &self.embed), ("head", &self.head)] {
            if let Some(recipe) = recipe {
                variant.set_part(part, recipe).at(|| format!("--{part}"))?;
            }
        }
        let parts = [variant.attention, variant.mlp, variant.embedding.into(), variant.head];
        if parts.iter().any(LayerRecipe::is_reference) {
            return Err(Error::input("fp has no coded form").at("--recipe").hint("use fp16"));
        }
        Ok(variant)
    }
}
