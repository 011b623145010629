"""Mixtures of experts: routers, shared experts, dense layers among sparse ones."""

from .model import ABSENT, EPS, Case, config

EXPERTS = {"intermediate_size": 8, "num_experts_per_tok": 2, "output_router_logits": False}

TIED = {"tie_word_embeddings": True}

CORRECTION = ("e_score_correction_bias",)


def mixtral():
    yield Case(
        "mixtral",
        config(
            "mixtral",
            "MixtralForCausalLM",
            head_dim=None,
            num_local_experts=5,
            router_aux_loss_coef=0.02,
            router_jitter_noise=0.0,
            sliding_window=None,
            rope_theta=1000003.0,
            **EXPERTS,
        ),
        matters=[{"num_experts_per_tok": 3}, {"sliding_window": 9}],
        inert=[{"router_jitter_noise": 0.5}],
    )


def qwen_moe():
    base = {
        "decoder_sparse_step": 1,
        "max_window_layers": 28,
        "moe_intermediate_size": 8,
        "num_experts": 6,
        "num_experts_per_tok": 3,
        "output_router_logits": False,
        "router_aux_loss_coef": 0.001,
        "use_sliding_window": False,
    }
    yield Case(
        "qwen2_moe",
        config(
            "qwen2_moe",
            "Qwen2MoeForCausalLM",
            shared_expert_intermediate_size=20,
            norm_topk_prob=False,
            sliding_window=4096,
            rope_theta=1000003.0,
            **base,
        ),
        matters=[{"norm_topk_prob": True}, {"num_experts_per_tok": 2}],
        inert=[{"norm_topk_prob": ABSENT}, {"intermediate_size": 5}],
    )
    yield Case(
        "qwen2_moe-dense",
        config(
            "qwen2_moe",
            "Qwen2MoeForCausalLM",
            shared_expert_intermediate_size=12,
            norm_topk_prob=True,
            qkv_bias=False,
            num_hidden_layers=3,
            **{**base, "decoder_sparse_step": 2, "intermediate_size": 16},
        ),
        sequences=1,
        matters=[{"norm_topk_prob": False}],
        inert=[{"mlp_only_layers": [0]}],
    )
    yield Case(
        "qwen3_moe",
        config(
            "qwen3_moe",
            "Qwen3MoeForCausalLM",
            head_dim=8,
            norm_topk_prob=True,
            mlp_only_layers=[0],
            attention_bias=False,
            sliding_window=None,
            **base,
        ),
        sequences=1,
        matters=[{"norm_topk_prob": False}],
    )


def olmoe():
    base = {**EXPERTS, "num_experts": 6, "rms_norm_eps": EPS, "router_aux_loss_coef": 0.01}
    yield Case(
        "olmoe",
        config(
            "olmoe",
            "OlmoeForCausalLM",
            attention_bias=False,
            clip_qkv=None,
            norm_topk_prob=False,
            **base,
        ),
        matters=[{"norm_topk_prob": True}, {"clip_qkv": 0.5}],
        inert=[{"norm_topk_prob": ABSENT}],
    )
    yield Case(
        "olmoe-clip",
        config(
            "olmoe",
            "OlmoeForCausalLM",
            attention_bias=False,
            clip_qkv=0.8,
            norm_topk_prob=True,
            num_hidden_layers=1,
            **base,
            **TIED,
        ),
        sequences=1,
        matters=[{"clip_qkv": None}],
    )


def granitemoe():
    yield Case(
        "granitemoe",
        config(
            "granitemoe",
            "GraniteMoeForCausalLM",
            attention_bias=False,
            attention_multiplier=0.25,
            embedding_multiplier=3.0,
            logits_scaling=0.7,
            residual_multiplier=0.4,
            num_local_experts=6,
            router_aux_loss_coef=0.01,
            **EXPERTS,
            **TIED,
        ),
        matters=[{"num_experts_per_tok": 3}, {"residual_multiplier": 1.0}],
    )


def glm4_moe_keys(**keys):
    return config(
        "glm4_moe",
        "Glm4MoeForCausalLM",
        **{
            "attention_bias": False,
            "first_k_dense_replace": 1,
            "head_dim": 12,
            "moe_intermediate_size": 8,
            "n_group": 1,
            "n_routed_experts": 6,
            "n_shared_experts": 1,
            "norm_topk_prob": True,
            "num_experts_per_tok": 2,
            "num_nextn_predict_layers": 1,
            "partial_rotary_factor": 0.5,
            "routed_scaling_factor": 1.7,
            "topk_group": 1,
            "use_qk_norm": False,
            **keys,
        },
    )


def glm4_moe():
    yield Case(
        "glm4_moe",
        glm4_moe_keys(),
        f32=CORRECTION,
        matters=[{"norm_topk_prob": False}, {"routed_scaling_factor": 1.0}, {"rope_theta": 100.0}],
        inert=[{"partial_rotary_factor": ABSENT}],
    )
    yield Case(
        "glm4_moe-groups",
        glm4_moe_keys(
            attention_bias=True,
            first_k_dense_replace=0,
            head_dim=8,
            n_group=2,
            n_shared_experts=2,
            norm_topk_prob=False,
            num_hidden_layers=1,
            use_qk_norm=True,
            **TIED,
        ),
        f32=CORRECTION,
        sequences=1,
        matters=[{"n_group": 1}, {"topk_group": 2}],
    )


def ernie4_5_moe():
    base = {
        "moe_capacity": [64, 64, 64],
        "moe_gate": "topk",
        "moe_intermediate_size": 8,
        "moe_k": 2,
        "moe_layer_interval": 1,
        "moe_layer_start_index": 1,
        "moe_num_experts": 6,
        "moe_use_aux_free": True,
        "rope_theta": 500009.0,
        "head_dim": ABSENT,
    }
    yield Case(
        "ernie4_5_moe",
        config(
            "ernie4_5_moe",
            "Ernie4_5_MoeForCausalLM",
            moe_layer_end_index=1,
            moe_num_shared_experts=2,
            num_hidden_layers=3,
            use_bias=False,
            tie_word_embeddings=ABSENT,
            **base,
        ),
        f32=CORRECTION,
        matters=[{"moe_k": 3}],
    )
    yield Case(
        "ernie4_5_moe-bias",
        config(
            "ernie4_5_moe",
            "Ernie4_5_MoeForCausalLM",
            moe_layer_end_index=-1,
            moe_num_shared_experts=0,
            use_bias=True,
            **{**base, "moe_layer_interval": 2, "moe_layer_start_index": 0},
        ),
        f32=CORRECTION,
        sequences=1,
    )


def dots1():
    yield Case(
        "dots1",
        config(
            "dots1",
            "Dots1ForCausalLM",
            attention_bias=False,
            first_k_dense_replace=1,
            max_window_layers=1,
            moe_intermediate_size=8,
            moe_layer_freq=1,
            n_group=1,
            n_routed_experts=6,
            n_shared_experts=1,
            norm_topk_prob=True,
            num_experts_per_tok=2,
            routed_scaling_factor=2.5,
            scoring_func="noaux_tc",
            sliding_window=9,
            topk_group=1,
        ),
        f32=CORRECTION,
        matters=[{"sliding_window": 10}, {"max_window_layers": 2}, {"norm_topk_prob": False}],
        inert=[{"scoring_func": "softmax"}],
    )


FAMILIES = [mixtral, qwen_moe, olmoe, granitemoe, glm4_moe, ernie4_5_moe, dots1]
