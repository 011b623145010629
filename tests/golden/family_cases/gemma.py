"""Gemma 1 to 3: norms stored as weight - 1, scaled embeddings, soft-capping, windows."""

from .model import ABSENT, EPS, Case, config

TIED = {"tie_word_embeddings": True}


def gemma():
    yield Case(
        "gemma",
        config(
            "gemma",
            "GemmaForCausalLM",
            head_dim=10,
            attention_bias=False,
            rms_norm_eps=EPS,
            hidden_act="gelu",
            hidden_activation=None,
            **TIED,
        ),
        matters=[{"hidden_act": "silu"}],
        inert=[{"hidden_act": "gelu_pytorch_tanh"}, {"hidden_activation": "silu"}],
    )
    yield Case(
        "gemma2",
        config(
            "gemma2",
            "Gemma2ForCausalLM",
            head_dim=10,
            attention_bias=False,
            num_hidden_layers=3,
            attn_logit_softcapping=3.0,
            final_logit_softcapping=8.0,
            query_pre_attn_scalar=14,
            hidden_act="gelu_pytorch_tanh",
            hidden_activation="gelu_pytorch_tanh",
            sliding_window=9,
            sliding_window_size=9,
            cache_implementation="hybrid",
            tie_word_embeddings=ABSENT,
        ),
        matters=[
            {"attn_logit_softcapping": None},
            {"final_logit_softcapping": None},
            {"sliding_window": 10},
            {"query_pre_attn_scalar": 10},
            {"layer_types": ["full_attention"] * 3},
            {"hidden_activation": "silu"},
        ],
        inert=[
            {"hidden_act": "silu"},
            {"sliding_window_size": 3},
            {"layer_types": ["sliding_attention", "full_attention", "sliding_attention"]},
        ],
    )
    yield Case(
        "gemma2-plain",
        config(
            "gemma2",
            "Gemma2ForCausalLM",
            head_dim=6,
            attention_bias=True,
            attn_logit_softcapping=None,
            final_logit_softcapping=None,
            query_pre_attn_scalar=6,
            hidden_activation="gelu_pytorch_tanh",
            sliding_window=9,
        ),
        sequences=1,
        matters=[{"attn_logit_softcapping": 2.0}],
    )


def gemma3_text_keys(**keys):
    return config(
        "gemma3_text",
        "Gemma3ForCausalLM",
        **{
            "attention_bias": False,
            "attn_logit_softcapping": None,
            "cache_implementation": "hybrid",
            "final_logit_softcapping": None,
            "head_dim": 10,
            "hidden_act": ABSENT,
            "hidden_activation": "gelu_pytorch_tanh",
            "num_hidden_layers": 3,
            "num_key_value_heads": 1,
            "query_pre_attn_scalar": 14,
            "rms_norm_eps": EPS,
            "rope_local_base_freq": 9001.0,
            "rope_scaling": {"factor": 8.0, "rope_type": "linear"},
            "rope_theta": 1000003.0,
            "sliding_window": 9,
            "sliding_window_pattern": 3,
            "tie_word_embeddings": ABSENT,
            **keys,
        },
    )


def gemma3():
    types = ["sliding_attention", "sliding_attention", "full_attention"]
    yield Case(
        "gemma3_text",
        gemma3_text_keys(),
        matters=[
            {"rope_scaling": None},
            {"rope_theta": 10000.0},
            {"rope_local_base_freq": 100.0},
            {"sliding_window": 10},
            {"sliding_window_pattern": 2},
            {"query_pre_attn_scalar": 10},
        ],
        inert=[{"attn_logit_softcapping": 3.0}, {"layer_types": types}],
    )
    yield Case(
        "gemma3_text-softcap",
        gemma3_text_keys(
            final_logit_softcapping=6.0,
            attn_logit_softcapping=3.0,
            attention_bias=True,
            layer_types=["full_attention", "sliding_attention"],
            num_hidden_layers=2,
            tie_word_embeddings=False,
            rope_scaling=None,
        ),
        sequences=1,
        matters=[{"final_logit_softcapping": None}, {"layer_types": ABSENT}],
        inert=[{"attn_logit_softcapping": None}],
    )


FAMILIES = [gemma, gemma3]
