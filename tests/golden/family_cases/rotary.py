"""Families whose rope differs from that of llama: interleaved, partial, or on some layers only."""

from .model import ABSENT, EPS, Case, config

BIAS = {"attention_bias": True}

TIED = {"tie_word_embeddings": True}


def cohere_keys(model_type, architecture, **keys):
    return config(
        model_type,
        architecture,
        **{
            "attention_bias": False,
            "layer_norm_eps": EPS,
            "logit_scale": 0.4,
            "rms_norm_eps": ABSENT,
            "tie_word_embeddings": ABSENT,
            **keys,
        },
    )


def cohere():
    yield Case(
        "cohere",
        cohere_keys("cohere", "CohereForCausalLM", use_qk_norm=False),
        matters=[{"logit_scale": 1.0}, {"rope_theta": 100.0}],
    )
    yield Case(
        "cohere-qk",
        cohere_keys(
            "cohere",
            "CohereForCausalLM",
            rope_theta=ABSENT,
            num_hidden_layers=1,
            use_qk_norm=True,
            attention_bias=True,
            tie_word_embeddings=False,
            logit_scale=0.8,
        ),
        sequences=1,
        inert=[{"rope_theta": 5e5}],
    )
    yield Case(
        "cohere2",
        cohere_keys(
            "cohere2",
            "Cohere2ForCausalLM",
            sliding_window=9,
            sliding_window_pattern=3,
            head_dim=10,
            cache_implementation="hybrid",
            num_hidden_layers=3,
            rotary_pct=1.0,
            order_of_interleaved_layers="local_attn_first",
            position_embedding_type="rope_gptj",
            use_embedding_sharing=True,
            use_gated_activation=True,
            use_parallel_block=True,
            use_parallel_embedding=False,
            use_qk_norm=False,
        ),
        matters=[{"sliding_window": 10}, {"sliding_window_pattern": 2}, {"rope_theta": 100.0}],
        inert=[{"rotary_pct": 0.5}],
    )
    yield Case(
        "cohere2-bias",
        cohere_keys(
            "cohere2",
            "Cohere2ForCausalLM",
            sliding_window=9,
            attention_bias=True,
            rope_theta=ABSENT,
            layer_types=["full_attention", "sliding_attention"],
            tie_word_embeddings=False,
        ),
        inert=[{"rope_theta": 1e4}],
        sequences=1,
        matters=[{"layer_types": ABSENT}],
    )


def glm():
    for name, architecture in (("glm", "GlmForCausalLM"), ("glm4", "Glm4ForCausalLM")):
        yield Case(
            name,
            config(
                name,
                architecture,
                head_dim=12,
                attention_bias=True,
                partial_rotary_factor=0.5,
                rms_norm_eps=EPS,
            ),
            matters=[{"partial_rotary_factor": 1.0}, {"rope_theta": 100.0}],
            inert=[{"partial_rotary_factor": ABSENT}],
        )
        yield Case(
            f"{name}-plain",
            config(
                name,
                architecture,
                head_dim=8,
                attention_bias=False,
                partial_rotary_factor=1.0,
                num_hidden_layers=1,
                **TIED,
            ),
            sequences=1,
        )


def ernie4_5():
    yield Case(
        "ernie4_5",
        config(
            "ernie4_5",
            "Ernie4_5ForCausalLM",
            head_dim=10,
            use_bias=False,
            rope_theta=500009.0,
            tie_word_embeddings=ABSENT,
        ),
        matters=[{"rope_theta": 10000.0}],
    )
    yield Case(
        "ernie4_5-bias",
        config(
            "ernie4_5",
            "Ernie4_5ForCausalLM",
            rope_theta=ABSENT,
            num_hidden_layers=1,
            head_dim=None,
            use_bias=True,
        ),
        inert=[{"rope_theta": 5e5}],
        sequences=1,
    )


def exaone4():
    types = ["sliding_attention", "sliding_attention", "full_attention"]
    llama3 = {
        "factor": 16.0,
        "high_freq_factor": 4.0,
        "low_freq_factor": 1.0,
        "original_max_position_embeddings": 32,
        "rope_type": "llama3",
    }
    # Full layers of a hybrid have no rope.
    yield Case(
        "exaone4",
        config(
            "exaone4",
            "Exaone4ForCausalLM",
            head_dim=10,
            num_hidden_layers=3,
            layer_types=types,
            sliding_window=9,
            sliding_window_pattern="LLG",
            rope_scaling=llama3,
        ),
        matters=[{"sliding_window": 10}, {"layer_types": types[::-1]}, {"rope_scaling": None}],
        inert=[{"layer_types": ABSENT, "sliding_window_pattern": 3}],
    )
    yield Case(
        "exaone4-full",
        config(
            "exaone4",
            "Exaone4ForCausalLM",
            layer_types=["full_attention"] * 2,
            sliding_window=None,
            sliding_window_pattern=None,
            **TIED,
        ),
        sequences=1,
        matters=[{"sliding_window": 64}],
    )


def helium():
    yield Case(
        "helium",
        config(
            "helium",
            "HeliumForCausalLM",
            head_dim=6,
            attention_bias=False,
            mlp_bias=False,
            rms_norm_eps=EPS,
            rope_theta=100003.0,
        ),
        matters=[{"rope_theta": 100.0}],
    )
    yield Case(
        "helium-bias",
        config(
            "helium",
            "HeliumForCausalLM",
            rope_theta=ABSENT,
            num_hidden_layers=1,
            head_dim=6,
            attention_bias=True,
            mlp_bias=True,
            **TIED,
        ),
        inert=[{"rope_theta": 1e5}],
        sequences=1,
    )


def hunyuan():
    dynamic = {
        "alpha": 50.0,
        "beta_fast": 32,
        "beta_slow": 1,
        "factor": 1.0,
        "mscale": 1.0,
        "mscale_all_dim": 0.0,
        "type": "dynamic",
    }
    yield Case(
        "hunyuan_v1_dense",
        config(
            "hunyuan_v1_dense",
            "HunYuanDenseV1ForCausalLM",
            attention_bias=False,
            head_dim=10,
            rope_scaling=dynamic,
            use_qk_norm=True,
            use_cla=False,
            **TIED,
        ),
        matters=[{"rope_scaling": None}, {"rope_scaling": {**dynamic, "alpha": 2.0}}],
        inert=[{"rope_scaling": {**dynamic, "factor": 4.0}}, {"use_qk_norm": False}],
    )
    yield Case(
        "hunyuan_v1_dense-bias",
        config(
            "hunyuan_v1_dense", "HunYuanDenseV1ForCausalLM", num_hidden_layers=1, head_dim=8, **BIAS
        ),
        sequences=1,
    )


def seed_oss():
    yield Case(
        "seed_oss",
        config(
            "seed_oss",
            "SeedOssForCausalLM",
            attention_bias=True,
            attention_out_bias=False,
            head_dim=10,
            mlp_bias=False,
            residual_dropout=0.1,
            rope_scaling={"rope_type": "default"},
            rope_theta=10000019.0,
            pretraining_tp=1,
        ),
        matters=[{"rope_theta": 10000.0}],
    )
    yield Case(
        "seed_oss-bias",
        config(
            "seed_oss",
            "SeedOssForCausalLM",
            num_hidden_layers=1,
            attention_bias=False,
            attention_out_bias=True,
            head_dim=None,
            mlp_bias=True,
            **TIED,
        ),
        sequences=1,
    )


FAMILIES = [cohere, glm, ernie4_5, exaone4, helium, hunyuan, seed_oss]
