//! `model.json`: what a runner must know of a folder of packages.

use serde::{Deserialize, Serialize};

use crate::error::Result;
use crate::eval::InputScales;

/// The name of the file.
pub const MANIFEST_NAME: &str = "model.json";
/// Value of its field `format`.
pub const FORMAT: &str = "evalkit-model";
/// Value of its field `version`.
pub const VERSION: u32 = 1;

/// The file's content.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// Always [`FORMAT`].
    pub format: String,
    /// Always 1.
    pub version: u32,
    /// What it is.
    pub model: Described,
    /// The packages in the order in which they run.
    pub packages: Vec<PackageEntry>,
    /// How tokens are sent to experts; only of mixtures.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub routing: Option<Routing>,
    /// Scales of the inputs that are rounded to int8; only of `-a8`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub input_scales: Vec<InputScale>,
    /// Tokenizer, generation settings and licence beside the packages.
    pub files: Vec<FileEntry>,
}

/// The model, and what the packages were made for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Described {
    /// A short name.
    pub name: String,
    /// How its weights are coded, part by part.
    pub variant: String,
    /// A hash of the checkpoint that it was coded from.
    pub model_hash: String,
    /// `ios17` or `ios18`.
    pub target: String,
    /// `gpu` or `ane`.
    pub compute: String,
    /// Tokens that the cache holds.
    pub context_tokens: usize,
    /// Tokens that `prefill` takes at a time.
    pub prefill_tokens: usize,
    /// Decoder blocks.
    pub layers: usize,
    /// Channels of a hidden state.
    pub hidden_size: usize,
    /// Heads of the cache.
    pub kv_heads: usize,
    /// Channels of a head.
    pub head_dim: usize,
    /// Tokens in the vocabulary.
    pub vocab_size: usize,
    /// How many of the last tokens sliding layers see, where there are such layers.
    pub sliding_window_tokens: Option<usize>,
    /// Bytes of all packages.
    pub size_bytes: u64,
}

/// One package.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PackageEntry {
    /// The folder's name.
    pub path: String,
    /// What it computes.
    pub role: Role,
    /// The first of its blocks, and how many.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub layers: Option<[usize; 2]>,
    /// Which function is its only one, `decode` or `prefill`; nothing where it has all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub function: Option<String>,
    /// Bytes of all its files.
    pub size_bytes: u64,
    /// Its files.
    pub files: Vec<FileEntry>,
}

/// What a package computes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Token ids to logits.
    Whole,
    /// Token ids to hidden states.
    Embedding,
    /// Hidden states to hidden states.
    Blocks,
    /// Hidden states to hidden states, normed states and the router's choice.
    Router,
    /// Normed states to what one expert gives: functions `expert_<e>_decode` and
    /// `expert_<e>_prefill`.
    Experts,
    /// Hidden states to logits.
    Head,
}

/// The scale of one input that is rounded to int8: steps of this size, 127 in either direction.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InputScale {
    /// The block; none for the head.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub layer: Option<usize>,
    /// `attention`, `output`, `mlp`, `down` or `head`.
    pub input: String,
    /// The scale, an fp16 number.
    pub scale: f32,
}

impl Manifest {
    /// The scales of int8 inputs.
    ///
    /// # Errors
    /// An input error for an input that does not exist.
    pub fn scales(&self) -> Result<InputScales> {
        let entries = self.input_scales.iter();
        InputScales::named(entries.map(|of| (of.layer, of.input.as_str(), of.scale)))
    }
}

/// How tokens are sent to experts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Routing {
    /// Experts per layer.
    pub experts: usize,
    /// Experts that a token is sent to.
    pub experts_per_token: usize,
    /// What the runner computes, in words.
    pub rule: String,
}

/// One file and what is in it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileEntry {
    /// Its path within the package, or within the folder.
    pub path: String,
    /// Its size.
    pub size_bytes: u64,
    /// SHA-256 of its content, in hex.
    pub sha256: String,
}
