//! Resolves a plan file, the flags that override it, and defaults into one plan, which is stored with
//! the results.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::Serialize;

use super::ablation;
use super::allocation_file;
use super::options::{CalibrationOptions, PartRecipes, PlanOptions};
use super::target::Target;
use super::tolerances::{Limits, tolerances};
use crate::demo;
use crate::error::{At, Error, Result};
use crate::eval::{BosMode, Protocol, Variant};
use crate::model::Backend;
use crate::quantize::Recipe;

/// A resolved plan. Its TOML form is a plan file, and is stored with the results.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Plan {
    /// Folder, GGUF file, `hf:owner/name[@revision]`, or `demo`.
    pub model: String,
    /// How text is split into words, if the model's GGUF file does not say it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pretokenizer: Option<String>,
    /// Text file, or `demo`.
    pub text: String,
    /// Name of the perplexity protocol.
    pub protocol: String,
    /// BOS mode; `None` lets the protocol and the tokenizer decide.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bos: Option<String>,
    /// Tokens per window.
    pub context: usize,
    /// The largest number of windows; `None` takes the whole text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<usize>,
    /// Whether special tokens in the text are parsed.
    pub parse_special: bool,
    /// Variants: each is a recipe of the decoder blocks, or a mix by part.
    pub recipes: Vec<String>,
    /// How many of them, the first ones, stand for bit-widths: which recipe a width gets depends on
    /// the model, until the plan is settled.
    #[serde(skip)]
    pub by_width: usize,
    /// Seed of everything random.
    pub seed: u64,
    /// What computes the reference and the variants.
    pub backend: Backend,
    /// Calibration text, for codes and for the ranges of int8 activations.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub calibrate: Option<String>,
    /// Windows of that text; `None` lets the recipes decide.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub calibration_windows: Option<usize>,
    /// File of saved second moments that codes are calibrated by instead of a text.
    #[serde(rename = "calibration", skip_serializing_if = "Option::is_none")]
    pub moments: Option<String>,
    /// How ranges are chosen; `None` means by percentile.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub activation_range: Option<String>,
    /// The budget of an allocation, if there is one.
    #[serde(flatten)]
    pub target: Target,
    /// The tolerances of a check that the plan sets.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub check: Limits,
}

/// The bit-widths of a sweep that names none.
const DEFAULT_BITS: [u8; 3] = [4, 2, 1];

impl Plan {
    /// Resolves a plan: flags override the keys of a plan file, and these override the defaults.
    ///
    /// # Errors
    /// Input errors that name the flag or key.
    pub fn resolve(flags: &PlanOptions, file: PlanOptions) -> Result<Plan> {
        let either = |flag: &Option<String>, key: &Option<String>| flag.clone().or(key.clone());
        let parts = PartRecipes {
            attention: either(&flags.attention, &file.attention),
            experts: either(&flags.experts, &file.experts),
            embed: either(&flags.embed, &file.embed),
            head: either(&flags.head, &file.head),
        };
        let target = Target::resolve(flags, &file, &parts)?;
        let model = flags.model.clone().or(file.model).unwrap_or_else(|| demo::NAME.into());
        let is_demo = model == demo::NAME;
        let text = flags.text.clone().or(file.text).or_else(|| is_demo.then(|| demo::NAME.into()));
        let text = text.ok_or_else(|| {
            Error::input("there is no text to score the model on").hint("give one with --text FILE")
        })?;
        let protocol = flags.protocol.clone().or(file.protocol).unwrap_or_else(|| "full".into());
        let known: Protocol = protocol.parse()?;
        let bos = flags.bos.clone().or(file.bos);
        bos.as_deref().map(str::parse::<BosMode>).transpose()?;
        let demo_context = is_demo.then_some(demo::WINDOW_TOKENS);
        let context = flags.context.or(file.context).or(demo_context);
        let CalibrationOptions { calibrate, calibration_windows, activation_range } =
            flags.calibration();
        let calibrate = calibrate.or(file.calibrate);
        let is_calibrated = calibrate.is_some();
        let Variants { recipes, by_width } = match (file.recipes, file.bits) {
            // A plan may have an allocation as its only variant.
            (None, None) if target.is_set() && flags.recipes.is_none() && flags.bits.is_none() => {
                Variants::default()
            }
            (recipes, bits) => variants(flags, recipes, bits, &parts, is_calibrated)?,
        };
        let backend = flags.backend.as_deref().or(file.backend.as_deref());
        let plan = Plan {
            backend: Backend::resolve(backend)?,
            model,
            pretokenizer: either(&flags.pretokenizer, &file.pretokenizer),
            text,
            protocol,
            bos,
            context: context.unwrap_or(known.window_tokens()),
            limit: flags.limit.or(file.limit),
            parse_special: flags.parse_special || file.parse_special,
            recipes,
            by_width,
            seed: flags.seed.or(file.seed).unwrap_or(0),
            calibrate,
            calibration_windows: calibration_windows.or(file.calibration_windows),
            activation_range: activation_range.or(file.activation_range),
            moments: flags.moments.clone().or(file.moments),
            target,
            check: file.check,
        };
        plan.check()?;
        Ok(plan)
    }

    fn check(&self) -> Result<()> {
        tolerances(&self.check, &[])?;
        if self.limit == Some(0) {
            return Err(Error::input("--limit: expected 1 window or more, found 0"));
        }
        if self.protocol == "gptq-2048" && self.context != 2048 {
            let found = self.context;
            return Err(Error::input(format!(
                "--context {found}: gptq-2048 has windows of 2048 tokens"
            ))
            .hint("use --protocol full for other windows"));
        }
        Ok(())
    }

    /// The variants, without the reference and without repetitions.
    ///
    /// # Errors
    /// None for a plan that was resolved.
    pub fn variants(&self) -> Result<Vec<Variant>> {
        let mut variants = Vec::new();
        for mix in &self.recipes {
            let variant: Variant = mix.parse()?;
            if !variant.is_reference() && !variants.contains(&variant) {
                variants.push(variant);
            }
        }
        Ok(variants)
    }

    /// The plan as TOML.
    ///
    /// # Errors
    /// A bug-class error.
    pub fn to_toml(&self) -> Result<String> {
        toml::to_string(self).map_err(|e| Error::bug("cannot write the plan").because(e))
    }

    /// The part of the plan that is about calibration.
    pub fn calibration(&self) -> CalibrationOptions {
        CalibrationOptions {
            calibrate: self.calibrate.clone(),
            calibration_windows: self.calibration_windows,
            activation_range: self.activation_range.clone(),
        }
    }

    /// The hash that a run's folder name ends in. It covers model, text, protocol and backend, but neither
    /// recipes nor calibration. Changing this text would lose the folders of existing runs.
    pub fn question_hash(&self) -> String {
        let Plan { protocol, bos, context, limit, parse_special, seed, .. } = self;
        let backend = self.backend.recorded().map_or(String::new(), |name| format!(" on {name}"));
        let split = self.pretokenizer.as_ref().map_or(String::new(), |name| format!(" by {name}"));
        let (model, text) = (absolute(&self.model), absolute(&self.text));
        let question = format!(
            "Plan {{ model: {model:?}, text: {text:?}, protocol: {protocol:?}, bos: {bos:?}, \
             context: {context:?}, limit: {limit:?}, parse_special: {parse_special:?}, \
             recipes: [], seed: {seed:?} }}{backend}{split}"
        );
        let hash = blake3::hash(question.as_bytes()).to_hex();
        hash.as_str()[..8].to_owned()
    }
}

/// The absolute path if `text` is the path of a file or folder, otherwise `text` itself.
fn absolute(text: &str) -> String {
    let path = PathBuf::from(text).canonicalize();
    path.map_or_else(|_| text.to_owned(), |path| path.display().to_string())
}

/// The variants of a plan, spelled as canonical mixes.
#[derive(Default)]
struct Variants {
    recipes: Vec<String>,
    /// How many of them, the first ones, stand for bit-widths.
    by_width: usize,
}

/// The names of the variants: recipes or bit-widths, with the parts that flags or keys set. With a
/// calibration text, vector recipes and the recipes of bit-widths below 8 become calibrated ones.
fn variants(
    flags: &PlanOptions,
    file_recipes: Option<Vec<String>>,
    file_bits: Option<Vec<u8>>,
    parts: &PartRecipes,
    is_calibrated: bool,
) -> Result<Variants> {
    let of_bits = |bits: &[u8], place: &'static str| -> Result<Vec<Variant>> {
        let is_meant = |recipe: &Recipe| is_calibrated && recipe.nominal_bits() < Some(8);
        let of = |bits: &u8| Ok(Variant::uniform(Recipe::for_bits(*bits)?).calibrated(is_meant));
        bits.iter().map(of).collect::<Result<_>>().at(|| place)
    };
    let of_recipes = |texts: &[String], place: &'static str| -> Result<Vec<Variant>> {
        texts.iter().map(|text| allocation_file::variant(text)).collect::<Result<_>>().at(|| place)
    };
    let experts = parts.experts.as_ref();
    let mut by_width = 0;
    let mut widths = |bits: &[u8], place: &'static str| -> Result<Vec<Variant>> {
        by_width = bits.len();
        of_bits(bits, place)
    };
    let mut variants = match (&flags.recipes, &flags.bits, &file_recipes, &file_bits) {
        (Some(recipes), _, _, _) => of_recipes(recipes, "--recipes")?,
        (None, Some(bits), _, _) => widths(bits, "--bits")?,
        (None, None, Some(recipes), None) => of_recipes(recipes, "recipes")?,
        (None, None, None, Some(bits)) => widths(bits, "bits")?,
        (None, None, Some(_), Some(_)) => {
            return Err(
                Error::input("the plan has both `recipes` and `bits`").hint("keep one of them")
            );
        }
        (None, None, None, None) if flags.ablate.is_some() => Vec::new(),
        // A recipe for experts without one for blocks makes a single variant.
        (None, None, None, None) => match experts {
            Some(recipe) => of_recipes(std::slice::from_ref(recipe), "--experts")?,
            None => widths(&DEFAULT_BITS, "--bits")?,
        },
    };
    if let Some(recipe) = &flags.ablate {
        variants.extend(ablation::variants(recipe).at(|| "--ablate")?);
    }
    let with_parts = |mut variant: Variant| -> Result<String> {
        if variant.is_reference() {
            return Ok(variant.to_string());
        }
        for (part, recipe) in parts.named() {
            if let Some(recipe) = recipe {
                variant.set_part(part, recipe).at(|| format!("--{part}"))?;
            }
        }
        let is_meant = |recipe: &Recipe| is_calibrated && matches!(recipe, Recipe::Vector(_));
        Ok(variant.calibrated(is_meant).to_string())
    };
    let recipes = variants.into_iter().map(with_parts).collect::<Result<_>>()?;
    Ok(Variants { recipes, by_width })
}
