"""Families whose norms, residuals or activations differ from those of llama."""

from .model import ABSENT, Case, config

BIAS = {"attention_bias": True}

TIED = {"tie_word_embeddings": True}


def smollm3():
    yield Case(
        "smollm3",
        config(
            "smollm3",
            "SmolLM3ForCausalLM",
            attention_bias=False,
            mlp_bias=False,
            max_window_layers=28,
            no_rope_layer_interval=2,
            no_rope_layers=[1, 0, 1],
            num_hidden_layers=3,
            sliding_window=None,
            use_sliding_window=False,
            layer_types=["full_attention"] * 3,
            rope_theta=5000011.0,
            **TIED,
        ),
        matters=[{"no_rope_layers": [1, 1, 1]}, {"no_rope_layers": [1, 0, 0]}],
        inert=[{"no_rope_layers": ABSENT}, {"sliding_window": 8}],
    )
    # Only layers without rope slide.
    yield Case(
        "smollm3-window",
        config(
            "smollm3",
            "SmolLM3ForCausalLM",
            attention_bias=True,
            mlp_bias=True,
            rope_theta=ABSENT,
            no_rope_layer_interval=2,
            no_rope_layers=ABSENT,
            sliding_window=9,
            use_sliding_window=True,
        ),
        sequences=1,
        matters=[{"use_sliding_window": False}, {"no_rope_layer_interval": 4}],
        inert=[{"rope_theta": 2e6}, {"layer_types": ["full_attention", "sliding_attention"]}],
    )


def olmo():
    yield Case(
        "olmo",
        config("olmo", "OlmoForCausalLM", attention_bias=False, clip_qkv=None, rms_norm_eps=ABSENT),
        embedding=0.02,
        matters=[{"clip_qkv": 0.5}],
    )
    yield Case(
        "olmo-clip",
        config(
            "olmo",
            "OlmoForCausalLM",
            num_hidden_layers=1,
            attention_bias=True,
            clip_qkv=0.9,
            rms_norm_eps=ABSENT,
            **TIED,
        ),
        sequences=1,
        matters=[{"clip_qkv": None}],
    )
    yield Case(
        "olmo2",
        config("olmo2", "Olmo2ForCausalLM", attention_bias=False, head_dim=10, rope_theta=500009.0),
        matters=[{"rope_theta": 10000.0}],
    )
    yield Case(
        "olmo2-bias",
        config(
            "olmo2",
            "Olmo2ForCausalLM",
            num_hidden_layers=1,
            num_key_value_heads=None,
            **BIAS,
            **TIED,
        ),
        sequences=1,
    )


def olmo3():
    yarn = {
        "attention_factor": 1.2079,
        "beta_fast": 32.0,
        "beta_slow": 1.0,
        "factor": 8.0,
        "original_max_position_embeddings": 16,
        "rope_type": "yarn",
    }
    types = ["sliding_attention"] * 3 + ["full_attention"]
    # `rope_theta` and `rope_scaling` go to full layers only; sliding ones have 500000.
    yield Case(
        "olmo3",
        config(
            "olmo3",
            "Olmo3ForCausalLM",
            attention_bias=False,
            num_hidden_layers=4,
            layer_types=types,
            sliding_window=9,
            rope_theta=900007.0,
            rope_scaling=yarn,
        ),
        matters=[{"rope_scaling": None}, {"rope_theta": 500000.0}, {"sliding_window": 10}],
        inert=[{"layer_types": ABSENT}],
    )
    both = {
        "full_attention": {"rope_theta": 30011.0, "rope_type": "default"},
        "sliding_attention": {"rope_theta": 1009.0, "rope_type": "default"},
    }
    yield Case(
        "olmo3-both",
        config(
            "olmo3",
            "Olmo3ForCausalLM",
            attention_bias=True,
            sliding_window=9,
            rope_theta=ABSENT,
            layer_types=["full_attention", "sliding_attention"],
            rope_scaling=ABSENT,
            rope_parameters=both,
            **TIED,
        ),
        sequences=1,
        matters=[
            {"rope_parameters": {**both, "full_attention": both["sliding_attention"]}},
            {"rope_parameters": {**both, "sliding_attention": both["full_attention"]}},
        ],
    )


def granite():
    multipliers = {
        "embedding_multiplier": 3.0,
        "logits_scaling": 0.7,
        "residual_multiplier": 0.4,
        "attention_multiplier": 0.25,
    }
    yield Case(
        "granite",
        config(
            "granite",
            "GraniteForCausalLM",
            attention_bias=False,
            mlp_bias=False,
            **multipliers,
            **TIED,
        ),
        matters=[{key: 1.0} for key in multipliers],
    )
    yield Case(
        "granite-bias",
        config(
            "granite",
            "GraniteForCausalLM",
            num_hidden_layers=1,
            attention_bias=True,
            mlp_bias=True,
            **{**multipliers, "attention_multiplier": ABSENT},
        ),
        sequences=1,
        inert=[{"attention_multiplier": 1.0}],
    )


def bitnet():
    yield Case(
        "bitnet",
        config(
            "bitnet",
            "BitNetForCausalLM",
            hidden_act="relu2",
            attention_bias=False,
            num_attention_heads=3,
            num_key_value_heads=1,
            rope_theta=500009.0,
            **TIED,
        ),
        matters=[{"hidden_act": "silu"}, {"rope_theta": 10000.0}],
    )


def arcee():
    yarn = {
        "beta_fast": 32.0,
        "beta_slow": 1.0,
        "factor": 20.0,
        "mscale": 1.0,
        "original_max_position_embeddings": 16,
        "rope_type": "yarn",
        "type": "yarn",
    }
    yield Case(
        "arcee",
        config(
            "arcee",
            "ArceeForCausalLM",
            hidden_act="relu2",
            attention_bias=False,
            mlp_bias=False,
            head_dim=10,
            rope_scaling=yarn,
        ),
        matters=[{"rope_scaling": None}, {"hidden_act": "relu"}],
    )
    yield Case(
        "arcee-bias",
        config(
            "arcee",
            "ArceeForCausalLM",
            num_hidden_layers=1,
            hidden_act="relu2",
            attention_bias=True,
            mlp_bias=True,
            **TIED,
        ),
        sequences=1,
    )


FAMILIES = [smollm3, olmo, olmo3, granite, bitnet, arcee]
