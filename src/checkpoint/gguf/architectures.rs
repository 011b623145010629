//! The architectures of GGUF files: which family each is, how its keys are spelled in the family's
//! configuration, and what its tensors are called. The facts are those of llama.cpp's `llama-arch.cpp`,
//! `models/*.cpp` and `conversion/*.py`.

use crate::checkpoint::Role;
use crate::checkpoint::families::{ExpertStorage, Fused, Layout};

use super::keys::MetadataKeys;

/// An architecture of GGUF files.
#[derive(Debug)]
pub struct Architecture {
    /// Its name, and the prefix of its keys.
    pub name: &'static str,
    /// The family that it is.
    pub family: &'static str,
    /// A key behind the prefix, and the family that files with it are.
    pub with: Option<(&'static str, &'static str)>,
    /// Keys behind the prefix, and those of the family's configuration that have the same value.
    pub keys: &'static [(&'static str, &'static str)],
    /// Keys behind the prefix that are accepted with this value only; a switch is 0 or 1.
    pub only: &'static [(&'static str, f64)],
    /// Keys behind the prefix without effect on texts.
    pub inert: &'static [&'static str],
    /// What the architecture implies, as keys of the family's configuration.
    pub implied: &'static str,
    /// Every how many layers one has no sliding window, in architectures with windows.
    pub pattern: Option<usize>,
    /// The base of the rotary embedding of layers with a window, if it is not that of the others.
    pub local_theta: Option<f64>,
    /// Whether YaRN's ramp ends at whole pairs.
    pub truncates: bool,
    /// The number of layers of the model whose scores are divided by the root of the hidden size per
    /// head, and not of the head's size.
    pub wide_scale_layers: Option<usize>,
    /// The order of the rows of q and k.
    pub rows: Rows,
    /// What its tensors are called where that is not usual.
    pub layout: Layout,
}

/// The order of the rows of q and k.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rows {
    /// As in the family's own files.
    Own,
    /// The halves of each head are interleaved (`LlamaModel.permute`).
    Permuted,
}

/// What GGUF files call tensors.
pub const NAMES: &[(Role, &str)] = &[
    (Role::Embedding, "token_embd"),
    (Role::Positions, "position_embd"),
    (Role::FinalNorm, "output_norm"),
    (Role::Head, "output"),
    (Role::AttentionNorm, "attn_norm"),
    (Role::Query, "attn_q"),
    (Role::Key, "attn_k"),
    (Role::Value, "attn_v"),
    (Role::QueryNorm, "attn_q_norm"),
    (Role::KeyNorm, "attn_k_norm"),
    (Role::Sinks, "attn_sinks"),
    (Role::Output, "attn_output"),
    (Role::PostAttentionNorm, "post_attention_norm"),
    (Role::MlpNorm, "ffn_norm"),
    (Role::Router, "ffn_gate_inp"),
    (Role::RouterCorrection, "exp_probs_b.bias"),
    (Role::SharedRouter, "ffn_gate_inp_shexp"),
    (Role::SharedGate, "ffn_gate_shexp"),
    (Role::SharedUp, "ffn_up_shexp"),
    (Role::SharedDown, "ffn_down_shexp"),
    (Role::Gate, "ffn_gate"),
    (Role::Up, "ffn_up"),
    (Role::XieluPositive, "xielu.positive"),
    (Role::XieluNegative, "xielu.negative"),
    (Role::Down, "ffn_down"),
    (Role::PostMlpNorm, "post_ffw_norm"),
    (Role::ConvInput, "shortconv.in_proj"),
    (Role::ConvKernel, "shortconv.conv"),
    (Role::ConvOutput, "shortconv.out_proj"),
];

/// Where all mixtures have their experts.
pub const EXPERTS: ExpertStorage =
    ExpertStorage::StackedEach(["ffn_gate_exps", "ffn_up_exps", "ffn_down_exps"]);

const QKV: Fused =
    Fused { name: "attn_qkv", parts: &[Role::Query, Role::Key, Role::Value], by_head: false };
const GATE_UP: Fused = Fused { name: "ffn_up", parts: &[Role::Gate, Role::Up], by_head: false };

const LAYOUT: Layout = Layout {
    prefix: "",
    layers: "blk",
    names: &[],
    exact: &[Role::RouterCorrection, Role::XieluPositive, Role::XieluNegative],
    fused: &[QKV],
    transposed: false,
    experts: "",
    ignored: &[],
};
/// The norm before the MLP has the name of the one behind attention.
const MLP_NORM_AFTER: Layout =
    Layout { names: &[(Role::MlpNorm, "post_attention_norm")], ..LAYOUT };
const GATE_AND_UP: Layout = Layout { fused: &[QKV, GATE_UP], ..LAYOUT };

const LLAMA: Architecture = Architecture {
    name: "llama",
    family: "llama",
    with: Some(("expert_count", "mixtral")),
    keys: &[],
    only: &[],
    inert: &[],
    implied: "{}",
    pattern: None,
    local_theta: None,
    truncates: true,
    wide_scale_layers: None,
    rows: Rows::Permuted,
    layout: LAYOUT,
};
/// Architectures whose rows are in their family's order.
const OWN: Architecture = Architecture { with: None, rows: Rows::Own, ..LLAMA };

const SOFTCAPS: (&str, &str) = ("final_logit_softcapping", "final_logit_softcapping");
const LOGIT_SCALE: (&str, &str) = ("logit_scale", "logit_scale");
const PARALLEL: (&str, &str) = ("use_parallel_residual", "use_parallel_residual");
const CLAMP: (&str, &str) = ("attention.clamp_kqv", "clip_qkv");
/// Parts of the rotation for the axes of an image, which are the same in a text, and layers that images
/// are added to.
const OF_IMAGES: &[&str] = &["rope.dimension_sections", "n_deepstack_layers"];
/// Scores of experts are sigmoids.
const SIGMOID: &[(&str, f64)] = &[("expert_gating_func", 2.0)];

const GRANITE: Architecture = Architecture {
    name: "granite",
    family: "granite",
    with: None,
    keys: &[
        ("attention.scale", "attention_multiplier"),
        ("embedding_scale", "embedding_multiplier"),
        ("residual_scale", "residual_multiplier"),
        ("logit_scale", "logits_scaling"),
    ],
    // llama.cpp does not rotate anything where this is false.
    only: &[("rope.scaling.finetuned", 1.0)],
    ..LLAMA
};

const DENSE: &[Architecture] = &[
    LLAMA,
    Architecture { name: "qwen2", family: "qwen2", ..OWN },
    Architecture { name: "qwen3", family: "qwen3", ..OWN },
    Architecture { name: "qwen2vl", family: "qwen2", inert: OF_IMAGES, ..OWN },
    Architecture { name: "qwen3vl", family: "qwen3", inert: OF_IMAGES, ..OWN },
    Architecture { name: "mistral3", family: "ministral3", with: None, ..LLAMA },
    Architecture { name: "gemma", family: "gemma", ..OWN },
    Architecture {
        name: "gemma2",
        family: "gemma2",
        keys: &[("attn_logit_softcapping", "attn_logit_softcapping"), SOFTCAPS],
        implied: r#"{"sliding_window": 4096}"#,
        pattern: Some(2),
        wide_scale_layers: Some(46),
        ..OWN
    },
    Architecture {
        name: "gemma3",
        family: "gemma3_text",
        keys: &[SOFTCAPS],
        pattern: Some(6),
        local_theta: Some(10_000.0),
        wide_scale_layers: Some(62),
        ..OWN
    },
    Architecture { name: "phi3", family: "phi3", layout: GATE_AND_UP, ..OWN },
    Architecture {
        name: "smollm3",
        family: "smollm3",
        with: None,
        implied: r#"{"no_rope_layer_interval": 4}"#,
        ..LLAMA
    },
    Architecture {
        name: "olmo2",
        family: "olmo2",
        with: Some(("attention.sliding_window", "olmo3")),
        pattern: Some(4),
        ..OWN
    },
    GRANITE,
    Architecture {
        name: "lfm2",
        family: "lfm2",
        keys: &[("shortconv.l_cache", "conv_L_cache")],
        implied: r#"{"block_auto_adjust_ff_dim": false}"#,
        layout: Layout { names: &[(Role::FinalNorm, "token_embd_norm")], ..LAYOUT },
        ..OWN
    },
    Architecture { name: "chatglm", family: "glm", layout: GATE_AND_UP, ..OWN },
    Architecture { name: "glm4", family: "glm4", layout: GATE_AND_UP, ..OWN },
    Architecture { name: "exaone4", family: "exaone4", pattern: Some(4), ..OWN },
    Architecture { name: "apertus", family: "apertus", ..OWN },
    Architecture { name: "arcee", family: "arcee", with: None, ..LLAMA },
    Architecture { name: "ernie4_5", family: "ernie4_5", ..OWN },
    Architecture { name: "seed_oss", family: "seed_oss", layout: MLP_NORM_AFTER, ..OWN },
    Architecture { name: "hunyuan-dense", family: "hunyuan_v1_dense", ..OWN },
    Architecture { name: "command-r", family: "cohere", keys: &[LOGIT_SCALE], ..OWN },
    Architecture {
        name: "cohere2",
        family: "cohere2",
        keys: &[LOGIT_SCALE],
        pattern: Some(4),
        ..OWN
    },
    Architecture { name: "olmo", family: "olmo", with: None, keys: &[CLAMP], ..LLAMA },
    Architecture { name: "starcoder2", family: "starcoder2", ..OWN },
    Architecture { name: "stablelm", family: "stablelm", keys: &[PARALLEL], ..OWN },
    Architecture { name: "nemotron", family: "nemotron", ..OWN },
    Architecture { name: "phi2", family: "phi", ..OWN },
    Architecture { name: "gptneox", family: "gpt_neox", keys: &[PARALLEL], ..OWN },
    Architecture { name: "gpt2", family: "gpt2", ..OWN },
];

const MIXTURES: &[Architecture] = &[
    Architecture {
        name: "qwen3moe",
        family: "qwen3_moe",
        implied: r#"{"norm_topk_prob": true}"#,
        ..OWN
    },
    Architecture {
        name: "qwen2moe",
        family: "qwen2_moe",
        implied: r#"{"norm_topk_prob": false}"#,
        ..OWN
    },
    Architecture {
        name: "gpt-oss",
        family: "gpt_oss",
        implied: r#"{"attention_bias": true, "swiglu_limit": 7.0}"#,
        pattern: Some(2),
        // The model's own configuration says so; llama.cpp does.
        truncates: false,
        layout: MLP_NORM_AFTER,
        ..OWN
    },
    Architecture {
        name: "olmoe",
        family: "olmoe",
        keys: &[CLAMP],
        implied: r#"{"norm_topk_prob": false}"#,
        ..OWN
    },
    Architecture { name: "granitemoe", family: "granitemoe", ..GRANITE },
    Architecture {
        name: "glm4moe",
        family: "glm4_moe",
        only: SIGMOID,
        layout: MLP_NORM_AFTER,
        ..OWN
    },
    Architecture { name: "dots1", family: "dots1", only: SIGMOID, ..OWN },
    Architecture { name: "ernie4_5-moe", family: "ernie4_5_moe", ..OWN },
];

impl Architecture {
    /// The family of a file of this architecture.
    pub(super) fn family_of(&self, keys: &MetadataKeys<'_>) -> &'static str {
        match self.with {
            Some((key, family)) if keys.is_set(key) => family,
            _ => self.family,
        }
    }
}

/// The architectures that are read.
pub fn all() -> impl Iterator<Item = &'static Architecture> {
    DENSE.iter().chain(MIXTURES)
}

/// The architecture with this name.
pub fn named(name: &str) -> Option<&'static Architecture> {
    all().find(|architecture| architecture.name == name)
}
