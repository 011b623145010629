//! `model.json`: what a runner must know about a folder of packages.

use serde::{Deserialize, Serialize};

use super::compute_units::ComputeUnits;
use crate::error::Result;
use crate::eval::InputScales;
use crate::package::mil::Opset;
use crate::package::program::{Cache, Design};

/// The name of the file.
pub const MANIFEST_NAME: &str = "model.json";
/// The value of its field `format`.
pub const FORMAT: &str = "evalkit-model";
/// The value of its field `version`.
pub const VERSION: u32 = 1;

/// The file's content.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// Always [`FORMAT`].
    pub format: String,
    /// Always 1.
    pub version: u32,
    /// The model, and what the packages were made for.
    pub model: ModelInfo,
    /// The packages in the order in which they run.
    pub packages: Vec<PackageEntry>,
    /// How tokens are sent to experts; only for mixtures of experts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub routing: Option<ExpertRouting>,
    /// The scales of inputs that are rounded to int8; only for variants with `-a8`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub input_scales: Vec<InputScaleEntry>,
    /// The other files of the folder: tokenizer, generation settings, licence.
    pub files: Vec<FileEntry>,
}

/// The model, and what the packages were made for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelInfo {
    /// A short name.
    pub name: String,
    /// The variant: how each part of the weights is coded.
    pub variant: String,
    /// A hash of the checkpoint that the packages were made from.
    pub model_hash: String,
    /// `ios17` or `ios18`.
    pub target: String,
    /// `gpu` or `ane`.
    pub compute: String,
    /// `state` or `inputs`; `None` in older files, which have the target's default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cache: Option<String>,
    /// The compute units that the packages are to be run on unless a user decides otherwise; `all` in
    /// older files.
    #[serde(default)]
    pub compute_units: ComputeUnits,
    /// Tokens that the cache holds.
    pub context_tokens: usize,
    /// Tokens that one call of `prefill` takes.
    pub prefill_tokens: usize,
    /// The number of decoder blocks.
    pub layers: usize,
    /// The width of a hidden state.
    pub hidden_size: usize,
    /// The number of key and value heads.
    pub kv_heads: usize,
    /// The width of a head.
    pub head_dim: usize,
    /// The width of a value head, if it differs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value_dim: Option<usize>,
    /// The number of last inputs of each short convolution that the runner keeps; `None` if the model
    /// has none. The runner must pass `new_conv_cache` on as `conv_cache`, and pad no call.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub conv_tokens: Option<usize>,
    /// Tokens in the vocabulary.
    pub vocab_size: usize,
    /// The number of most recent tokens that layers with sliding attention see; `None` if the model
    /// has no such layers.
    pub sliding_window_tokens: Option<usize>,
    /// The total size of all packages in bytes.
    pub size_bytes: u64,
}

impl ModelInfo {
    /// What the packages were made for.
    ///
    /// # Errors
    /// An input error if a field has an unknown value.
    pub fn design(&self) -> Result<Design> {
        let target: Opset = self.target.parse()?;
        Ok(Design {
            target,
            compute: self.compute.parse()?,
            cache: self.cache.as_ref().map_or(Ok(Cache::of(target)), |cache| cache.parse())?,
            context_tokens: self.context_tokens,
            prefill_tokens: self.prefill_tokens,
        })
    }
}

/// One package.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PackageEntry {
    /// The folder's name.
    pub path: String,
    /// What it computes.
    pub role: PackageRole,
    /// The index of its first block, and the number of its blocks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub layers: Option<[usize; 2]>,
    /// The only function of the package, `decode` or `prefill`; `None` if it has both.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub function: Option<String>,
    /// The compute units that this package is to be run on, whatever the others are run on; `None` if
    /// it goes with the others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compute_units: Option<ComputeUnits>,
    /// The total size of its files in bytes.
    pub size_bytes: u64,
    /// Its files.
    pub files: Vec<FileEntry>,
}

/// What a package computes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PackageRole {
    /// Token ids to logits.
    Whole,
    /// Token ids to hidden states.
    Embedding,
    /// Hidden states to hidden states.
    Blocks,
    /// Hidden states to hidden states, normalized states and the router's choice.
    Router,
    /// Normalized states to the output of one expert, by functions `expert_<e>_decode` and
    /// `expert_<e>_prefill`.
    Experts,
    /// Hidden states to logits.
    Head,
}

/// The scale of one input that is rounded to int8: the size of a step, of which there are 127 in
/// either direction.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InputScaleEntry {
    /// The block; `None` for the head.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub layer: Option<usize>,
    /// `attention`, `output`, `mlp`, `down` or `head`.
    pub input: String,
    /// The scale, an fp16 number.
    pub scale: f32,
}

impl Manifest {
    /// The scales of inputs that are rounded to int8.
    ///
    /// # Errors
    /// An input error if an entry names an input that does not exist.
    pub fn scales(&self) -> Result<InputScales> {
        let entries = self.input_scales.iter();
        InputScales::named(entries.map(|of| (of.layer, of.input.as_str(), of.scale)))
    }
}

/// How tokens are sent to experts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExpertRouting {
    /// Experts per layer.
    pub experts: usize,
    /// Experts that a token is sent to.
    pub experts_per_token: usize,
    /// What the runner computes, in plain text.
    pub rule: String,
}

/// One file with its size and hash.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileEntry {
    /// Its path relative to the package, or to the folder of packages.
    pub path: String,
    /// Its size in bytes.
    pub size_bytes: u64,
    /// The SHA-256 of its content in hexadecimal.
    pub sha256: String,
}
