//! What to measure: a TOML file, flags that override it, and defaults, resolved into one plan that
//! is stored with the results.

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
use crate::quantize::Recipe;

/// A plan with every choice made. Its TOML form is both input and record.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Plan {
    /// Folder, GGUF file, `hf:owner/name[@revision]`, or `demo`.
    pub model: String,
    /// Text file, or `demo`.
    pub text: String,
    /// Name of the perplexity protocol.
    pub protocol: String,
    /// BOS mode; absent: what the protocol does with this tokenizer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bos: Option<String>,
    /// Tokens per window.
    pub context: usize,
    /// At most so many windows; absent: the whole text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<usize>,
    /// Whether special tokens in the text are parsed.
    pub parse_special: bool,
    /// Variants: a recipe of the decoder blocks each, or a mix by part.
    pub recipes: Vec<String>,
    /// Whether they stand for widths, and depend on the model until they are settled.
    #[serde(skip)]
    pub is_by_width: bool,
    /// Seed of everything random.
    pub seed: u64,
    /// Text that ranges of int8 activations are chosen on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub calibrate: Option<String>,
    /// Windows of that text; absent: 16.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub calibration_windows: Option<usize>,
    /// File of second moments that codes are chosen by, instead of a text.
    #[serde(rename = "calibration", skip_serializing_if = "Option::is_none")]
    pub moments: Option<String>,
    /// How ranges are chosen; absent: by percentile.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub activation_range: Option<String>,
    /// What bits are allocated for by tensor, if they are.
    #[serde(flatten)]
    pub target: Target,
    /// Tolerances of a check, as far as the plan sets them.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub check: Limits,
}

/// The bit-widths of a sweep that names none.
const DEFAULT_BITS: [u8; 3] = [4, 2, 1];

impl Plan {
    /// Puts flags over the keys of a plan file over the defaults.
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
            Error::input("no text to score the model on").hint("give one with --text FILE")
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
        let is_by_width =
            flags.recipes.is_none() && (flags.bits.is_some() || file.recipes.is_none());
        let recipes = match (file.recipes, file.bits) {
            // An allocation or an ablation alone is enough.
            (None, None) if target.is_set() && flags.recipes.is_none() && flags.bits.is_none() => {
                Vec::new()
            }
            (recipes, bits) => variants(flags, recipes, bits, &parts, is_calibrated)?,
        };
        let plan = Plan {
            model,
            text,
            protocol,
            bos,
            context: context.unwrap_or(known.window_tokens()),
            limit: flags.limit.or(file.limit),
            parse_special: flags.parse_special || file.parse_special,
            recipes,
            is_by_width,
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

    /// What ranges of int8 activations are chosen on, as far as the plan says.
    pub fn calibration(&self) -> CalibrationOptions {
        CalibrationOptions {
            calibrate: self.calibrate.clone(),
            calibration_windows: self.calibration_windows,
            activation_range: self.activation_range.clone(),
        }
    }

    /// What identifies the question, whatever recipes answer it and however their ranges are
    /// chosen: the name of the run's folder ends in it. Folders of old are found by these words.
    pub fn question_hash(&self) -> String {
        let Plan { protocol, bos, context, limit, parse_special, seed, .. } = self;
        let (model, text) = (absolute(&self.model), absolute(&self.text));
        let question = format!(
            "Plan {{ model: {model:?}, text: {text:?}, protocol: {protocol:?}, bos: {bos:?}, \
             context: {context:?}, limit: {limit:?}, parse_special: {parse_special:?}, \
             recipes: [], seed: {seed:?} }}"
        );
        let hash = blake3::hash(question.as_bytes()).to_hex();
        hash.as_str()[..8].to_owned()
    }
}

/// A path that means the same from another folder; other words as they are.
fn absolute(text: &str) -> String {
    let path = PathBuf::from(text).canonicalize();
    path.map_or_else(|_| text.to_owned(), |path| path.display().to_string())
}

/// The variants as canonical mixes: recipes or bit-widths, with the parts that flags or keys set.
/// With a text to calibrate on, vectors are, and whatever a bit-width below 8 stands for.
fn variants(
    flags: &PlanOptions,
    file_recipes: Option<Vec<String>>,
    file_bits: Option<Vec<u8>>,
    parts: &PartRecipes,
    is_calibrated: bool,
) -> Result<Vec<String>> {
    let of_bits = |bits: &[u8], place: &'static str| -> Result<Vec<Variant>> {
        let is_meant = |recipe: &Recipe| is_calibrated && recipe.nominal_bits() < Some(8);
        let of = |bits: &u8| Ok(Variant::uniform(Recipe::for_bits(*bits)?).calibrated(is_meant));
        bits.iter().map(of).collect::<Result<_>>().at(|| place)
    };
    let of_recipes = |texts: &[String], place: &'static str| -> Result<Vec<Variant>> {
        texts.iter().map(|text| allocation_file::variant(text)).collect::<Result<_>>().at(|| place)
    };
    let experts = parts.experts.as_ref();
    let mut variants = match (&flags.recipes, &flags.bits, &file_recipes, &file_bits) {
        (Some(recipes), _, _, _) => of_recipes(recipes, "--recipes")?,
        (None, Some(bits), _, _) => of_bits(bits, "--bits")?,
        (None, None, Some(recipes), None) => of_recipes(recipes, "recipes")?,
        (None, None, None, Some(bits)) => of_bits(bits, "bits")?,
        (None, None, Some(_), Some(_)) => {
            return Err(
                Error::input("the plan has both `recipes` and `bits`").hint("keep one of them")
            );
        }
        (None, None, None, None) if flags.ablate.is_some() => Vec::new(),
        // Recipes by part alone are one variant.
        (None, None, None, None) => match experts {
            Some(recipe) => of_recipes(std::slice::from_ref(recipe), "--experts")?,
            None => of_bits(&DEFAULT_BITS, "--bits")?,
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
    variants.into_iter().map(with_parts).collect()
}
