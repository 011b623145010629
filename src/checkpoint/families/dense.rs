//! Dense families and LFM2, one row each.

use super::*;
use crate::checkpoint::config::{QkNorm, QkOver};

const RMS: NormRow = NormRow {
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
const BOTH_BIASES: Biases = Biases { mlp: Flag::Key("mlp_bias"), ..ATTENTION_BIAS };

pub(super) const ROPE: RopeRow = RopeRow {
    rotates: true,
    theta: 10_000.0,
    theta_key: "rope_theta",
    partial: 1.0,
    partial_key: None,
    neighbours: false,
    local: None,
    without: WithoutRope::None,
};

pub(super) const PARTIAL_ROPE: RopeRow =
    RopeRow { partial_key: Some("partial_rotary_factor"), ..ROPE };

pub(super) const FACTORS: Factors = Factors {
    scale: ScaleRow::HeadDim,
    embedding_root: false,
    embedding: None,
    residual: None,
    logits: None,
    logits_divided: None,
    softcaps: false,
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
    QkNorm { kind: NormKind::Rms, over: QkOver::Head, after_rope: false };
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
const AFTER_NAMES: &[(Role, &str)] = &[
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
    windows: Windows::Pattern(2),
    factors: Factors {
        scale: ScaleRow::RootOf("query_pre_attn_scalar"),
        embedding_root: true,
        softcaps: true,
        ..FACTORS
    },
    activation: ActivationRow { key: "hidden_activation", names: ACTIVATIONS },
    inert: &["hidden_act", "cache_implementation", "sliding_window_size"],
    only: &[("use_bidirectional_attention", &["false"])],
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

const COHERE: Family = Family {
    name: "cohere",
    defaults: r#"{"hidden_act": "silu", "layer_norm_eps": 1e-5, "logit_scale": 0.0625,
        "tie_word_embeddings": true, "max_position_embeddings": 8192}"#,
    norm: NormRow { bias: false, ..LAYER_NORM },
    placement: Placement::PARALLEL,
    qk_norm: QkNormRow::Key(
        "use_qk_norm",
        QkNorm { kind: NormKind::Layer, over: QkOver::HeadWithOwnGains, after_rope: false },
    ),
    biases: ATTENTION_BIAS,
    rope: RopeRow { theta: 500_000.0, neighbours: true, ..ROPE },
    factors: Factors { logits: Some("logit_scale"), ..FACTORS },
    ..LLAMA
};

/// Dense families of 2024 and later.
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
    MISTRAL,
    Family { name: "ministral", windows: Windows::Pattern(usize::MAX), ..MISTRAL },
    Family {
        name: "ministral3",
        defaults: r#"{"hidden_act": "silu", "rms_norm_eps": 1e-5, "head_dim": 128,
            "num_key_value_heads": 8, "max_position_embeddings": 262144, "rope_scaling": {
                "type": "yarn", "rope_theta": 1000000.0, "factor": 16.0,
                "original_max_position_embeddings": 16384, "beta_fast": 32.0, "beta_slow": 1.0,
                "mscale_all_dim": 1.0, "mscale": 1.0, "llama_4_scaling_beta": 0.1}}"#,
        ..MISTRAL
    },
    GEMMA,
    GEMMA2,
    Family {
        name: "gemma3_text",
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
        ..GEMMA2
    },
    Family {
        name: "phi3",
        defaults: r#"{"hidden_act": "silu", "rms_norm_eps": 1e-5, "max_position_embeddings": 4096}"#,
        biases: NO_BIAS,
        windows: Windows::All,
        rope: PARTIAL_ROPE,
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
        windows: Windows::Pattern(4),
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
    COHERE,
    Family {
        name: "cohere2",
        defaults: r#"{"hidden_act": "silu", "layer_norm_eps": 1e-5, "logit_scale": 0.0625,
            "tie_word_embeddings": true, "max_position_embeddings": 8192, "sliding_window": 4096}"#,
        qk_norm: QkNormRow::None,
        rope: RopeRow { theta: 10_000.0, without: WithoutRope::Full, ..COHERE.rope },
        windows: Windows::Pattern(4),
        inert: &["order_of_interleaved_layers", "rotary_pct", "cache_implementation"],
        only: &[
            ("use_qk_norm", &["false"]),
            ("position_embedding_type", &["\"rope_gptj\""]),
            ("use_embedding_sharing", &["true"]),
            ("use_gated_activation", &["true"]),
            ("use_parallel_block", &["true"]),
            ("use_parallel_embedding", &["false"]),
        ],
        ..COHERE
    },
    Family {
        name: "helium",
        defaults: r#"{"hidden_act": "silu", "rms_norm_eps": 1e-8, "head_dim": 128}"#,
        biases: Biases { output: Flag::Never, ..BOTH_BIASES },
        rope: RopeRow { theta: 100_000.0, neighbours: true, ..ROPE },
        ..LLAMA
    },
    Family {
        name: "hunyuan_v1_dense",
        defaults: r#"{"hidden_act": "silu", "rms_norm_eps": 1e-5}"#,
        qk_norm: QkNormRow::Always(QkNorm { after_rope: true, ..HEAD_NORM }),
        biases: ATTENTION_BIAS,
        inert: &[
            "eod_token_id",
            "im_start_id",
            "im_end_id",
            "im_newline_id",
            "text_start_id",
            "text_end_id",
            "sep_token_id",
            "pad_id",
            "org_vocab_size",
            "attention_head_dim",
            "mask_init_id",
        ],
        only: &[
            ("mlp_bias", &["false"]),
            ("use_qk_norm", &["true"]),
            ("use_cla", &["false"]),
            ("cla_share_factor", &["1", "2"]),
            ("norm_type", &["\"rms\"", "\"hf_rms\""]),
            ("position_embedding_xdrope", &["false"]),
            ("use_rotary_pos_emb", &["true"]),
        ],
        layout: Layout {
            names: &[
                (Role::QueryNorm, "self_attn.query_layernorm"),
                (Role::KeyNorm, "self_attn.key_layernorm"),
            ],
            ..LAYOUT
        },
        ..LLAMA
    },
    Family {
        name: "seed_oss",
        defaults: r#"{"hidden_act": "silu", "rms_norm_eps": 1e-6, "head_dim": 128,
            "attention_bias": true, "num_key_value_heads": 8}"#,
        biases: Biases { output: Flag::Key("attention_out_bias"), ..BOTH_BIASES },
        inert: &["residual_dropout"],
        ..LLAMA
    },
    Family {
        name: "apertus",
        defaults: r#"{"hidden_act": "xielu", "rms_norm_eps": 1e-5, "rope_scaling": {
            "rope_type": "llama3", "rope_theta": 12000000.0, "factor": 8.0,
            "original_max_position_embeddings": 8192, "low_freq_factor": 1.0,
            "high_freq_factor": 4.0}}"#,
        qk_norm: QkNormRow::Always(HEAD_NORM),
        biases: ATTENTION_BIAS,
        rope: RopeRow { theta: 12_000_000.0, ..ROPE },
        gated: false,
        activation: ActivationRow { key: "hidden_act", names: &[("xielu", Activation::Xielu)] },
        only: &[("mlp_bias", &["false"]), ("qk_norm", &["true"]), ("post_norm", &["false"])],
        layout: Layout {
            names: &[
                (Role::AttentionNorm, "attention_layernorm"),
                (Role::MlpNorm, "feedforward_layernorm"),
                (Role::XieluPositive, "mlp.act_fn.alpha_p"),
                (Role::XieluNegative, "mlp.act_fn.alpha_n"),
            ],
            ignored: &["rotary_emb.inv_freq", "act_fn.beta", "act_fn.eps"],
            ..LAYOUT
        },
        ..LLAMA
    },
    Family {
        name: "arcee",
        defaults: r#"{"hidden_act": "relu2", "rms_norm_eps": 1e-5}"#,
        gated: false,
        ..LLAMA
    },
    Family {
        name: "ernie4_5",
        defaults: r#"{"hidden_act": "silu", "rms_norm_eps": 1e-5, "head_dim": 128,
            "tie_word_embeddings": true, "num_key_value_heads": 2}"#,
        biases: Biases {
            qkv: Flag::Key("use_bias"),
            output: Flag::Key("use_bias"),
            mlp: Flag::Key("use_bias"),
            head: Flag::Never,
        },
        rope: RopeRow { theta: 500_000.0, neighbours: true, ..ROPE },
        ..LLAMA
    },
    Family {
        name: "bitnet",
        defaults: r#"{"hidden_act": "relu2", "rms_norm_eps": 1e-5}"#,
        biases: ATTENTION_BIAS,
        rope: RopeRow { theta: 500_000.0, ..ROPE },
        sub_norms: true,
        ..LLAMA
    },
    Family {
        name: "lfm2",
        defaults: r#"{"norm_eps": 1e-5, "tie_word_embeddings": true, "conv_bias": false,
            "conv_L_cache": 3, "block_multiple_of": 256, "block_ffn_dim_multiplier": 1.0,
            "block_auto_adjust_ff_dim": true, "num_key_value_heads": 8,
            "max_position_embeddings": 128000}"#,
        spellings: &[
            ("tie_embedding", "tie_word_embeddings"),
            ("block_ff_dim", "intermediate_size"),
        ],
        norm: NormRow { eps: Eps::Key("norm_eps"), ..RMS },
        qk_norm: QkNormRow::Always(HEAD_NORM),
        biases: NO_BIAS,
        rope: RopeRow { theta: 1_000_000.0, ..ROPE },
        activation: ActivationRow { key: "", names: &[("", Activation::Silu)] },
        convolutions: true,
        inert: &[
            "block_dim",
            "conv_dim",
            "conv_dim_out",
            "block_mlp_init_scale",
            "block_out_init_scale",
            "block_norm_eps",
            "block_use_xavier_init",
            "num_heads",
            "use_pos_enc",
            "theta",
        ],
        only: &[("block_use_swiglu", &["true"]), ("conv_use_xavier_init", &["true", "false"])],
        layout: Layout {
            names: &[
                (Role::AttentionNorm, "operator_norm"),
                (Role::MlpNorm, "ffn_norm"),
                (Role::QueryNorm, "self_attn.q_layernorm"),
                (Role::KeyNorm, "self_attn.k_layernorm"),
                (Role::Output, "self_attn.out_proj"),
                (Role::Gate, "feed_forward.w1"),
                (Role::Up, "feed_forward.w3"),
                (Role::Down, "feed_forward.w2"),
                (Role::FinalNorm, "embedding_norm"),
            ],
            ..LAYOUT
        },
        ..LLAMA
    },
];
