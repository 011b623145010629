//! The options of a run as plain data. Flags, plan files and library users all fill these structs.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::Deserialize;

use super::tolerances::deserialize_limits;

/// What to measure. Every field is optional; a sweep fills in the defaults. A TOML plan file has these
/// fields as its keys.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PlanOptions {
    /// Checkpoint: a Hugging Face folder, a GGUF file, `hf:owner/name[@revision]`, or `demo` (the
    /// default).
    pub model: Option<String>,
    /// How text is split into words, for a GGUF file that does not say it: `llama-bpe`, `qwen2`.
    pub pretokenizer: Option<String>,
    /// Path of the text to score the model on (UTF-8); the demo has its own.
    pub text: Option<String>,
    /// How the text is cut and scored: `full` (the default), `llama.cpp` or `gptq-2048`.
    pub protocol: Option<String>,
    /// Where BOS goes: `none`, `prepend`, `replace` or `text`.
    pub bos: Option<String>,
    /// Tokens per window.
    pub context: Option<usize>,
    /// Score only this many windows, the first ones.
    pub limit: Option<usize>,
    /// Parse special tokens such as `<|start|>` in the text.
    pub parse_special: bool,
    /// Recipes of the decoder blocks, or mixes by part.
    pub recipes: Option<Vec<String>>,
    /// Bit-widths, each standing for its recommended recipe; the default is 4, 2 and 1.
    pub bits: Option<Vec<u8>>,
    /// A calibrated recipe whose steps are measured one by one.
    #[serde(skip)]
    pub ablate: Option<String>,
    /// Recipe of attention in every variant.
    pub attention: Option<String>,
    /// Recipe of the experts (or MLP) in every variant.
    pub experts: Option<String>,
    /// Recipe of the embedding; the default is fp16.
    pub embed: Option<String>,
    /// Recipe of the head; the default is fp16.
    pub head: Option<String>,
    /// Seed of everything random; the default is 0.
    pub seed: Option<u64>,
    /// What computes the reference and the variants: `cpu`, `accelerate` or `metal`. The default is the
    /// fastest that was compiled in and that the machine has.
    pub backend: Option<String>,
    /// Path of the text to calibrate on, or `demo`.
    pub calibrate: Option<String>,
    /// Windows of that text.
    pub calibration_windows: Option<usize>,
    /// How the ranges of int8 activations are chosen: `minmax`, `percentile` or `entropy`.
    pub activation_range: Option<String>,
    /// File of saved second moments, used instead of a text.
    #[serde(rename = "calibration")]
    pub moments: Option<String>,
    /// Allocate bits by tensor: stored bits per weight of the blocks' linear layers, on average.
    pub target_bits: Option<f64>,
    /// Allocate as many bits as are predicted to fit this device.
    pub fit: Option<String>,
    /// Whether the app on that device has the entitlement for an increased memory limit.
    pub entitled: bool,
    /// Recipes that an allocation chooses from.
    pub candidates: Option<Vec<String>>,
    /// Windows that the tensors' sensitivities are measured on; the default is 2.
    pub sensitivity_windows: Option<usize>,
    /// Tolerances of a check, by metric, such as `perplexity` = `0.5%`.
    #[serde(deserialize_with = "deserialize_limits")]
    pub check: BTreeMap<String, String>,
}

impl PlanOptions {
    /// The part of these options that is about calibration.
    pub fn calibration(&self) -> CalibrationOptions {
        CalibrationOptions {
            calibrate: self.calibrate.clone(),
            calibration_windows: self.calibration_windows,
            activation_range: self.activation_range.clone(),
        }
    }
}

/// The recipes that flags or keys set for single parts of every variant.
#[derive(Debug, Default)]
pub(super) struct PartRecipes {
    pub attention: Option<String>,
    pub experts: Option<String>,
    pub embed: Option<String>,
    pub head: Option<String>,
}

impl PartRecipes {
    /// The parts with their names.
    pub fn named(&self) -> [(&'static str, &Option<String>); 4] {
        [
            ("attention", &self.attention),
            ("experts", &self.experts),
            ("embed", &self.embed),
            ("head", &self.head),
        ]
    }
}

/// Text and method of calibration.
#[derive(Debug, Clone, Default)]
pub struct CalibrationOptions {
    /// Path of the text to calibrate on, or `demo`.
    pub calibrate: Option<String>,
    /// Windows of that text; the default depends on the recipes.
    pub calibration_windows: Option<usize>,
    /// How the ranges of int8 activations are chosen: `minmax`, `percentile` or `entropy`.
    pub activation_range: Option<String>,
}

/// Where results go and what a run may use.
#[derive(Debug, Clone)]
pub struct RunOptions {
    /// Folder of all runs; a run gets `<reports>/<date>-<model>-<hash>`.
    pub reports: PathBuf,
    /// Memory budget in bytes; windows are walked in batches that fit.
    pub memory_bytes: Option<u64>,
    /// Files of coded weights that are scored as they are.
    pub coded: Vec<PathBuf>,
}

impl Default for RunOptions {
    fn default() -> Self {
        RunOptions { reports: PathBuf::from("reports"), memory_bytes: None, coded: Vec::new() }
    }
}
