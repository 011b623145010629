//! Dense families and LFM2, one row each.

use super::*;
use crate::checkpoint::config::{QkNorm, QkOver};

pub(super) const RMS: NormRow = NormRow {
    kind: NormKind::Rms,
    gain: true,
    bias: false,
    minus_one: false,
    eps: Eps::Key("rms_norm_eps"),
};
pub(super) const LAYER_NORM: NormRow =
    NormRow { kind: NormKind::Layer, bias: true, eps: Eps::Key("layer_norm_eps"), ..RMS };

pub(super) const NO_BIAS: Biases =
    Biases { qkv: Flag::Never, output: Flag::Never, mlp: Flag::Never, head: Flag::Never };
pub(super) const ATTENTION_BIAS: Biases =
    Biases { qkv: Flag::Key("attention_bias"), output: Flag::Key("attention_bias"), ..NO_BIAS };
pub(super) const BOTH_BIASES: Biases = Biases { mlp: Flag::Key("mlp_bias"), ..ATTENTION_BIAS };

pub(super) const ROPE: RopeRow = RopeRow {
    rotates: true,
    theta: 10_000.0,
    theta_key: "rope_theta",
    partial: 1.0,
    partial_key: None,
    neighbours: false,
    neighbours_switch: None,
    local: None,
    without: WithoutRope::None,
    long: &["longrope"],
    grows_by_alpha: false,
    original_tokens: None,
};

pub(super) const PARTIAL_ROPE: RopeRow =
    RopeRow { partial_key: Some("partial_rotary_factor"), ..ROPE };

pub(super) const FACTORS: Factors = Factors {
    scale: ScaleRow::HeadDim,
    scale_switch: None,
    scale_by_layer: None,
    embedding_root: false,
    embedding: None,
    residual: None,
    logits: None,
    logits_divided: None,
    attention_softcap: false,
    logit_softcap: false,
    clip_qkv: false,
};
pub(super) const GRANITE_FACTORS: Factors = Factors {
    scale: ScaleRow::Key("attention_multiplier"),
    embedding: Some("embedding_multiplier"),
    residual: Some("residual_multiplier"),
    logits_divided: Some("logits_scaling"),
    ..FACTORS
};

pub(super) const HEAD_NORM: QkNorm =
    QkNorm { kind: NormKind::Rms, bias: false, over: QkOver::Head, after_rope: false };
/// A layer norm of each head, with gains of its own.
pub(super) const OWN_HEAD_NORM: QkNorm =
    QkNorm { kind: NormKind::Layer, over: QkOver::HeadWithOwnGains, ..HEAD_NORM };
pub(super) const ALL_HEADS_NORM: QkNorm = QkNorm { over: QkOver::All, ..HEAD_NORM };

pub(super) const LAYOUT: Layout = Layout {
    prefix: "model.",
    layers: "layers",
    names: &[],
    exact: &[Role::Sinks, Role::RouterCorrection, Role::XieluPositive, Role::XieluNegative],
    fused: &[],
    transposed: false,
    experts: "mlp.experts",
    ignored: &["rotary_emb.inv_freq"],
};
const GATE_UP: Fused =
    Fused { name: "mlp.gate_up_proj", parts: &[Role::Gate, Role::Up], by_head: false };
const QKV: Fused = Fused {
    name: "self_attn.qkv_proj",
    parts: &[Role::Query, Role::Key, Role::Value],
    by_head: false,
};
/// Norms of what attention and MLP add, as in OLMo 2.
pub(super) const AFTER_NAMES: &[(Role, &str)] = &[
    (Role::PostAttentionNorm, "post_attention_layernorm"),
    (Role::PostMlpNorm, "post_feedforward_layernorm"),
];
const AROUND_NAMES: &[(Role, &str)] = &[
    (Role::PostAttentionNorm, "post_attention_layernorm"),
    (Role::MlpNorm, "pre_feedforward_layernorm"),
    (Role::PostMlpNorm, "post_feedforward_layernorm"),
];

/// Llama 1-3, TinyLlama, SmolLM2: the row that the others differ from.
pub(super) const LLAMA: Family = Family {
    name: "llama",
    wrapper: None,
    defaults: r#"{"hidden_act": "silu"}"#,
    spellings: &[],
    inert: &[],
    only: &[],
    norm: RMS,
    placement: Placement::BEFORE,
    parallel: None,
    qk_norm: QkNormRow::None,
    biases: BOTH_BIASES,
    rope: ROPE,
    windows: Windows::Never,
    factors: FACTORS,
    gated: true,
    activation: ActivationRow { key: "hidden_act", names: ACTIVATIONS },
    sub_norms: false,
    sinks: false,
    mixture: None,
    latent: false,
    convolutions: false,
    learned_positions: false,
    package_scale: 1.0,
    keeps_space_after: &[],
    layout: LAYOUT,
};

const MISTRAL: Family = Family {
    name: "mistral",
    defaults: r#"{"hidden_act": "silu", "rms_norm_eps": 1e-6, "sliding_window": 4096, "num_key_value_heads": 8}"#,
    biases: NO_BIAS,
    windows: Windows::All,
    ..LLAMA
};

const GEMMA: Family = Family {
    name: "gemma",
    defaults: r#"{"hidden_act": "gelu_pytorch_tanh", "head_dim": 256, "rms_norm_eps": 1e-6,
        "tie_word_embeddings": true, "max_position_embeddings": 8192, "vocab_size": 256000}"#,
    norm: NormRow { minus_one: true, ..RMS },
    biases: ATTENTION_BIAS,
    factors: Factors { embedding_root: true, ..FACTORS },
    // The first releases say gelu and hidden_activation null, and mean its approximation.
    activation: ActivationRow {
        key: "hidden_act",
        names: &[("gelu", Activation::GeluTanh), ("gelu_pytorch_tanh", Activation::GeluTanh)],
    },
    only: &[
        ("use_bidirectional_attention", &["false"]),
        ("hidden_activation", &["\"gelu_pytorch_tanh\""]),
    ],
    ..LLAMA
};

const GEMMA2: Family = Family {
    name: "gemma2",
    defaults: r#"{"hidden_activation": "gelu_pytorch_tanh", "head_dim": 256, "rms_norm_eps": 1e-6,
        "tie_word_embeddings": true, "max_position_embeddings": 8192, "vocab_size": 256000,
        "query_pre_attn_scalar": 256, "sliding_window": 4096, "final_logit_softcapping": 30.0,
        "attn_logit_softcapping": 50.0, "num_attention_heads": 8, "num_key_value_heads": 4}"#,
    placement: Placement::AROUND,
    windows: Windows::Fixed(2),
    factors: Factors {
        scale: ScaleRow::RootOf("query_pre_attn_scalar"),
        embedding_root: true,
        attention_softcap: true,
        logit_softcap: true,
        ..FACTORS
    },
    activation: ActivationRow { key: "hidden_activation", names: ACTIVATIONS },
    inert: &["hidden_act", "cache_implementation", "sliding_window_size"],
    only: &[("use_bidirectional_attention", &["false"])],
    package_scale: 1.0 / 16.0,
    layout: Layout { names: AROUND_NAMES, ..LAYOUT },
    ..GEMMA
};

/// Granite 3: Llama with factors.
const GRANITE: Family = Family {
    name: "granite",
    defaults: r#"{"hidden_act": "silu", "rms_norm_eps": 1e-6, "embedding_multiplier": 1.0,
        "attention_multiplier": 1.0, "residual_multiplier": 1.0, "logits_scaling": 1.0}"#,
    factors: GRANITE_FACTORS,
    ..LLAMA
};

const OLMO2: Family = Family {
    name: "olmo2",
    defaults: r#"{"hidden_act": "silu", "rms_norm_eps": 1e-5}"#,
    placement: Placement::AFTER,
    qk_norm: QkNormRow::Always(ALL_HEADS_NORM),
    biases: ATTENTION_BIAS,
    layout: Layout { names: AFTER_NAMES, ..LAYOUT },
    ..LLAMA
};

const GLM: Family = Family {
    name: "glm",
    defaults: r#"{"hidden_act": "silu", "rms_norm_eps": 1.5625e-7, "head_dim": 128,
        "attention_bias": true, "num_key_value_heads": 2, "max_position_embeddings": 131072}"#,
    biases: Biases { qkv: Flag::Key("attention_bias"), ..NO_BIAS },
    rope: RopeRow { partial: 0.5, neighbours: true, ..PARTIAL_ROPE },
    layout: Layout { fused: &[GATE_UP], ..LAYOUT },
    ..LLAMA
};

/// Dense families: Llama, Qwen, Mistral, Gemma, Phi-3, SmolLM3, OLMo 2, Granite, GLM, EXAONE.
pub(super) static FAMILIES: &[Family] = &[
    LLAMA,
    // Qwen 2 and 2.5: biases on q, k and v.
    Family {
        name: "qwen2",
        biases: Biases { qkv: Flag::Always, ..NO_BIAS },
        windows: Windows::Late,
        ..LLAMA
    },
    // Qwen 3: norms on q and k.
    Family {
        name: "qwen3",
        qk_norm: QkNormRow::Always(HEAD_NORM),
        biases: ATTENTION_BIAS,
        windows: Windows::Late,
        ..LLAMA
    },
    Family { wrapper: Some("mistral3"), ..MISTRAL },
    Family { name: "ministral", windows: Windows::Pattern(usize::MAX), ..MISTRAL },
    Family {
        name: "ministral3",
        defaults: r#"{"hidden_act": "silu", "rms_norm_eps": 1e-5, "head_dim": 128,
            "num_key_value_heads": 8, "max_position_embeddings": 262144, "rope_scaling": {
                "type": "yarn", "rope_theta": 1000000.0, "factor": 16.0,
                "original_max_position_embeddings": 16384, "beta_fast": 32.0, "beta_slow": 1.0,
                "mscale_all_dim": 1.0, "mscale": 1.0, "llama_4_scaling_beta": 0.1}}"#,
        windows: Windows::AllAlike,
        ..MISTRAL
    },
    GEMMA,
    GEMMA2,
    Family {
        name: "gemma3_text",
        wrapper: Some("gemma3"),
        defaults: r#"{"hidden_activation": "gelu_pytorch_tanh", "head_dim": 256,
            "rms_norm_eps": 1e-6, "tie_word_embeddings": true, "max_position_embeddings": 131072,
            "vocab_size": 262208, "query_pre_attn_scalar": 256, "sliding_window": 4096,
            "num_attention_heads": 8, "num_key_value_heads": 4}"#,
        qk_norm: QkNormRow::Always(HEAD_NORM),
        rope: RopeRow {
            theta: 1_000_000.0,
            local: Some(("rope_local_base_freq", 10_000.0)),
            ..ROPE
        },
        windows: Windows::Pattern(6),
        factors: Factors { attention_softcap: false, ..GEMMA2.factors },
        inert: &[
            "hidden_act",
            "cache_implementation",
            "sliding_window_size",
            "attn_logit_softcapping",
        ],
        ..GEMMA2
    },
    Family {
        name: "phi3",
        defaults: r#"{"hidden_act": "silu", "rms_norm_eps": 1e-5, "max_position_embeddings": 4096}"#,
        biases: NO_BIAS,
        windows: Windows::AllAlike,
        rope: RopeRow {
            long: &["longrope", "su", "yarn"],
            original_tokens: Some(4096),
            ..PARTIAL_ROPE
        },
        keeps_space_after: &["<unk>", "<s>", "<|endoftext|>"],
        inert: &["resid_pdrop", "embd_pdrop"],
        only: &[("attention_bias", &["false"]), ("mlp_bias", &["false"])],
        layout: Layout { fused: &[QKV, GATE_UP], ..LAYOUT },
        ..LLAMA
    },
    Family {
        name: "smollm3",
        defaults: r#"{"hidden_act": "silu", "rms_norm_eps": 1e-6, "tie_word_embeddings": true,
            "num_key_value_heads": 4, "max_position_embeddings": 32768}"#,
        rope: RopeRow { theta: 2_000_000.0, without: WithoutRope::Listed, ..ROPE },
        windows: Windows::Unrotated,
        ..LLAMA
    },
    OLMO2,
    Family {
        name: "olmo3",
        rope: RopeRow { theta: 500_000.0, local: Some(("", 500_000.0)), ..ROPE },
        windows: Windows::Fixed(4),
        defaults: r#"{"hidden_act": "silu", "rms_norm_eps": 1e-5, "sliding_window": 4096}"#,
        ..OLMO2
    },
    GRANITE,
    GLM,
    Family {
        name: "glm4",
        placement: Placement::AROUND,
        layout: Layout {
            names: &[
                (Role::PostAttentionNorm, "post_self_attn_layernorm"),
                (Role::MlpNorm, "post_attention_layernorm"),
                (Role::PostMlpNorm, "post_mlp_layernorm"),
            ],
            fused: &[GATE_UP],
            ..LAYOUT
        },
        ..GLM
    },
    Family {
        name: "exaone4",
        defaults: r#"{"hidden_act": "silu", "rms_norm_eps": 1e-5, "sliding_window": 4096}"#,
        placement: Placement::AFTER,
        qk_norm: QkNormRow::Always(HEAD_NORM),
        biases: NO_BIAS,
        rope: RopeRow { without: WithoutRope::BesideSliding, ..ROPE },
        windows: Windows::Pattern(4),
        layout: Layout { names: AFTER_NAMES, ..LAYOUT },
        ..LLAMA
    },
];
