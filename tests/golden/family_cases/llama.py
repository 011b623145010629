"""Families closest to llama: qwen, mistral and phi3."""

from .model import ABSENT, EPS, Case, config

TIED = {"tie_word_embeddings": True}


def llama():
    llama3 = {
        "factor": 8.0,
        "high_freq_factor": 4.0,
        "low_freq_factor": 1.0,
        "original_max_position_embeddings": 32,
        "rope_type": "llama3",
    }
    yield Case(
        "llama",
        config(
            "llama",
            "LlamaForCausalLM",
            rope_scaling=llama3,
            rope_theta=523000.0,
            head_dim=8,
            mlp_bias=False,
            attention_bias=False,
            pretraining_tp=1,
            **TIED,
        ),
        matters=[{"rope_scaling": None}, {"rope_theta": 10000.0}],
        inert=[{"pretraining_tp": 2}],
    )
    dynamic = {"factor": 4.0, "type": "dynamic"}
    yield Case(
        "llama-bias",
        config(
            "llama",
            "LlamaForCausalLM",
            num_hidden_layers=1,
            head_dim=ABSENT,
            attention_bias=True,
            mlp_bias=True,
            max_position_embeddings=16,
            rope_scaling=dynamic,
        ),
        sequences=1,
        matters=[{"max_position_embeddings": 64}, {"rope_scaling": None}],
    )


def qwen():
    yield Case(
        "qwen2",
        config(
            "qwen2",
            "Qwen2ForCausalLM",
            use_sliding_window=True,
            sliding_window=9,
            max_window_layers=1,
            rope_theta=1000003.0,
            **TIED,
        ),
        matters=[{"use_sliding_window": False}, {"max_window_layers": 2}, {"sliding_window": 10}],
    )
    yield Case(
        "qwen3",
        config(
            "qwen3",
            "Qwen3ForCausalLM",
            head_dim=8,
            attention_bias=False,
            use_sliding_window=False,
            sliding_window=None,
            max_window_layers=28,
            rope_theta=1000003.0,
        ),
        matters=[{"rope_theta": 10000.0}],
        inert=[{"sliding_window": 4}],
    )


def mistral():
    yield Case(
        "mistral",
        config(
            "mistral",
            "MistralForCausalLM",
            head_dim=None,
            sliding_window=None,
            num_attention_heads=3,
            num_key_value_heads=1,
            rope_theta=1000003.0,
        ),
        matters=[{"rope_theta": 10000.0}, {"sliding_window": 8}],
    )
    yield Case(
        "mistral-window",
        config(
            "mistral",
            "MistralForCausalLM",
            num_hidden_layers=1,
            head_dim=10,
            sliding_window=9,
            **TIED,
        ),
        matters=[{"sliding_window": None}, {"sliding_window": 10}, {"sliding_window": 8}],
        sequences=1,
    )
    yield Case(
        "ministral",
        config(
            "ministral",
            "MinistralForCausalLM",
            head_dim=8,
            sliding_window=9,
            num_hidden_layers=3,
            layer_types=["sliding_attention", "full_attention", "sliding_attention"],
        ),
        matters=[{"layer_types": ABSENT}, {"sliding_window": 10}],
    )


def ministral3_rope(**keys):
    return {
        "beta_fast": 32.0,
        "beta_slow": 1.0,
        "factor": 16.0,
        "llama_4_scaling_beta": 0.1,
        "mscale": 1.0,
        "mscale_all_dim": 1.0,
        "original_max_position_embeddings": 16,
        "rope_theta": 1000003.0,
        "rope_type": "yarn",
        "type": "yarn",
        **keys,
    }


def ministral3():
    base = ministral3_rope()
    yield Case(
        "ministral3",
        config(
            "ministral3",
            "Ministral3ForCausalLM",
            head_dim=16,
            num_attention_heads=3,
            num_key_value_heads=1,
            sliding_window=None,
            rope_theta=ABSENT,
            rope_scaling=ABSENT,
            rope_parameters=base,
        ),
        matters=[
            {"rope_parameters": ministral3_rope(llama_4_scaling_beta=0.0)},
            {"rope_parameters": ministral3_rope(factor=8.0)},
            {"rope_parameters": ministral3_rope(original_max_position_embeddings=8)},
        ],
    )
    # The older spelling, an attention factor that is not 1, and a window.
    scaling = ministral3_rope(mscale=0.7, mscale_all_dim=1.3, llama_4_scaling_beta=0.35)
    del scaling["rope_theta"]
    yield Case(
        "ministral3-mscale",
        config(
            "ministral3",
            "Ministral3ForCausalLM",
            num_hidden_layers=1,
            head_dim=16,
            num_attention_heads=3,
            num_key_value_heads=1,
            sliding_window=12,
            rope_theta=20011.0,
            rope_scaling=scaling,
            **TIED,
        ),
        matters=[
            {"rope_scaling": {**scaling, "mscale": 1.3}},
            {"sliding_window": None},
            {"rope_scaling": {**scaling, "beta_slow": 0.25}},
        ],
        sequences=1,
    )


def phi3_keys(**keys):
    return config(
        "phi3",
        "Phi3ForCausalLM",
        **{
            "attention_bias": False,
            "embd_pdrop": 0.0,
            "head_dim": ABSENT,
            "hidden_size": 32,
            "num_attention_heads": 2,
            "num_key_value_heads": 1,
            "resid_pdrop": 0.0,
            "original_max_position_embeddings": 64,
            "sliding_window": 11,
            **keys,
        },
    )


def longrope(**keys):
    return {
        "long_factor": [1.0, 1.3, 2.1, 4.7, 9.2, 17.0],
        "short_factor": [1.0, 1.1, 1.25, 1.4, 1.6, 2.0],
        "type": "longrope",
        **keys,
    }


def phi3():
    yield Case(
        "phi3",
        phi3_keys(),
        matters=[{"sliding_window": 12}, {"rope_theta": 100.0}],
        inert=[{"original_max_position_embeddings": 8}],
    )
    # Phi-4-mini: above, and below, the length the model was trained at.
    for name, original in (("long", 32), ("short", 48)):
        yield Case(
            f"phi3-longrope-{name}",
            phi3_keys(
                num_hidden_layers=1,
                partial_rotary_factor=0.75,
                rope_scaling=longrope(),
                sliding_window=None,
                original_max_position_embeddings=original,
                **TIED,
            ),
            sequences=1,
            matters=[
                (
                    {"rope_scaling": longrope(short_factor=[1.0] * 6)}
                    if name == "short"
                    else {"rope_scaling": longrope(long_factor=[1.0] * 6)}
                ),
                {"max_position_embeddings": 512},
            ],
            inert=[{"rope_scaling": longrope(type="su", original_max_position_embeddings=1)}],
        )


def phi_keys(**keys):
    return config(
        "phi",
        "PhiForCausalLM",
        **{
            "embd_pdrop": 0.0,
            "hidden_act": "gelu_new",
            "layer_norm_eps": EPS,
            "partial_rotary_factor": 0.5,
            "qk_layernorm": False,
            "resid_pdrop": 0.1,
            "num_attention_heads": 3,
            "num_key_value_heads": None,
            "rms_norm_eps": ABSENT,
            **keys,
        },
    )


def phi():
    yield Case(
        "phi",
        phi_keys(),
        matters=[{"partial_rotary_factor": 1.0}, {"hidden_act": "relu"}],
        inert=[{"partial_rotary_factor": ABSENT}],
    )
    yield Case(
        "phi-qk",
        phi_keys(
            num_hidden_layers=1,
            qk_layernorm=True,
            partial_rotary_factor=0.25,
            num_key_value_heads=1,
        ),
        sequences=1,
    )


FAMILIES = [llama, qwen, mistral, ministral3, phi3, phi]
