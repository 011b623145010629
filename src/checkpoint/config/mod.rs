//! A decoder, described by data: everything that defines it except its weights, independent of the
//! file that it comes from.
//!
//! There is one decoder. Families differ in these values only: `model` computes what is described
//! here, `package` writes it, `calibrate` moves factors where it allows, and sizes and memory are
//! summed from it.

mod cache;
mod layers;
mod mixture;
mod position;

pub use cache::CacheShape;
pub use layers::{LayerKind, Mixer};
pub use mixture::{Experts, Groups, Routing, Score, Scored, SharedExpert, SumFloor};
pub use position::{QueryGrowth, Rope, RopeScaling};

/// Everything that defines a decoder except its weights.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// The family's name, as `model_type` spells it. It is for messages and for names in files; what
    /// is computed is in the other fields.
    pub family: &'static str,
    /// Width of the residual stream.
    pub hidden_size: usize,
    /// Width inside a dense MLP.
    pub intermediate_size: usize,
    /// Decoder layers.
    pub layers: usize,
    /// Layers behind these for the prediction of several tokens, which files may have and nothing here
    /// computes.
    pub next_token_layers: usize,
    /// Query heads.
    pub heads: usize,
    /// Key/value heads; divides `heads`.
    pub kv_heads: usize,
    /// Width of a query or key head.
    pub head_dim: usize,
    /// Width of a value head.
    pub value_dim: usize,
    /// Number of rows of embedding and head.
    pub vocab_size: usize,
    /// Longest sequence that the model was made for, in tokens.
    pub max_position_embeddings: usize,
    /// The norms of hidden states.
    pub norm: Norm,
    /// Where they stand.
    pub placement: Placement,
    /// Rotary embeddings; layers name theirs by its place here.
    pub ropes: Vec<Rope>,
    /// What each layer is.
    pub kinds: Vec<LayerKind>,
    /// Factor on attention scores.
    pub attention_scale: f32,
    /// Whether the scores of the n-th layer, counted from 1, are divided by n besides.
    pub divides_scores_by_layer: bool,
    /// Scores become `c · tanh(score / c)` before they are masked.
    pub attention_softcap: Option<f64>,
    /// Biases on q, k and v.
    pub qkv_bias: bool,
    /// Bias on the attention's output.
    pub output_bias: bool,
    /// Biases in the MLP.
    pub mlp_bias: bool,
    /// Bias on the logits.
    pub head_bias: bool,
    /// Norms of queries and keys.
    pub qk_norm: Option<QkNorm>,
    /// A learned logit per query head that takes part in the softmax and attends to nothing.
    pub sinks: bool,
    /// Queries, keys and values are clamped to ± this value.
    pub clip_qkv: Option<f64>,
    /// Keys and values, and perhaps queries, that come from a narrow state (DeepSeek-V2).
    pub latent: Option<Latent>,
    /// Queries that grow with the position.
    pub query_growth: Option<QueryGrowth>,
    /// Whether the result of attention and the inner state of the MLP are normed before their last
    /// projection (BitNet).
    pub sub_norms: bool,
    /// Whether the MLP has a gate. Without one it is `down(activation(up(x)))`.
    pub gated: bool,
    /// The activation function of MLPs and experts.
    pub activation: Activation,
    /// The mixture of experts, in layers that have one.
    pub experts: Option<Experts>,
    /// The kernel of the short convolution, in tokens, in layers that have one.
    pub conv: Option<ShortConv>,
    /// Factor on the embedding.
    pub embedding_scale: f32,
    /// Factor on what attention and MLP add to the hidden states.
    pub residual_scale: f32,
    /// Factor on the hidden states between layers in packages, a power of two. The norms that read these
    /// states take it back, so the model is the same; see
    /// [`Family::package_scale`](super::families::Family::package_scale).
    pub package_scale: f32,
    /// Factor on the logits.
    pub logit_scale: f32,
    /// Logits become `c · tanh(logit / c)`.
    pub logit_softcap: Option<f64>,
    /// Whether a learned vector per position is added to the embedding.
    pub learned_positions: bool,
    /// Whether the head shares the embedding's weights.
    pub tied: bool,
}

/// The norms of hidden states.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Norm {
    /// The formula.
    pub kind: NormKind,
    /// Whether the result is multiplied by learned gains.
    pub gain: bool,
    /// Whether a learned vector is added.
    pub bias: bool,
    /// Added to the mean square or the variance, before the root.
    pub eps: f64,
}

/// The formula of a norm.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NormKind {
    /// `x / sqrt(mean(x²) + eps)` (Zhang & Sennrich 2019).
    Rms,
    /// `(x - mean(x)) / sqrt(var(x) + eps)` (Ba et al. 2016).
    Layer,
}

/// Where the norms of a layer stand, and what attention and MLP read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Placement {
    /// The input of attention is normed.
    pub before_attention: bool,
    /// The result of attention is normed before it is added.
    pub after_attention: bool,
    /// The input of the MLP is normed. In a parallel layer without this norm the MLP reads the
    /// input of attention.
    pub before_mlp: bool,
    /// The result of the MLP is normed before it is added.
    pub after_mlp: bool,
    /// Attention and MLP read the same states, and both results are added to these.
    pub parallel: bool,
}

impl Placement {
    /// Norms before attention and MLP, one after the other, as in Llama.
    pub const BEFORE: Placement = Placement {
        before_attention: true,
        after_attention: false,
        before_mlp: true,
        after_mlp: false,
        parallel: false,
    };
    /// Norms of both results, as in OLMo 2.
    pub const AFTER: Placement = Placement {
        before_attention: false,
        after_attention: true,
        before_mlp: false,
        after_mlp: true,
        parallel: false,
    };
    /// Norms before and after both, as in Gemma 2.
    pub const AROUND: Placement =
        Placement { after_attention: true, after_mlp: true, ..Placement::BEFORE };
    /// One norm, whose result both attention and MLP read, as in Cohere's models and Phi.
    pub const PARALLEL: Placement =
        Placement { before_mlp: false, parallel: true, ..Placement::BEFORE };
}

/// Norms of queries and keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QkNorm {
    /// The formula. It has gains.
    pub kind: NormKind,
    /// Whether learned vectors, in the shape of the gains, are added.
    pub bias: bool,
    /// What is normed together, and the shape of the gains.
    pub over: QkOver,
    /// Whether heads are normed after they were rotated.
    pub after_rope: bool,
}

/// What is normed together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum QkOver {
    /// Each head, with gains `[head_dim]` that all heads share.
    Head,
    /// Each head, with gains of its own: `[heads * head_dim]`.
    HeadWithOwnGains,
    /// All heads together, with gains `[heads * head_dim]`.
    All,
}

/// Latent attention (DeepSeek-V2, section 2.1). A head's query and key have a part that is rotated,
/// which comes first here, and a part that is not; the rotated part of the keys is shared by all heads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Latent {
    /// Width of the state that queries come from; `None` if they come from the hidden states.
    pub query_rank: Option<usize>,
    /// Width of the state that keys and values come from.
    pub kv_rank: usize,
    /// Width of the rotated part of a head.
    pub rope_dim: usize,
    /// Whether pairs of the rotated part are one of each half in files, and not neighbours.
    pub in_halves: bool,
}

/// A causal convolution of each channel by itself, between two gates (LFM2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ShortConv {
    /// The number of tokens that an output depends on.
    pub kernel_tokens: usize,
    /// Biases on both projections and the convolution.
    pub bias: bool,
}

/// The activation function of an MLP; with a gate it is applied to the gate and multiplied by up.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Activation {
    /// `x * sigmoid(x)`.
    Silu,
    /// GELU by the error function (Hendrycks & Gimpel 2016).
    Gelu,
    /// GELU by its approximation with tanh.
    GeluTanh,
    /// `max(x, 0)²`.
    ReluSquared,
    /// xIELU (Huang & Schlag 2024) with two learned numbers per layer.
    Xielu,
    /// `(up + 1) * gate * sigmoid(1.702 * gate)` with gate at most `limit` and up within ±`limit`
    /// (gpt-oss).
    ClampedSwiGlu {
        /// The clamp.
        limit: f64,
    },
}

impl Config {
    /// The factor on attention scores that most families have: `1 / sqrt(head_dim)`.
    pub fn usual_scale(head_dim: usize) -> f32 {
        1.0 / (head_dim as f32).sqrt()
    }

    /// The factor on the attention scores of a layer.
    pub fn score_scale(&self, layer: usize) -> f32 {
        match self.divides_scores_by_layer {
            true => self.attention_scale / (layer + 1) as f32,
            false => self.attention_scale,
        }
    }

    /// The kind of a layer.
    pub fn kind(&self, layer: usize) -> LayerKind {
        self.kinds.get(layer).copied().unwrap_or(LayerKind::PLAIN)
    }

    /// The number of last tokens that a query of `layer` sees, including its own; `None` for all.
    pub fn window_tokens(&self, layer: usize) -> Option<usize> {
        match self.kind(layer).mixer {
            Mixer::Attention { window, .. } => window,
            Mixer::ShortConv => None,
        }
    }

    /// The place of a layer's rotary embedding in the model; `None` if nothing is rotated.
    pub fn rope(&self, layer: usize) -> Option<usize> {
        match self.kind(layer).mixer {
            Mixer::Attention { rope, .. } => rope,
            Mixer::ShortConv => None,
        }
    }

    /// Whether a layer is attention, and so has keys and values.
    pub fn has_attention(&self, layer: usize) -> bool {
        matches!(self.kind(layer).mixer, Mixer::Attention { .. })
    }

    /// The number of layers that are attention.
    pub fn attention_layers(&self) -> usize {
        (0..self.layers).filter(|layer| self.has_attention(*layer)).count()
    }

    /// The number of last inputs that each short convolution keeps; `None` without such layers.
    pub fn conv_tokens(&self) -> Option<usize> {
        let has_conv = self.attention_layers() < self.layers;
        self.conv.filter(|_| has_conv).map(|conv| conv.kernel_tokens.saturating_sub(1))
    }

    /// How much a package keeps between its calls.
    pub fn cache(&self) -> CacheShape {
        CacheShape {
            layers: self.layers,
            attention_layers: self.attention_layers(),
            hidden_size: self.hidden_size,
            kv_heads: self.kv_heads,
            head_dim: self.head_dim,
            value_dim: self.value_dim,
            conv_tokens: self.conv_tokens(),
        }
    }

    /// The mixture of experts of a layer, if it has one.
    pub fn mixture(&self, layer: usize) -> Option<&Experts> {
        self.experts.as_ref().filter(|_| self.kind(layer).mixture)
    }

    /// The number of experts of a layer; 0 if it is dense.
    pub fn expert_count(&self, layer: usize) -> usize {
        self.mixture(layer).map_or(0, |experts| experts.count)
    }

    /// What keeps the blocks from being tuned by gradients, in the plural; `None` if nothing does.
    pub fn untunable(&self) -> Option<&'static str> {
        match self {
            Config { experts: Some(_), .. } => Some("mixtures of experts"),
            Config { sinks: true, .. } => Some("attention sinks"),
            Config { latent: Some(_), .. } => Some("latent attention"),
            _ => self.conv_tokens().map(|_| "short convolutions"),
        }
    }

    /// The widest inner state of an MLP or an expert of any layer.
    pub fn widest_mlp(&self) -> usize {
        let of_layer = |layer: usize| match self.mixture(layer) {
            Some(experts) => {
                experts.intermediate_size.max(experts.shared.map_or(0, |s| s.intermediate_size))
            }
            None => self.intermediate_size,
        };
        (0..self.layers).map(of_layer).max().unwrap_or(self.intermediate_size)
    }
}
