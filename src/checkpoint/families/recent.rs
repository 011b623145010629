//! Dense families that are not Llama's descendants in every part, and LFM2, one row each.

use super::dense::*;
use super::*;
use crate::checkpoint::config::QkNorm;

const COHERE: Family = Family {
    name: "cohere",
    defaults: r#"{"hidden_act": "silu", "layer_norm_eps": 1e-5, "logit_scale": 0.0625,
        "tie_word_embeddings": true, "max_position_embeddings": 8192}"#,
    norm: NormRow { bias: false, ..LAYER_NORM },
    placement: Placement::PARALLEL,
    qk_norm: QkNormRow::Key("use_qk_norm", OWN_HEAD_NORM),
    biases: ATTENTION_BIAS,
    rope: RopeRow { theta: 500_000.0, neighbours: true, ..ROPE },
    factors: Factors { logits: Some("logit_scale"), ..FACTORS },
    ..LLAMA
};

/// Dense families: Cohere, Helium, Hunyuan, Seed-OSS, Apertus, Arcee, ERNIE, BitNet, LFM2.
pub(super) static FAMILIES: &[Family] = &[
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
        rope: RopeRow { grows_by_alpha: true, ..ROPE },
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
