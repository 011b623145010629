//! What to measure: a TOML file, flags that override it, and defaults, resolved into one plan that
//! is stored with the results.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::args::PlanArgs;
use crate::demo;
use crate::error::{At, Error, Result};
use crate::eval::{BosMode, Protocol, Variant};
use crate::quantize::Recipe;

/// A plan with every choice made. Its TOML form is both input and record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
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
    /// Recipes of the decoder blocks, one variant each.
    pub recipes: Vec<String>,
    /// Recipe of the embedding.
    pub embed: String,
    /// Recipe of the head.
    pub head: String,
    /// Seed of everything random.
    pub seed: u64,
}

/// A plan file: the same keys, none of them needed.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct PlanFile {
    model: Option<String>,
    text: Option<String>,
    protocol: Option<String>,
    bos: Option<String>,
    context: Option<usize>,
    limit: Option<usize>,
    parse_special: Option<bool>,
    recipes: Option<Vec<String>>,
    bits: Option<Vec<u8>>,
    embed: Option<String>,
    head: Option<String>,
    seed: Option<u64>,
}

/// Largest plan file that is read, in bytes.
const MAX_PLAN_BYTES: u64 = 1 << 20;

/// The bit-widths of a sweep that names none.
const DEFAULT_BITS: [u8; 3] = [4, 2, 1];

impl Plan {
    /// Puts flags over the plan file over the defaults.
    ///
    /// # Errors
    /// Input errors that name the flag or key.
    pub fn resolve(args: &PlanArgs) -> Result<Plan> {
        let file = args.plan.as_deref().map(read).transpose()?.unwrap_or_default();
        let model = args.model.clone().or(file.model).unwrap_or_else(|| demo::NAME.into());
        let is_demo = model == demo::NAME;
        let text = args.text.clone().or(file.text).or_else(|| is_demo.then(|| demo::NAME.into()));
        let text = text.ok_or_else(|| {
            Error::input("no text to score the model on").hint("give one with --text FILE")
        })?;
        let protocol = args.protocol.clone().or(file.protocol).unwrap_or_else(|| "full".into());
        let known: Protocol = protocol.parse()?;
        let bos = args.bos.clone().or(file.bos);
        bos.as_deref().map(str::parse::<BosMode>).transpose()?;
        let demo_context = is_demo.then_some(demo::WINDOW_TOKENS);
        let context = args.context.or(file.context).or(demo_context);
        let recipes = recipes(args, file.recipes, file.bits)?;
        let part = |flag: &Option<String>, key: Option<String>| {
            let text = flag.clone().or(key).unwrap_or_else(|| "fp16".into());
            text.parse::<Recipe>().map(|recipe| recipe.to_string())
        };
        let plan = Plan {
            model,
            text,
            protocol,
            bos,
            context: context.unwrap_or(known.window_tokens()),
            limit: args.limit.or(file.limit),
            parse_special: args.parse_special || file.parse_special.unwrap_or(false),
            recipes,
            embed: part(&args.embed, file.embed).at(|| "--embed")?,
            head: part(&args.head, file.head).at(|| "--head")?,
            seed: args.seed.or(file.seed).unwrap_or(0),
        };
        plan.check()?;
        Ok(plan)
    }

    fn check(&self) -> Result<()> {
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
        let (embedding, head) = (self.embed.parse()?, self.head.parse()?);
        let mut variants = Vec::new();
        for recipe in &self.recipes {
            let blocks: Recipe = recipe.parse()?;
            let variant = Variant { blocks, embedding, head };
            if !blocks.is_reference() && !variants.contains(&variant) {
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

    /// What identifies the question, whatever recipes answer it: the name of the run's folder
    /// ends in it.
    pub fn question_hash(&self) -> String {
        let question = Plan {
            recipes: Vec::new(),
            embed: String::new(),
            head: String::new(),
            model: absolute(&self.model),
            text: absolute(&self.text),
            ..self.clone()
        };
        let hash = blake3::hash(format!("{question:?}").as_bytes()).to_hex();
        hash.as_str()[..8].to_owned()
    }
}

/// A path that means the same from another folder; other words as they are.
fn absolute(text: &str) -> String {
    let path = PathBuf::from(text).canonicalize();
    path.map_or_else(|_| text.to_owned(), |path| path.display().to_string())
}

fn recipes(
    args: &PlanArgs,
    file: Option<Vec<String>>,
    file_bits: Option<Vec<u8>>,
) -> Result<Vec<String>> {
    let from_bits = |bits: &[u8]| -> Result<Vec<String>> {
        let of = |bits: &u8| Recipe::for_bits(*bits).map(|recipe| recipe.to_string());
        bits.iter().map(of).collect::<Result<_>>().at(|| "--bits")
    };
    let canonical = |texts: Vec<String>| -> Result<Vec<String>> {
        texts.iter().map(|text| text.parse::<Recipe>().map(|recipe| recipe.to_string())).collect()
    };
    match (&args.recipes, &args.bits, file, file_bits) {
        (Some(recipes), _, _, _) => canonical(recipes.clone()).at(|| "--recipes"),
        (None, Some(bits), _, _) => from_bits(bits),
        (None, None, Some(recipes), None) => canonical(recipes).at(|| "recipes"),
        (None, None, None, Some(bits)) => from_bits(&bits),
        (None, None, Some(_), Some(_)) => {
            Err(Error::input("the plan has both `recipes` and `bits`").hint("keep one of them"))
        }
        (None, None, None, None) => from_bits(&DEFAULT_BITS),
    }
}

fn read(path: &Path) -> Result<PlanFile> {
    let meta = std::fs::metadata(path).map_err(|e| Error::io("read the plan", path, e))?;
    if meta.len() > MAX_PLAN_BYTES {
        let found = meta.len();
        return Err(Error::input(format!(
            "expected a plan of at most {MAX_PLAN_BYTES} bytes, found {found}"
        ))
        .at(path.display()));
    }
    let text = std::fs::read_to_string(path).map_err(|e| Error::io("read the plan", path, e))?;
    toml::from_str(&text).map_err(|e| Error::input("not a plan").because(e).at(path.display()))
}
