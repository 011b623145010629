//! Dense families with layer norms and plain MLPs, and OLMo, one row each.

use super::dense::*;
use super::*;
use crate::checkpoint::config::QkNorm;

const PLAIN_NAMES: &[(Role, &str)] = &[(Role::Up, "mlp.c_fc"), (Role::Down, "mlp.c_proj")];
const ALL_BIASES: Biases =
    Biases { qkv: Flag::Always, output: Flag::Always, mlp: Flag::Always, head: Flag::Never };
/// The input of the MLP is normed by itself, and both results are added.
const PARALLEL_NORMS: Placement = Placement { parallel: true, ..Placement::BEFORE };

/// Families with layer norms.
pub(super) static FAMILIES: &[Family] = &[
    Family {
        name: "phi",
        defaults: r#"{"hidden_act": "gelu_new", "layer_norm_eps": 1e-5,
            "max_position_embeddings": 2048}"#,
        norm: LAYER_NORM,
        placement: Placement::PARALLEL,
        qk_norm: QkNormRow::Key(
            "qk_layernorm",
            QkNorm { kind: NormKind::Layer, bias: true, ..HEAD_NORM },
        ),
        biases: Biases { head: Flag::Always, ..ALL_BIASES },
        rope: RopeRow { partial: 0.5, ..PARTIAL_ROPE },
        gated: false,
        inert: &["resid_pdrop", "embd_pdrop"],
        layout: Layout {
            names: &[
                (Role::QueryNorm, "self_attn.q_layernorm"),
                (Role::KeyNorm, "self_attn.k_layernorm"),
                (Role::Output, "self_attn.dense"),
                (Role::Up, "mlp.fc1"),
                (Role::Down, "mlp.fc2"),
                (Role::FinalNorm, "final_layernorm"),
            ],
            ..LAYOUT
        },
        ..LLAMA
    },
    Family {
        name: "olmo",
        defaults: r#"{"hidden_act": "silu", "max_position_embeddings": 2048}"#,
        norm: NormRow { gain: false, bias: false, eps: Eps::Is(1e-5), ..LAYER_NORM },
        biases: ATTENTION_BIAS,
        factors: Factors { clip_qkv: true, ..FACTORS },
        ..LLAMA
    },
    Family {
        name: "starcoder2",
        defaults: r#"{"hidden_act": "gelu_pytorch_tanh", "norm_epsilon": 1e-5, "use_bias": true,
            "tie_word_embeddings": true, "num_key_value_heads": 2}"#,
        norm: NormRow { eps: Eps::Key("norm_epsilon"), ..LAYER_NORM },
        biases: Biases {
            qkv: Flag::Key("use_bias"),
            output: Flag::Key("use_bias"),
            mlp: Flag::Key("use_bias"),
            head: Flag::Never,
        },
        windows: Windows::AllAlike,
        gated: false,
        inert: &["residual_dropout", "embedding_dropout", "hidden_dropout"],
        only: &[("norm_type", &["\"layer_norm\""]), ("mlp_type", &["\"default\""])],
        layout: Layout { names: PLAIN_NAMES, ..LAYOUT },
        ..LLAMA
    },
    Family {
        name: "stablelm",
        defaults: r#"{"hidden_act": "silu", "layer_norm_eps": 1e-5}"#,
        norm: LAYER_NORM,
        parallel: Some(("use_parallel_residual", Placement::PARALLEL)),
        qk_norm: QkNormRow::Key("qk_layernorm", OWN_HEAD_NORM),
        biases: Biases { qkv: Flag::Key("use_qkv_bias"), ..NO_BIAS },
        rope: RopeRow { partial: 0.25, ..PARTIAL_ROPE },
        inert: &["hidden_dropout"],
        only: &[("norm_eps", &["1e-05", "1e-5"])],
        layout: Layout {
            names: &[
                (Role::QueryNorm, "self_attn.q_layernorm"),
                (Role::KeyNorm, "self_attn.k_layernorm"),
            ],
            ..LAYOUT
        },
        ..LLAMA
    },
    Family {
        name: "nemotron",
        defaults: r#"{"hidden_act": "relu2", "norm_eps": 1e-5}"#,
        norm: NormRow { minus_one: true, eps: Eps::Key("norm_eps"), ..LAYER_NORM },
        rope: RopeRow { partial: 0.5, ..PARTIAL_ROPE },
        spellings: &[
            ("rope_percent", "partial_rotary_factor"),
            ("rope_percentage", "partial_rotary_factor"),
        ],
        gated: false,
        inert: &["hidden_dropout", "normalization"],
        ..LLAMA
    },
    Family {
        name: "gpt_neox",
        defaults: r#"{"hidden_act": "gelu", "layer_norm_eps": 1e-5, "attention_bias": true,
            "use_parallel_residual": true}"#,
        norm: LAYER_NORM,
        parallel: Some(("use_parallel_residual", PARALLEL_NORMS)),
        biases: Biases { mlp: Flag::Always, ..ATTENTION_BIAS },
        rope: RopeRow {
            partial: 0.25,
            partial_key: Some("rotary_pct"),
            theta_key: "rotary_emb_base",
            ..ROPE
        },
        gated: false,
        inert: &["hidden_dropout", "classifier_dropout", "is_decoder"],
        layout: Layout {
            prefix: "gpt_neox.",
            names: &[
                (Role::Embedding, "embed_in"),
                (Role::Output, "attention.dense"),
                (Role::Up, "mlp.dense_h_to_4h"),
                (Role::Down, "mlp.dense_4h_to_h"),
                (Role::FinalNorm, "final_layer_norm"),
                (Role::Head, "embed_out"),
            ],
            fused: &[Fused {
                name: "attention.query_key_value",
                parts: &[Role::Query, Role::Key, Role::Value],
                by_head: true,
            }],
            ignored: &["rotary_emb.inv_freq", "attention.bias", "attention.masked_bias"],
            ..LAYOUT
        },
        ..LLAMA
    },
    Family {
        name: "gpt2",
        defaults: r#"{"activation_function": "gelu_new", "layer_norm_epsilon": 1e-5,
            "tie_word_embeddings": true, "num_hidden_layers": 12, "num_attention_heads": 12,
            "hidden_size": 768, "max_position_embeddings": 1024}"#,
        spellings: &[
            ("n_layer", "num_hidden_layers"),
            ("n_head", "num_attention_heads"),
            ("n_embd", "hidden_size"),
            ("n_positions", "max_position_embeddings"),
            ("n_inner", "intermediate_size"),
        ],
        norm: NormRow { eps: Eps::Key("layer_norm_epsilon"), ..LAYER_NORM },
        biases: ALL_BIASES,
        rope: RopeRow { rotates: false, ..ROPE },
        factors: Factors {
            scale_switch: Some("scale_attn_weights"),
            scale_by_layer: Some("scale_attn_by_inverse_layer_idx"),
            ..FACTORS
        },
        gated: false,
        activation: ActivationRow { key: "activation_function", names: ACTIVATIONS },
        learned_positions: true,
        inert: &[
            "n_ctx",
            "resid_pdrop",
            "embd_pdrop",
            "attn_pdrop",
            "summary_type",
            "summary_use_proj",
            "summary_activation",
            "summary_proj_to_labels",
            "summary_first_dropout",
            "task_specific_params",
            "reorder_and_upcast_attn",
        ],
        only: &[("add_cross_attention", &["false"])],
        layout: Layout {
            prefix: "transformer.",
            layers: "h",
            names: &[
                (Role::Embedding, "wte"),
                (Role::Positions, "wpe"),
                (Role::AttentionNorm, "ln_1"),
                (Role::Output, "attn.c_proj"),
                (Role::MlpNorm, "ln_2"),
                (Role::Up, "mlp.c_fc"),
                (Role::Down, "mlp.c_proj"),
                (Role::FinalNorm, "ln_f"),
            ],
            fused: &[Fused {
                name: "attn.c_attn",
                parts: &[Role::Query, Role::Key, Role::Value],
                by_head: false,
            }],
            transposed: true,
            ignored: &["attn.bias", "attn.masked_bias"],
            ..LAYOUT
        },
        ..LLAMA
    },
];
