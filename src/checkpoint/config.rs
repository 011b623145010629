//! A model's architecture in numbers, independent of the file that they come from.

/// The families of models that can be computed. They differ only by the switches in [`Config`]; the
/// family itself is for messages and for the program writer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Architecture {
    /// Llama 1-3, TinyLlama, SmolLM2.
    Llama,
    /// Qwen 2 and 2.5: biases on q, k and v.
    Qwen2,
    /// Qwen 3: norms on q and k, and a head size that is set independently.
    Qwen3,
    /// Qwen 3 with a mixture of experts in every block.
    Qwen3Moe,
    /// gpt-oss: experts, attention sinks, alternating sliding windows, biases on all layers.
    GptOss,
}

impl Architecture {
    /// The family's name, as `model_type` spells it.
    pub fn name(self) -> &'static str {
        match self {
            Architecture::Llama => "llama",
            Architecture::Qwen2 => "qwen2",
            Architecture::Qwen3 => "qwen3",
            Architecture::Qwen3Moe => "qwen3_moe",
            Architecture::GptOss => "gpt_oss",
        }
    }
}

/// Everything that defines a decoder except its weights.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// The family.
    pub architecture: Architecture,
    /// Width of the residual stream.
    pub hidden_size: usize,
    /// Width inside the MLP.
    pub intermediate_size: usize,
    /// Decoder blocks.
    pub layers: usize,
    /// Query heads.
    pub heads: usize,
    /// Key/value heads; divides `heads`.
    pub kv_heads: usize,
    /// Width of a head.
    pub head_dim: usize,
    /// Number of rows of embedding and head.
    pub vocab_size: usize,
    /// Longest sequence that the model was made for, in tokens.
    pub max_position_embeddings: usize,
    /// Added to the mean square in RMS norms, before the root.
    pub rms_norm_eps: f64,
    /// Rotary embedding.
    pub rope: Rope,
    /// Biases on q, k and v.
    pub qkv_bias: bool,
    /// Bias on the attention's output.
    pub output_bias: bool,
    /// Biases on gate, up and down.
    pub mlp_bias: bool,
    /// RMS norm on each query and key head.
    pub qk_norm: bool,
    /// A learned logit per query head that takes part in the softmax and attends to nothing.
    pub sinks: bool,
    /// For each layer the number of last tokens that a query sees, including its own; `None` for
    /// all. Empty if every layer sees all tokens.
    pub sliding: Vec<Option<usize>>,
    /// The mixture of experts that replaces the MLP, if any.
    pub experts: Option<Experts>,
    /// Whether the head shares the embedding's weights.
    pub tied: bool,
}

impl Config {
    /// The number of last tokens that a query of `layer` sees, including its own; `None` for all.
    pub fn window_tokens(&self, layer: usize) -> Option<usize> {
        self.sliding.get(layer).copied().flatten()
    }
}

/// A mixture of experts: a router picks some of them for each token.
#[derive(Debug, Clone, PartialEq)]
pub struct Experts {
    /// Number of experts in a block.
    pub count: usize,
    /// Number of experts that each token is sent to.
    pub per_token: usize,
    /// How the chosen experts are weighted.
    pub routing: Routing,
    /// Bias on the router's logits.
    pub router_bias: bool,
    /// The activation function of an expert.
    pub activation: Activation,
}

/// How router logits become weights of the chosen experts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Routing {
    /// Softmax over the chosen logits only (gpt-oss).
    SoftmaxOfChosen,
    /// Softmax over all logits; the weights of the chosen experts are kept (Qwen 3).
    ChosenOfSoftmax {
        /// Whether the kept weights are scaled to sum to 1.
        renormalize: bool,
    },
}

/// How an MLP combines its gate and up projections.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Activation {
    /// `silu(gate) * up`.
    SwiGlu,
    /// `(up + 1) * gate * sigmoid(1.702 * gate)` with gate at most `limit` and up within ±`limit`
    /// (gpt-oss).
    ClampedSwiGlu {
        /// The clamp.
        limit: f64,
    },
}

/// Rotary position embedding.
#[derive(Debug, Clone, PartialEq)]
pub struct Rope {
    /// Base of the geometric series of frequencies.
    pub theta: f64,
    /// How frequencies are changed for longer contexts.
    pub scaling: RopeScaling,
}

/// How rotary frequencies are stretched.
#[derive(Debug, Clone, PartialEq)]
pub enum RopeScaling {
    /// As trained.
    None,
    /// All frequencies divided by `factor`.
    Linear {
        /// Stretch.
        factor: f64,
    },
    /// Llama 3.1: low frequencies are divided by `factor`, high ones kept, with a ramp in between.
    Llama3 {
        /// Stretch of the low frequencies.
        factor: f64,
        /// Wavelengths above `original / low_freq_factor` are stretched.
        low_freq_factor: f64,
        /// Wavelengths below `original / high_freq_factor` are kept.
        high_freq_factor: f64,
        /// Context length the model was first trained for, in tokens.
        original_max_position_embeddings: usize,
    },
    /// YaRN (Peng et al. 2023): fast pairs are kept, slow ones divided by `factor`, with a ramp in
    /// between, and cosines and sines are multiplied by `attention_factor`.
    Yarn {
        /// Stretch of the slow pairs.
        factor: f64,
        /// Turns within the original context above which a pair is kept.
        beta_fast: f64,
        /// Turns within the original context below which a pair is stretched.
        beta_slow: f64,
        /// Context length the model was first trained for, in tokens.
        original_max_position_embeddings: usize,
        /// Whether the ramp's ends are rounded to whole pairs.
        truncate: bool,
        /// Factor on cosines and sines.
        attention_factor: f64,
    },
    /// Each frequency divided by its own factor (GGUF's `rope_freqs.weight`).
    Factors(Vec<f32>),
}
