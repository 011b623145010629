//! Mixtures of experts, one row each.

use super::dense::*;
use super::*;

const OF_QWEN: ExpertStorage = ExpertStorage::Each(["gate_proj", "up_proj", "down_proj"]);
const ROUTER_NAME: (Role, &str) = (Role::Router, "mlp.gate");
const DEEPSEEK_NAMES: &[(Role, &str)] = &[
    ROUTER_NAME,
    (Role::RouterCorrection, "mlp.gate.e_score_correction_bias"),
    (Role::SharedGate, "mlp.shared_experts.gate_proj"),
    (Role::SharedUp, "mlp.shared_experts.up_proj"),
    (Role::SharedDown, "mlp.shared_experts.down_proj"),
    (Role::Query, "self_attn.q_proj"),
];
const INERT: &[&str] = &[
    "router_jitter_noise",
    "num_mtp_layers",
    "ep_size",
    "seq_aux",
    "aux_loss_alpha",
    "moe_layer_freq",
    "num_local_experts",
    "use_router_aux_loss",
];

const QWEN_MIXTURE: MixtureRow = MixtureRow {
    count: &["num_experts", "num_local_experts"],
    per_token: &["num_experts_per_tok", "experts_per_token"],
    width: "moe_intermediate_size",
    routing: RoutingRow::ChosenOfSoftmax,
    router_bias: false,
    bias: Flag::Never,
    shared: SharedRow::None,
    layers: MixtureLayers::Sparse,
    storage: OF_QWEN,
};
const DEEPSEEK_MIXTURE: MixtureRow = MixtureRow {
    count: &["n_routed_experts", "num_experts", "num_local_experts"],
    routing: RoutingRow::Sigmoid,
    shared: SharedRow::Times("n_shared_experts"),
    layers: MixtureLayers::AfterDense,
    ..QWEN_MIXTURE
};

const QWEN3_MOE: Family = Family {
    name: "qwen3_moe",
    qk_norm: QkNormRow::Always(HEAD_NORM),
    biases: ATTENTION_BIAS,
    windows: Windows::AllIfUsed,
    mixture: Some(QWEN_MIXTURE),
    layout: Layout { names: &[ROUTER_NAME], ..LAYOUT },
    ..LLAMA
};

const DEEPSEEK_V3: Family = Family {
    name: "deepseek_v3",
    defaults: r#"{"hidden_act": "silu", "rms_norm_eps": 1e-6, "n_group": 8, "topk_group": 4,
        "routed_scaling_factor": 2.5, "norm_topk_prob": true, "first_k_dense_replace": 3,
        "q_lora_rank": 1536, "kv_lora_rank": 512, "qk_rope_head_dim": 64, "v_head_dim": 128,
        "qk_nope_head_dim": 128, "n_shared_experts": 1, "num_experts_per_tok": 8}"#,
    biases: ATTENTION_BIAS,
    rope: RopeRow { neighbours: true, neighbours_switch: Some("rope_interleave"), ..ROPE },
    mixture: Some(DEEPSEEK_MIXTURE),
    latent: true,
    inert: &[
        "router_jitter_noise",
        "num_mtp_layers",
        "ep_size",
        "seq_aux",
        "aux_loss_alpha",
        "qk_head_dim",
    ],
    only: &[
        ("moe_layer_freq", &["1"]),
        ("topk_method", &["\"noaux_tc\""]),
        ("scoring_func", &["\"sigmoid\""]),
        ("mlp_bias", &["false"]),
    ],
    layout: Layout { names: DEEPSEEK_NAMES, ..LAYOUT },
    ..LLAMA
};

/// Mixtures of experts.
pub(super) static FAMILIES: &[Family] = &[
    QWEN3_MOE,
    // gpt-oss: sinks, alternating windows, biases on all layers.
    Family {
        name: "gpt_oss",
        defaults: r#"{"hidden_act": "silu", "mlp_bias": true}"#,
        windows: Windows::Listed,
        sinks: true,
        mixture: Some(MixtureRow {
            count: &["num_local_experts", "num_experts"],
            width: "intermediate_size",
            routing: RoutingRow::SoftmaxOfChosen,
            router_bias: true,
            bias: Flag::Key("mlp_bias"),
            layers: MixtureLayers::All,
            storage: ExpertStorage::Interleaved,
            ..QWEN_MIXTURE
        }),
        only: &[("swiglu_alpha", &["1.702"])],
        ..LLAMA
    },
    Family {
        name: "mixtral",
        defaults: r#"{"hidden_act": "silu", "rms_norm_eps": 1e-5, "num_experts_per_tok": 2,
            "num_local_experts": 8, "num_key_value_heads": 8}"#,
        biases: NO_BIAS,
        rope: RopeRow { theta: 1_000_000.0, ..ROPE },
        windows: Windows::AllAlike,
        mixture: Some(MixtureRow {
            count: &["num_local_experts", "num_experts"],
            width: "intermediate_size",
            routing: RoutingRow::SoftmaxOfChosen,
            layers: MixtureLayers::All,
            storage: ExpertStorage::Each(["w1", "w3", "w2"]),
            ..QWEN_MIXTURE
        }),
        inert: INERT,
        layout: Layout {
            names: &[(Role::Router, "block_sparse_moe.gate")],
            experts: "block_sparse_moe.experts",
            ..LAYOUT
        },
        ..LLAMA
    },
    Family {
        name: "qwen2_moe",
        defaults: r#"{"hidden_act": "silu", "rms_norm_eps": 1e-6, "qkv_bias": true,
            "moe_intermediate_size": 1408, "shared_expert_intermediate_size": 5632,
            "num_experts_per_tok": 4, "num_experts": 60, "norm_topk_prob": false}"#,
        qk_norm: QkNormRow::None,
        biases: Biases { qkv: Flag::Key("qkv_bias"), ..NO_BIAS },
        windows: Windows::Late,
        mixture: Some(MixtureRow {
            shared: SharedRow::Width("shared_expert_intermediate_size"),
            ..QWEN_MIXTURE
        }),
        ..QWEN3_MOE
    },
    Family {
        name: "olmoe",
        defaults: r#"{"hidden_act": "silu", "rms_norm_eps": 1e-5, "num_experts_per_tok": 8,
            "num_experts": 64, "norm_topk_prob": false}"#,
        qk_norm: QkNormRow::Always(ALL_HEADS_NORM),
        windows: Windows::Never,
        factors: Factors { clip_qkv: true, ..FACTORS },
        mixture: Some(MixtureRow {
            width: "intermediate_size",
            layers: MixtureLayers::All,
            ..QWEN_MIXTURE
        }),
        ..QWEN3_MOE
    },
    Family {
        name: "granitemoe",
        defaults: r#"{"hidden_act": "silu", "rms_norm_eps": 1e-6, "embedding_multiplier": 1.0,
            "attention_multiplier": 1.0, "residual_multiplier": 1.0, "logits_scaling": 1.0,
            "num_local_experts": 8, "num_experts_per_tok": 2}"#,
        biases: ATTENTION_BIAS,
        factors: GRANITE_FACTORS,
        mixture: Some(MixtureRow {
            count: &["num_local_experts", "num_experts"],
            width: "intermediate_size",
            routing: RoutingRow::SoftmaxOfChosen,
            layers: MixtureLayers::All,
            storage: ExpertStorage::Stacked(["input_linear", "output_linear"]),
            ..QWEN_MIXTURE
        }),
        layout: Layout {
            names: &[(Role::Router, "block_sparse_moe.router.layer")],
            experts: "block_sparse_moe",
            ..LAYOUT
        },
        ..LLAMA
    },
    Family {
        name: "glm4_moe",
        defaults: r#"{"hidden_act": "silu", "rms_norm_eps": 1e-5, "n_group": 1, "topk_group": 1,
            "routed_scaling_factor": 1.0, "norm_topk_prob": true, "first_k_dense_replace": 1,
            "n_shared_experts": 1, "n_routed_experts": 128, "num_experts_per_tok": 8,
            "moe_intermediate_size": 1408, "num_key_value_heads": 8}"#,
        qk_norm: QkNormRow::Key("use_qk_norm", HEAD_NORM),
        biases: Biases { qkv: Flag::Key("attention_bias"), ..NO_BIAS },
        rope: RopeRow { partial: 0.5, ..PARTIAL_ROPE },
        latent: false,
        only: &[("moe_layer_freq", &["1"])],
        ..DEEPSEEK_V3
    },
    Family {
        name: "ernie4_5_moe",
        defaults: r#"{"hidden_act": "silu", "rms_norm_eps": 1e-5, "tie_word_embeddings": true,
            "moe_k": 6, "moe_num_experts": 64, "moe_num_shared_experts": 2,
            "moe_layer_start_index": 1, "moe_layer_end_index": -1, "moe_layer_interval": 1,
            "moe_norm_min": 1e-12, "moe_intermediate_size": 1536, "num_key_value_heads": 4}"#,
        spellings: &[("num_experts_per_tok", "moe_k"), ("num_experts", "moe_num_experts")],
        biases: Biases {
            qkv: Flag::Key("use_bias"),
            output: Flag::Key("use_bias"),
            mlp: Flag::Key("use_bias"),
            head: Flag::Key("use_bias"),
        },
        rope: RopeRow { theta: 500_000.0, neighbours: true, ..ROPE },
        mixture: Some(MixtureRow {
            count: &["moe_num_experts"],
            per_token: &["moe_k"],
            routing: RoutingRow::CorrectedSoftmax,
            shared: SharedRow::Times("moe_num_shared_experts"),
            layers: MixtureLayers::Interval,
            ..QWEN_MIXTURE
        }),
        inert: &[
            "moe_capacity",
            "moe_gate",
            "moe_use_aux_free",
            "use_rmsnorm",
            "router_z_loss_coef",
            "compression_ratio",
        ],
        only: &[("moe_gate_act", &["\"softmax\""])],
        layout: Layout {
            names: &[
                ROUTER_NAME,
                (Role::RouterCorrection, "mlp.moe_statics.e_score_correction_bias"),
                (Role::SharedGate, "mlp.shared_experts.gate_proj"),
                (Role::SharedUp, "mlp.shared_experts.up_proj"),
                (Role::SharedDown, "mlp.shared_experts.down_proj"),
            ],
            ..LAYOUT
        },
        ..LLAMA
    },
    Family {
        name: "dots1",
        defaults: r#"{"hidden_act": "silu", "rms_norm_eps": 1e-6, "n_group": 1, "topk_group": 1,
            "routed_scaling_factor": 1.0, "norm_topk_prob": false, "first_k_dense_replace": 0,
            "moe_intermediate_size": 1408, "sliding_window": 4096, "max_window_layers": 62}"#,
        qk_norm: QkNormRow::Always(HEAD_NORM),
        rope: ROPE,
        windows: Windows::From,
        latent: false,
        only: &[
            ("moe_layer_freq", &["1"]),
            ("scoring_func", &["\"noaux_tc\"", "\"sigmoid\""]),
            ("topk_method", &["\"noaux_tc\""]),
        ],
        ..DEEPSEEK_V3
    },
    Family {
        name: "deepseek_v2",
        defaults: r#"{"hidden_act": "silu", "rms_norm_eps": 1e-6, "topk_method": "greedy",
            "routed_scaling_factor": 1.0, "first_k_dense_replace": 0, "q_lora_rank": 1536,
            "kv_lora_rank": 512, "qk_rope_head_dim": 64, "v_head_dim": 128, "qk_nope_head_dim": 128,
            "n_routed_experts": 64, "n_shared_experts": 2, "moe_intermediate_size": 1407}"#,
        // transformers never scales the weights, whatever this key says.
        inert: &[
            "norm_topk_prob",
            "router_jitter_noise",
            "ep_size",
            "seq_aux",
            "aux_loss_alpha",
            "qk_head_dim",
        ],
        rope: RopeRow { neighbours: true, ..ROPE },
        mixture: Some(MixtureRow { routing: RoutingRow::Greedy, ..DEEPSEEK_MIXTURE }),
        only: &[
            ("moe_layer_freq", &["1"]),
            ("scoring_func", &["\"softmax\""]),
            ("mlp_bias", &["false"]),
        ],
        ..DEEPSEEK_V3
    },
    DEEPSEEK_V3,
];
