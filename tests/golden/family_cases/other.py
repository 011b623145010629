"""Families that are not of llama's kin: layer norms, ungated MLPs, convolutions."""

from .model import ABSENT, EPS, Case, config

TIED = {"tie_word_embeddings": True}


def apertus():
    llama3 = {
        "factor": 8.0,
        "high_freq_factor": 4.0,
        "low_freq_factor": 1.0,
        "original_max_position_embeddings": 32,
        "rope_type": "llama3",
        "type": "llama3",
    }
    yield Case(
        "apertus",
        config(
            "apertus",
            "ApertusForCausalLM",
            attention_bias=False,
            hidden_act="xielu",
            hidden_dropout=0.0,
            mlp_bias=False,
            post_norm=False,
            qk_norm=True,
            rope_scaling=llama3,
            rope_theta=12000017.0,
        ),
        matters=[{"rope_scaling": {**llama3, "factor": 2.0}}],
        inert=[{"qk_norm": False}, {"post_norm": True}],
    )
    yield Case(
        "apertus-bias",
        config(
            "apertus",
            "ApertusForCausalLM",
            num_hidden_layers=1,
            attention_bias=True,
            hidden_act="xielu",
            **TIED,
        ),
        sequences=1,
        inert=[{"rope_theta": 100.0}],
    )


def starcoder2():
    base = {
        "embedding_dropout": 0.1,
        "hidden_act": "gelu_pytorch_tanh",
        "mlp_type": "default",
        "norm_epsilon": EPS,
        "norm_type": "layer_norm",
        "residual_dropout": 0.1,
        "rms_norm_eps": ABSENT,
        "num_key_value_heads": 1,
    }
    yield Case(
        "starcoder2",
        config(
            "starcoder2",
            "Starcoder2ForCausalLM",
            sliding_window=9,
            use_bias=True,
            tie_word_embeddings=ABSENT,
            **base,
        ),
        matters=[{"sliding_window": None}, {"hidden_act": "relu"}],
    )
    yield Case(
        "starcoder2-plain",
        config(
            "starcoder2",
            "Starcoder2ForCausalLM",
            num_hidden_layers=1,
            sliding_window=None,
            use_bias=False,
            **base,
        ),
        sequences=1,
    )


def stablelm():
    def keys(**keys):
        return config(
            "stablelm",
            "StableLmForCausalLM",
            **{
                "hidden_dropout": 0.0,
                "hidden_size": 32,
                "layer_norm_eps": EPS,
                "num_attention_heads": 2,
                "partial_rotary_factor": 0.25,
                "qk_layernorm": False,
                "rms_norm_eps": ABSENT,
                "use_parallel_residual": False,
                "use_qkv_bias": False,
                **keys,
            },
        )

    yield Case(
        "stablelm",
        keys(use_qkv_bias=True, **TIED),
        matters=[{"partial_rotary_factor": 0.5}, {"rope_theta": 100.0}],
        inert=[{"partial_rotary_factor": ABSENT}],
    )
    yield Case(
        "stablelm-parallel",
        keys(
            num_hidden_layers=1,
            use_parallel_residual=True,
            qk_layernorm=True,
            num_key_value_heads=1,
        ),
        sequences=1,
    )


def nemotron():
    base = {"hidden_act": "relu2", "norm_eps": EPS, "rms_norm_eps": ABSENT, "head_dim": 8}
    yield Case(
        "nemotron",
        config(
            "nemotron",
            "NemotronForCausalLM",
            attention_bias=False,
            mlp_bias=False,
            partial_rotary_factor=0.5,
            **base,
        ),
        matters=[{"partial_rotary_factor": 1.0}, {"hidden_act": "relu"}],
        inert=[{"partial_rotary_factor": ABSENT}],
    )
    yield Case(
        "nemotron-bias",
        config(
            "nemotron",
            "NemotronForCausalLM",
            num_hidden_layers=1,
            attention_bias=True,
            mlp_bias=True,
            partial_rotary_factor=0.75,
            **base,
            **TIED,
        ),
        sequences=1,
    )


GPT2_ABSENT = [
    "hidden_act",
    "hidden_size",
    "intermediate_size",
    "max_position_embeddings",
    "num_attention_heads",
    "num_hidden_layers",
    "num_key_value_heads",
    "rms_norm_eps",
    "rope_scaling",
    "rope_theta",
    "attention_dropout",
    "pad_token_id",
]


def gpt2():
    def keys(**keys):
        return config(
            "gpt2",
            "GPT2LMHeadModel",
            **{key: ABSENT for key in GPT2_ABSENT},
            **{
                "activation_function": "gelu_new",
                "attn_pdrop": 0.1,
                "embd_pdrop": 0.1,
                "layer_norm_epsilon": EPS,
                "n_ctx": 64,
                "n_embd": 24,
                "n_head": 3,
                "n_layer": 2,
                "n_positions": 64,
                "resid_pdrop": 0.1,
                "summary_type": "cls_index",
                "tie_word_embeddings": ABSENT,
                **keys,
            },
        )

    # As openai-community/gpt2: no prefix, no n_inner.
    yield Case(
        "gpt2",
        keys(),
        rename=lambda name: name.removeprefix("transformer."),
        matters=[{"activation_function": "relu"}],
        inert=[{"n_ctx": 3}, {"n_inner": 96}],
    )
    yield Case(
        "gpt2-scale",
        keys(
            n_inner=28,
            scale_attn_by_inverse_layer_idx=True,
            scale_attn_weights=False,
            reorder_and_upcast_attn=True,
            tie_word_embeddings=False,
            torch_dtype="float16",
        ),
        sequences=1,
        matters=[{"scale_attn_by_inverse_layer_idx": False}, {"scale_attn_weights": True}],
    )


def gpt_neox():
    def keys(**keys):
        return config(
            "gpt_neox",
            "GPTNeoXForCausalLM",
            **{
                "attention_bias": True,
                "classifier_dropout": 0.1,
                "hidden_act": "gelu",
                "hidden_dropout": 0.0,
                "hidden_size": 32,
                "layer_norm_eps": EPS,
                "num_key_value_heads": ABSENT,
                "rms_norm_eps": ABSENT,
                "rope_theta": ABSENT,
                "rotary_emb_base": 10007,
                "rotary_pct": 0.5,
                "torch_dtype": "float16",
                "use_parallel_residual": True,
                **keys,
            },
        )

    yield Case(
        "gpt_neox",
        keys(),
        matters=[
            {"rotary_pct": 0.25},
            {"rotary_emb_base": 100},
            {"use_parallel_residual": False},
            {"hidden_act": "relu"},
        ],
        inert=[{"rope_theta": 100.0}],
    )
    yield Case(
        "gpt_neox-sequential",
        keys(
            num_hidden_layers=1,
            attention_bias=False,
            rotary_pct=1.0,
            use_parallel_residual=False,
            **TIED,
        ),
        sequences=1,
    )


def lfm2():
    def keys(**keys):
        return config(
            "lfm2",
            "Lfm2ForCausalLM",
            **{
                "block_auto_adjust_ff_dim": True,
                "block_dim": 24,
                "block_ff_dim": 45,
                "block_ffn_dim_multiplier": 1.1,
                "block_multiple_of": 4,
                "block_norm_eps": 1e-5,
                "block_use_swiglu": True,
                "conv_L_cache": 3,
                "conv_bias": False,
                "conv_dim": 24,
                "hidden_act": ABSENT,
                "intermediate_size": ABSENT,
                "norm_eps": EPS,
                "num_heads": 4,
                "num_hidden_layers": 3,
                "rms_norm_eps": ABSENT,
                "rope_theta": 1000003.0,
                "tie_word_embeddings": ABSENT,
                **keys,
            },
        )

    yield Case(
        "lfm2",
        keys(full_attn_idxs=[1], tie_embedding=True),
        matters=[{"rope_theta": 100.0}],
        inert=[{"layer_types": ["conv", "full_attention", "conv"], "full_attn_idxs": ABSENT}],
    )
    yield Case(
        "lfm2-bias",
        keys(
            block_auto_adjust_ff_dim=False,
            block_ff_dim=ABSENT,
            rope_theta=ABSENT,
            conv_L_cache=4,
            conv_bias=True,
            intermediate_size=28,
            layer_types=["full_attention", "conv"],
            num_hidden_layers=2,
            tie_word_embeddings=False,
        ),
        inert=[{"rope_theta": 1e6}],
        sequences=1,
    )


FAMILIES = [apertus, starcoder2, stablelm, nemotron, gpt2, gpt_neox, lfm2]
