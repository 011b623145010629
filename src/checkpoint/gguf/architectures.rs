//! The architectures of GGUF files: which family each is, how its keys are spelled in the family's
//! configuration, and what its tensors are called. The facts are those of llama.cpp's `llama-arch.cpp`,
//! `models/*.cpp` and `convert_hf_to_gguf.py`.

use crate::checkpoint::Role;
use crate::checkpoint::families::{self, ExpertStorage, Fused, Layout};

/// An architecture of GGUF files.
#[derive(Debug)]
pub struct Architecture {
    /// Its name, and the prefix of its keys.
    pub name: &'static str,
    /// The family that it is.
    pub family: &'static str,
    /// Keys behind the prefix, and those of the family's configuration that have the same value.
    pub keys: &'static [(&'static str, &'static str)],
    /// What the architecture implies, as keys of the family's configuration.
    pub implied: &'static str,
    /// Every how many layers one has no sliding window, in architectures with windows.
    pub pattern: Option<usize>,
    /// The order of the rows of q and k.
    pub rows: Rows,
    /// What its tensors are called.
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

const NAMES: &[(Role, &str)] = &[
    (Role::Embedding, "token_embd"),
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
    (Role::Down, "ffn_down"),
    (Role::PostMlpNorm, "post_ffw_norm"),
    (Role::ConvInput, "shortconv.in_proj"),
    (Role::ConvKernel, "shortconv.conv"),
    (Role::ConvOutput, "shortconv.out_proj"),
];

/// gpt-oss calls the norm before its experts by another name.
const GPT_OSS_NAMES: &[(Role, &str)] = &[
    (Role::Embedding, "token_embd"),
    (Role::FinalNorm, "output_norm"),
    (Role::Head, "output"),
    (Role::AttentionNorm, "attn_norm"),
    (Role::Query, "attn_q"),
    (Role::Key, "attn_k"),
    (Role::Value, "attn_v"),
    (Role::Sinks, "attn_sinks"),
    (Role::Output, "attn_output"),
    (Role::MlpNorm, "post_attention_norm"),
    (Role::Router, "ffn_gate_inp"),
];

/// LFM2's final norm has the name of an embedding's.
const LFM2_NAMES: &[(Role, &str)] = &[
    (Role::Embedding, "token_embd"),
    (Role::FinalNorm, "token_embd_norm"),
    (Role::Head, "output"),
    (Role::AttentionNorm, "attn_norm"),
    (Role::Query, "attn_q"),
    (Role::Key, "attn_k"),
    (Role::Value, "attn_v"),
    (Role::QueryNorm, "attn_q_norm"),
    (Role::KeyNorm, "attn_k_norm"),
    (Role::Output, "attn_output"),
    (Role::MlpNorm, "ffn_norm"),
    (Role::Gate, "ffn_gate"),
    (Role::Up, "ffn_up"),
    (Role::Down, "ffn_down"),
    (Role::ConvInput, "shortconv.in_proj"),
    (Role::ConvKernel, "shortconv.conv"),
    (Role::ConvOutput, "shortconv.out_proj"),
];

const LAYOUT: Layout = Layout {
    prefix: "",
    layers: "blk",
    names: NAMES,
    exact: &[Role::RouterCorrection],
    fused: &[],
    transposed: false,
    experts: "",
    ignored: &[],
};

const LLAMA: Architecture = Architecture {
    name: "llama",
    family: "llama",
    keys: &[],
    implied: "{}",
    pattern: None,
    rows: Rows::Permuted,
    layout: LAYOUT,
};

/// Where all mixtures have their experts.
pub const EXPERTS: ExpertStorage =
    ExpertStorage::StackedEach(["ffn_gate_exps", "ffn_up_exps", "ffn_down_exps"]);

/// The architectures that are read.
pub static ARCHITECTURES: &[Architecture] = &[
    LLAMA,
    Architecture { name: "qwen2", family: "qwen2", rows: Rows::Own, ..LLAMA },
    Architecture { name: "qwen3", family: "qwen3", rows: Rows::Own, ..LLAMA },
    Architecture {
        name: "qwen3moe",
        family: "qwen3_moe",
        keys: &[
            ("expert_count", "num_experts"),
            ("expert_used_count", "num_experts_per_tok"),
            ("expert_feed_forward_length", "moe_intermediate_size"),
        ],
        implied: r#"{"norm_topk_prob": true}"#,
        rows: Rows::Own,
        ..LLAMA
    },
    Architecture {
        name: "gpt-oss",
        family: "gpt_oss",
        keys: &[
            ("expert_count", "num_local_experts"),
            ("expert_used_count", "num_experts_per_tok"),
            ("attention.sliding_window", "sliding_window"),
        ],
        implied: r#"{"attention_bias": true, "swiglu_limit": 7.0}"#,
        pattern: Some(2),
        rows: Rows::Own,
        layout: Layout { names: GPT_OSS_NAMES, ..LAYOUT },
        ..LLAMA
    },
    Architecture { name: "gemma", family: "gemma", rows: Rows::Own, ..LLAMA },
    Architecture {
        name: "gemma2",
        family: "gemma2",
        keys: &[
            ("attention.sliding_window", "sliding_window"),
            ("attn_logit_softcapping", "attn_logit_softcapping"),
            ("final_logit_softcapping", "final_logit_softcapping"),
        ],
        pattern: Some(2),
        rows: Rows::Own,
        ..LLAMA
    },
    Architecture {
        name: "gemma3",
        family: "gemma3_text",
        keys: &[
            ("attention.sliding_window", "sliding_window"),
            ("final_logit_softcapping", "final_logit_softcapping"),
            ("rope.freq_base_swa", "rope_local_base_freq"),
        ],
        pattern: Some(6),
        rows: Rows::Own,
        ..LLAMA
    },
    Architecture {
        name: "phi3",
        family: "phi3",
        keys: &[("attention.sliding_window", "sliding_window")],
        rows: Rows::Own,
        layout: Layout {
            fused: &[
                Fused {
                    name: "attn_qkv",
                    parts: &[Role::Query, Role::Key, Role::Value],
                    by_head: false,
                },
                Fused { name: "ffn_up", parts: &[Role::Gate, Role::Up], by_head: false },
            ],
            ..LAYOUT
        },
        ..LLAMA
    },
    Architecture {
        name: "smollm3",
        family: "smollm3",
        implied: r#"{"no_rope_layer_interval": 4}"#,
        ..LLAMA
    },
    Architecture { name: "olmo2", family: "olmo2", rows: Rows::Own, ..LLAMA },
    Architecture {
        name: "granite",
        family: "granite",
        keys: &[
            ("attention.scale", "attention_multiplier"),
            ("embedding_scale", "embedding_multiplier"),
            ("residual_scale", "residual_multiplier"),
            ("logit_scale", "logits_scaling"),
        ],
        ..LLAMA
    },
    Architecture {
        name: "lfm2",
        family: "lfm2",
        keys: &[("shortconv.l_cache", "conv_L_cache")],
        implied: r#"{"block_auto_adjust_ff_dim": false}"#,
        rows: Rows::Own,
        layout: Layout { names: LFM2_NAMES, ..LAYOUT },
        ..LLAMA
    },
];

/// Layers of Gemma 2's and Gemma 3's 27B models, whose scores have another factor.
pub const GEMMA_27B_LAYERS: [usize; 2] = [46, 62];

impl Architecture {
    /// The key of the norms' epsilon in the family's configuration.
    pub fn eps_key(&self) -> &'static str {
        if self.family == "lfm2" { "norm_eps" } else { "rms_norm_eps" }
    }

    /// Whether the family may rotate a part of each head only.
    pub fn rotates_partly(&self) -> bool {
        families::named(self.family).is_some_and(|family| family.rope.partial_key.is_some())
    }
}

/// The architecture with this name.
pub fn named(name: &str) -> Option<&'static Architecture> {
    ARCHITECTURES.iter().find(|architecture| architecture.name == name)
}
