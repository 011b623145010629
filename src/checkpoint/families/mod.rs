//! The families of models that evalkit computes, as rows of a table.
//!
//! A row says how a family's configuration is read (which keys it has, what transformers takes for
//! those that are missing), what its files call tensors and how they store them. The authority is
//! transformers 5.24: `configuration_<family>.py` and `modeling_<family>.py`.

mod dense;
mod mixtures;
mod older;
mod recent;

use super::config::{Activation, NormKind, Placement, QkNorm};
use super::roles::Role;

/// A family of models.
#[derive(Debug)]
pub struct Family {
    /// Its name, as `model_type` spells it.
    pub name: &'static str,
    /// The `model_type` of a wrapper for images whose language model it is, if that one does not say.
    pub wrapper: Option<&'static str>,
    /// Values of keys that are missing from a configuration, as a JSON object.
    pub defaults: &'static str,
    /// Keys that are spelled otherwise: as in the file, and as here.
    pub spellings: &'static [(&'static str, &'static str)],
    /// Keys of this family without effect on inference.
    pub inert: &'static [&'static str],
    /// Keys that are accepted with these values only.
    pub only: &'static [(&'static str, &'static [&'static str])],
    /// The norms of hidden states.
    pub norm: NormRow,
    /// Where norms stand.
    pub placement: Placement,
    /// A switch for layers whose attention and MLP read the same states, and the placement then.
    pub parallel: Option<(&'static str, Placement)>,
    /// Norms of queries and keys.
    pub qk_norm: QkNormRow,
    /// Biases.
    pub biases: Biases,
    /// Rotary embedding.
    pub rope: RopeRow,
    /// Sliding windows.
    pub windows: Windows,
    /// Factors and caps.
    pub factors: Factors,
    /// Whether the MLP has a gate.
    pub gated: bool,
    /// The activation functions that the family may have.
    pub activation: ActivationRow,
    /// Norms inside attention and MLP, as in BitNet.
    pub sub_norms: bool,
    /// Attention sinks.
    pub sinks: bool,
    /// The mixture of experts.
    pub mixture: Option<MixtureRow>,
    /// Whether attention is latent.
    pub latent: bool,
    /// Whether layers may be short convolutions.
    pub convolutions: bool,
    /// Whether positions have learned embeddings.
    pub learned_positions: bool,
    /// Factor on the hidden states between layers in packages. It keeps states below fp16's largest
    /// number in families whose states exceed it: those of Gemma 3 270M at 4 bits reach 78,945, and published
    /// reports find more in larger ones (transformers, issue 36822 and pull request 37226, which scales
    /// in the same way). It is a power of two, so that nothing is rounded, and no mixture may have it,
    /// since a runner adds what experts return.
    pub package_scale: f32,
    /// The special tokens after which its SentencePiece vocabulary keeps white space, if it drops it after
    /// others. GGUF files do not say it.
    pub keeps_space_after: &'static [&'static str],
    /// How its files name and store tensors.
    pub layout: Layout,
}

/// The norms of hidden states.
#[derive(Debug, Clone, Copy)]
pub struct NormRow {
    /// The formula.
    pub kind: NormKind,
    /// Whether there are gains.
    pub gain: bool,
    /// Whether there are biases.
    pub bias: bool,
    /// Whether files store the gain minus 1.
    pub minus_one: bool,
    /// The key of the number that is added before the root; without a key, the number itself.
    pub eps: Eps,
}

/// Where a norm's epsilon comes from.
#[derive(Debug, Clone, Copy)]
pub enum Eps {
    /// A key.
    Key(&'static str),
    /// A constant.
    Is(f64),
}

/// Norms of queries and keys.
#[derive(Debug, Clone, Copy)]
pub enum QkNormRow {
    /// There are none.
    None,
    /// There always are.
    Always(QkNorm),
    /// There are if a key says so.
    Key(&'static str, QkNorm),
}

/// Whether a family has a bias.
#[derive(Debug, Clone, Copy)]
pub enum Flag {
    /// It never has.
    Never,
    /// It always has.
    Always,
    /// A key says so; false if it is missing.
    Key(&'static str),
}

/// Biases of linear layers.
#[derive(Debug, Clone, Copy)]
pub struct Biases {
    /// Of q, k and v.
    pub qkv: Flag,
    /// Of the attention's output.
    pub output: Flag,
    /// Of the MLP.
    pub mlp: Flag,
    /// Of the logits.
    pub head: Flag,
}

/// Rotary embedding.
#[derive(Debug, Clone, Copy)]
pub struct RopeRow {
    /// Whether positions are rotated at all.
    pub rotates: bool,
    /// The base if the configuration gives none.
    pub theta: f64,
    /// The key of the base where it is not in a nested object.
    pub theta_key: &'static str,
    /// The share of a head's dimensions that is rotated, if the configuration does not say.
    pub partial: f64,
    /// The key of that share; `None` if the family rotates whole heads.
    pub partial_key: Option<&'static str>,
    /// Whether pairs are neighbours in files, and not one of each half of the head.
    pub neighbours: bool,
    /// A switch that says, if it is off, that pairs are not neighbours in files after all.
    pub neighbours_switch: Option<&'static str>,
    /// Layers with sliding windows have their own base and no scaling: its key, and its default.
    pub local: Option<(&'static str, f64)>,
    /// Which layers are not rotated.
    pub without: WithoutRope,
    /// Types of scaling that mean LongRoPE.
    pub long: &'static [&'static str],
    /// Whether the type `dynamic` is a base that grows with the key `alpha`, and not with the text.
    pub grows_by_alpha: bool,
    /// The length of the first training in tokens, if the configuration does not say; without it, the
    /// longest sequence.
    pub original_tokens: Option<usize>,
}

/// Which layers are not rotated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WithoutRope {
    /// All are rotated.
    None,
    /// Those with 0 in `no_rope_layers`, or every `no_rope_layer_interval`-th.
    Listed,
    /// Those without a window, in models in which some have one.
    BesideSliding,
    /// All those without a window.
    Full,
}

/// Which layers have sliding windows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Windows {
    /// None; `sliding_window` is refused unless it is switched off.
    Never,
    /// All, if `sliding_window` is not null.
    All,
    /// As `All`; transformers does not read `layer_types`.
    AllAlike,
    /// Those that `layer_types` names, or `sliding_window_pattern`, or all but every n-th.
    Pattern(usize),
    /// Those that `layer_types` names, or all but every n-th; another `sliding_window_pattern` is not read
    /// by transformers.
    Fixed(usize),
    /// Those that `layer_types` names, which has to be there.
    Listed,
    /// With `use_sliding_window`: those that `layer_types` names, or those from `max_window_layers` on.
    Late,
    /// With `use_sliding_window`: all.
    AllIfUsed,
    /// Those from `max_window_layers` on, without a switch.
    From,
    /// With `use_sliding_window`: those without rotation.
    Unrotated,
}

/// Factors and caps.
#[derive(Debug, Clone, Copy)]
pub struct Factors {
    /// The factor on attention scores.
    pub scale: ScaleRow,
    /// A switch that takes this factor away if it is off.
    pub scale_switch: Option<&'static str>,
    /// A switch that divides the scores of each layer by its number besides.
    pub scale_by_layer: Option<&'static str>,
    /// Whether the embedding is multiplied by the root of the hidden size.
    pub embedding_root: bool,
    /// The key of a factor on the embedding.
    pub embedding: Option<&'static str>,
    /// The key of a factor on what attention and MLP add.
    pub residual: Option<&'static str>,
    /// The key of a factor on the logits.
    pub logits: Option<&'static str>,
    /// The key of a number that the logits are divided by.
    pub logits_divided: Option<&'static str>,
    /// Whether `attn_logit_softcapping` caps attention scores.
    pub attention_softcap: bool,
    /// Whether `final_logit_softcapping` caps logits.
    pub logit_softcap: bool,
    /// Whether there is `clip_qkv`.
    pub clip_qkv: bool,
}

/// The factor on attention scores.
#[derive(Debug, Clone, Copy)]
pub enum ScaleRow {
    /// `1 / sqrt(head_dim)`.
    HeadDim,
    /// `1 / sqrt(key)`.
    RootOf(&'static str),
    /// The key's value.
    Key(&'static str),
}

/// The activation function.
#[derive(Debug, Clone, Copy)]
pub struct ActivationRow {
    /// The key.
    pub key: &'static str,
    /// Names and what they mean here.
    pub names: &'static [(&'static str, Activation)],
}

/// Names of activation functions in transformers' `ACT2FN`.
pub const ACTIVATIONS: &[(&str, Activation)] = &[
    ("silu", Activation::Silu),
    ("swish", Activation::Silu),
    ("gelu", Activation::Gelu),
    ("gelu_new", Activation::GeluTanh),
    ("gelu_fast", Activation::GeluTanh),
    ("gelu_pytorch_tanh", Activation::GeluTanh),
    ("relu2", Activation::ReluSquared),
];

/// The mixture of experts.
#[derive(Debug, Clone, Copy)]
pub struct MixtureRow {
    /// Keys of the number of experts.
    pub count: &'static [&'static str],
    /// Keys of the number of experts per token.
    pub per_token: &'static [&'static str],
    /// The key of the width of an expert.
    pub width: &'static str,
    /// How experts are chosen.
    pub routing: RoutingRow,
    /// Bias on the router's logits.
    pub router_bias: bool,
    /// Biases in the experts.
    pub bias: Flag,
    /// The shared expert.
    pub shared: SharedRow,
    /// Which layers are mixtures.
    pub layers: MixtureLayers,
    /// How files store experts.
    pub storage: ExpertStorage,
}

/// How experts are chosen.
#[derive(Debug, Clone, Copy)]
pub enum RoutingRow {
    /// Softmax over the chosen.
    SoftmaxOfChosen,
    /// The chosen of a softmax; `norm_topk_prob` says whether they are scaled.
    ChosenOfSoftmax,
    /// Corrected sigmoids in groups (DeepSeek-V3).
    Sigmoid,
    /// The chosen of a softmax, in groups if `topk_method` says so (DeepSeek-V2).
    Greedy,
    /// The chosen of a corrected softmax, scaled (ERNIE 4.5).
    CorrectedSoftmax,
}

/// The shared expert.
#[derive(Debug, Clone, Copy)]
pub enum SharedRow {
    /// There is none.
    None,
    /// Its width is a key, and its result is gated.
    Width(&'static str),
    /// Its width is the experts' times a key.
    Times(&'static str),
}

/// Which layers are mixtures.
#[derive(Debug, Clone, Copy)]
pub enum MixtureLayers {
    /// All.
    All,
    /// Every `decoder_sparse_step`-th, except those in `mlp_only_layers`.
    Sparse,
    /// Those from `first_k_dense_replace` on.
    AfterDense,
    /// Every `moe_layer_interval`-th from `moe_layer_start_index` to `moe_layer_end_index`.
    Interval,
}

/// How files store experts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExpertStorage {
    /// A tensor per expert and projection, with these names of gate, up and down.
    Each([&'static str; 3]),
    /// All experts in one tensor per projection, gate and up row by row in turn, perhaps in MXFP4
    /// (gpt-oss).
    Interleaved,
    /// All experts in one tensor per projection, `[experts, out, in]`, with these names of gate, up and
    /// down (GGUF).
    StackedEach([&'static str; 3]),
    /// All experts in one tensor per projection, `[experts, 2 * intermediate, hidden]` and
    /// `[experts, hidden, intermediate]`, with these names of both.
    Stacked([&'static str; 2]),
}

/// How files name and store tensors.
#[derive(Debug, Clone, Copy)]
pub struct Layout {
    /// What stands before `layers`, and before the names outside of layers.
    pub prefix: &'static str,
    /// Where the layers are, behind the prefix.
    pub layers: &'static str,
    /// Names of roles that are not Llama's.
    pub names: &'static [(Role, &'static str)],
    /// Roles whose names have no ending for weights.
    pub exact: &'static [Role],
    /// Tensors that are several of ours.
    pub fused: &'static [Fused],
    /// Whether matrices of layers are stored transposed.
    pub transposed: bool,
    /// What follows `layers.N.` before the names of experts.
    pub experts: &'static str,
    /// Ends of the names of tensors that are passed over.
    pub ignored: &'static [&'static str],
}

/// A tensor whose rows are several of ours.
#[derive(Debug, Clone, Copy)]
pub struct Fused {
    /// Its name in a layer, without `.weight`.
    pub name: &'static str,
    /// What it is made of, in this order.
    pub parts: &'static [Role],
    /// Whether the parts of each head are together.
    pub by_head: bool,
}

impl Family {
    /// Whether its files may have MXFP4.
    pub fn may_have_mxfp4(&self) -> bool {
        self.mixture.is_some_and(|row| row.storage == ExpertStorage::Interleaved)
    }

    /// What the names of tensors of layers begin with in its files.
    pub fn layer_prefix(&self) -> String {
        format!("{}{}.", self.layout.prefix, self.layout.layers)
    }
}

/// The family with this `model_type`.
pub fn named(name: &str) -> Option<&'static Family> {
    all().find(|family| family.name == name)
}

/// All families.
pub fn all() -> impl Iterator<Item = &'static Family> {
    dense::FAMILIES.iter().chain(recent::FAMILIES).chain(older::FAMILIES).chain(mixtures::FAMILIES)
}

#[cfg(test)]
mod tests;
