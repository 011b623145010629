"""Mixtures with latent attention: deepseek 2 and 3."""

from .model import EPS, Case, config

TIED = {"tie_word_embeddings": True}

CORRECTION = ("e_score_correction_bias",)


def deepseek_keys(model_type, architecture, **keys):
    return config(
        model_type,
        architecture,
        **{
            "attention_bias": False,
            "aux_loss_alpha": 0.001,
            "ep_size": 1,
            "first_k_dense_replace": 1,
            "kv_lora_rank": 12,
            "moe_intermediate_size": 8,
            "moe_layer_freq": 1,
            "n_routed_experts": 6,
            "n_shared_experts": 1,
            "num_experts_per_tok": 2,
            "num_key_value_heads": 4,
            "pretraining_tp": 1,
            "q_lora_rank": None,
            "qk_nope_head_dim": 8,
            "qk_rope_head_dim": 8,
            "rms_norm_eps": EPS,
            "seq_aux": True,
            "v_head_dim": 6,
            **keys,
        },
    )


def deepseek_yarn(**keys):
    return {
        "beta_fast": 32,
        "beta_slow": 1,
        "factor": 40,
        "mscale": 0.9,
        "mscale_all_dim": 0.6,
        "original_max_position_embeddings": 16,
        "type": "yarn",
        **keys,
    }


def deepseek_v2():
    base = {"norm_topk_prob": False, "scoring_func": "softmax", "routed_scaling_factor": 1.3}
    yield Case(
        "deepseek_v2",
        deepseek_keys(
            "deepseek_v2",
            "DeepseekV2ForCausalLM",
            n_group=1,
            topk_group=1,
            topk_method="greedy",
            rope_scaling=deepseek_yarn(),
            **base,
        ),
        matters=[
            {"rope_scaling": deepseek_yarn(mscale=1.0)},
            {"routed_scaling_factor": 1.0},
            {"rope_scaling": deepseek_yarn(mscale_all_dim=1.0)},
            {"rope_scaling": None},
        ],
        inert=[{"norm_topk_prob": True}, {"moe_layer_freq": 2}],
    )
    yield Case(
        "deepseek_v2-groups",
        deepseek_keys(
            "deepseek_v2",
            "DeepseekV2ForCausalLM",
            n_group=3,
            topk_group=1,
            q_lora_rank=10,
            topk_method="group_limited_greedy",
            first_k_dense_replace=0,
            num_hidden_layers=1,
            attention_bias=True,
            **base,
            **TIED,
        ),
        sequences=1,
        matters=[{"topk_group": 3}],
    )


def deepseek_v3():
    base = {
        "norm_topk_prob": True,
        "num_nextn_predict_layers": 1,
        "routed_scaling_factor": 2.5,
        "scoring_func": "sigmoid",
        "topk_method": "noaux_tc",
    }
    yield Case(
        "deepseek_v3",
        deepseek_keys(
            "deepseek_v3",
            "DeepseekV3ForCausalLM",
            n_group=2,
            topk_group=1,
            q_lora_rank=10,
            rope_scaling=deepseek_yarn(mscale=1.0, mscale_all_dim=1.0),
            **base,
        ),
        f32=CORRECTION,
        matters=[
            {"rope_scaling": deepseek_yarn(mscale=1.0, mscale_all_dim=0.5)},
            {"topk_group": 2},
            {"norm_topk_prob": False},
            {"rope_interleave": False},
        ],
        inert=[{"rope_interleave": True}, {"scoring_func": "softmax"}],
    )
    yield Case(
        "deepseek_v3-half",
        deepseek_keys(
            "deepseek_v3",
            "DeepseekV3ForCausalLM",
            n_group=1,
            topk_group=1,
            rope_interleave=False,
            first_k_dense_replace=0,
            num_hidden_layers=1,
            n_shared_experts=2,
            **{**base, "norm_topk_prob": False},
            **TIED,
        ),
        f32=CORRECTION,
        sequences=1,
        matters=[{"rope_interleave": True}],
    )


FAMILIES = [deepseek_v2, deepseek_v3]
