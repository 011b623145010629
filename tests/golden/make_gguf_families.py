"""Writes small models as llama.cpp's own converter writes them, for the rows of GGUF architectures.

    pip install torch transformers==5.24.0 safetensors numpy
    python make_gguf_families.py --llama-cpp DIR --out gguf_families

DIR is a checkout of llama.cpp (the committed files are those of the one in llama-cpp-python 0.3.36).
Matrices are bf16, as in the models; there is no vocabulary. OUT/<name>.gguf of a model in families/ has
the logits of that model's golden.safetensors. The converter does not write everything that a
configuration says (the base of Gemma's rotation, windows of Qwen), so the other models are made here
with what it takes for granted, and OUT/<name>.safetensors holds what transformers computes with them.
"""

import argparse
import json
import logging
import shutil
import sys
import tempfile
from copy import deepcopy
from dataclasses import replace
from pathlib import Path

from family_cases import cases, model
from family_cases.model import ABSENT, Case, config, make
from family_cases.wrapped import wrapper
from make_mixtures import quantize_experts, write_mxfp4
from safetensors.torch import load_file, save_file
from transformers import AutoModelForImageTextToText
from transformers.utils import logging as transformers_logging

HERE = Path(__file__).parent
# Small files: more tokens than the windows have, and few different ones.
model.TOKENS, model.SMALL_VOCABULARY = 24, 32

# As they are in families/.
SAME = [
    "mistral3", "phi3-longrope-long", "phi3-longrope-short", "olmo2-bias", "glm4_moe",
    "glm4_moe-groups", "ernie4_5-bias", "seed_oss-bias", "hunyuan_v1_dense-bias",
]  # fmt: skip

ONE_LAYER = {"num_hidden_layers": 1}
PLAIN_ROPE = {"rope_theta": 10000.0, "rope_scaling": None}
# Models of families/ with other keys.
CHANGED = {
    "llama-one": ("llama", ONE_LAYER),
    "cohere-one": ("cohere", ONE_LAYER),
    "apertus-one": ("apertus", ONE_LAYER),
    "exaone4-one": ("exaone4-full", {**ONE_LAYER, "layer_types": ["full_attention"]}),
    "lfm2-two": ("lfm2", {"num_hidden_layers": 2, "layer_types": ["conv", "full_attention"]}),
    "olmo3-two": (
        "olmo3",
        {"num_hidden_layers": 2, "layer_types": ["sliding_attention", "full_attention"]},
    ),
    "mistral-one": ("mistral", ONE_LAYER),
    "mixtral-one": ("mixtral", ONE_LAYER),
    "phi3-one": ("phi3", ONE_LAYER),
    "arcee-one": ("arcee", ONE_LAYER),
    "granite-scaled": ("granite-bias", {"attention_multiplier": 0.25}),
    # The converter leaves the biases of OLMo, which its models do not have, in their order.
    "olmo-clipped": ("olmo-clip", {"attention_bias": False}),
    "granitemoe-one": ("granitemoe", ONE_LAYER),
    "qwen2_moe-one": ("qwen2_moe", ONE_LAYER),
    "glm-base": (
        "glm",
        {
            **PLAIN_ROPE,
            **ONE_LAYER,
            "rms_norm_eps": 1e-5,
            "num_attention_heads": 3,
            "num_key_value_heads": 1,
            "head_dim": 8,
        },
    ),
    "glm4-one": ("glm4", ONE_LAYER),
    "exaone4-two": (
        "exaone4",
        {"num_hidden_layers": 2, "layer_types": ["sliding_attention", "full_attention"]},
    ),
    "qwen3-one": ("qwen3", ONE_LAYER),
    "qwen2-full": ("qwen2", {"use_sliding_window": False, **ONE_LAYER}),
    "qwen3_moe-sparse": ("qwen3_moe", {"mlp_only_layers": [], **ONE_LAYER}),
    "gemma-base": ("gemma", {**PLAIN_ROPE, **ONE_LAYER}),
    "gemma2-base": (
        "gemma2",
        {**PLAIN_ROPE, "query_pre_attn_scalar": 10, "num_hidden_layers": 2},
    ),
    "gemma3_text-six": (
        "gemma3_text",
        {
            "num_hidden_layers": 6,
            "sliding_window_pattern": 6,
            "rope_local_base_freq": 10000.0,
            "query_pre_attn_scalar": 10,
            "intermediate_size": 8,
        },
    ),
    "gemma3_text-untied": (
        "gemma3_text-softcap",
        {
            "layer_types": ABSENT,
            "sliding_window_pattern": 6,
            "num_hidden_layers": 1,
            "attention_bias": False,
            "attn_logit_softcapping": None,
            "query_pre_attn_scalar": 10,
        },
    ),
    "smollm3-four": (
        "smollm3",
        {
            "num_hidden_layers": 4,
            "no_rope_layer_interval": 4,
            "no_rope_layers": ABSENT,
            "layer_types": ABSENT,
        },
    ),
    "cohere2-four": (
        "cohere2",
        {"num_hidden_layers": 4, "sliding_window_pattern": 4, "head_dim": ABSENT},
    ),
    "starcoder2-bias": ("starcoder2", {"sliding_window": None, **ONE_LAYER}),
    "stablelm-base": ("stablelm", {**PLAIN_ROPE, **ONE_LAYER}),
    "nemotron-base": (
        "nemotron",
        {"num_attention_heads": 3, "num_key_value_heads": 1, **ONE_LAYER},
    ),
    "phi-base": ("phi", {**PLAIN_ROPE, "intermediate_size": 96, **ONE_LAYER}),
    "gpt_neox-base": (
        "gpt_neox",
        {"rotary_emb_base": 10000, "rope_theta": ABSENT, "rotary_pct": 0.25, **ONE_LAYER},
    ),
    "gpt2-one": ("gpt2", {"n_layer": 1}),
    "olmoe-eps": ("olmoe", {"rms_norm_eps": 1e-5, **ONE_LAYER}),
    "dots1-full": ("dots1", {"sliding_window": None, "scoring_func": "sigmoid"}),
    "ernie4_5_moe-all": ("ernie4_5_moe", {"moe_layer_end_index": -1, "num_hidden_layers": 2}),
}
# Standard deviations of embeddings where a small epsilon must show.
EMBEDDINGS = {"olmoe-eps": 0.01, "glm-base": 0.01}


def gpt_oss():
    yarn = {
        "beta_fast": 32.0,
        "beta_slow": 1.0,
        "factor": 32.0,
        "original_max_position_embeddings": 64,
        "rope_type": "yarn",
        "truncate": False,
    }
    keys = config(
        "gpt_oss",
        "GptOssForCausalLM",
        attention_bias=True,
        head_dim=16,
        hidden_size=16,
        intermediate_size=16,
        layer_types=["sliding_attention", "full_attention"],
        num_experts_per_tok=2,
        num_local_experts=4,
        rope_scaling=yarn,
        rope_theta=150000.0,
        sliding_window=9,
        swiglu_limit=7.0,
    )
    return Case("gpt_oss", keys, sequences=1, matters=[{"rope_scaling": {**yarn, "truncate": True}}])


def qwen_vl(model_type, architecture, **more):
    """Text models whose rotation has a part for each axis of an image; in a text all are the same."""
    mrope = {"mrope_section": [2, 1, 1], "type": "default", "rope_type": "default"}
    text = config(model_type + "_text", "", rope_scaling=mrope, head_dim=8, **more, **ONE_LAYER)
    vision = {
        "depth": 1,
        "hidden_size": 8,
        "intermediate_size": 8,
        "num_heads": 2,
        "out_hidden_size": 24,
        "patch_size": 4,
        "spatial_merge_size": 1,
        "temporal_patch_size": 1,
        "deepstack_visual_indexes": [0],
        "fullatt_block_indexes": [0],
        "num_position_embeddings": 4,
    }
    keys = wrapper(model_type, architecture, text, vision_config=vision, tie_word_embeddings=False)
    name = model_type.replace("_", "")
    return Case(name, keys, sequences=1, automodel=AutoModelForImageTextToText)


def vision_cases():
    heads = {"num_attention_heads": 3, "num_key_value_heads": 1}
    yield qwen_vl("qwen2_5_vl", "Qwen2_5_VLForConditionalGeneration", **heads)
    yield qwen_vl("qwen3_vl", "Qwen3VLForConditionalGeneration")


def make_mxfp4(folder):
    """gpt-oss with experts in MXFP4, as its files are, which holds 32 weights in a block."""
    keys = {
        **gpt_oss().config,
        **ONE_LAYER,
        "hidden_size": 32,
        "intermediate_size": 32,
        "layer_types": ["sliding_attention"],
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
    }
    line = make(folder, Case(folder.name, keys, sequences=1))
    made = model.load(folder, Case(folder.name, keys))
    packed = quantize_experts(made)
    path = folder / "golden.safetensors"
    save_file(model.golden(made, load_file(path)["input_ids"]), path)
    write_mxfp4(folder, packed)
    return line


def own_cases():
    known = {case.name: case for case in cases()}
    for name, (base, change) in CHANGED.items():
        case = known[base]
        keys = {**deepcopy(case.config), **change}
        keys = {key: value for key, value in keys.items() if value is not ABSENT}
        embedding = EMBEDDINGS.get(name, case.embedding)
        yield replace(
            case, name=name, config=keys, sequences=1, embedding=embedding, matters=[], inert=[]
        )
    yield gpt_oss()
    yield from vision_cases()


def without_vocabulary(model_class):
    """Lets a class of the converter and those below it write no vocabulary."""
    model_class.set_vocab = lambda made: made.gguf_writer.add_tokenizer_model("none")
    for below in model_class.__subclasses__():
        without_vocabulary(below)


def convert(source, target):
    import gguf
    from conversion import get_model_class
    from conversion.base import ModelBase, ModelType, TextModel, get_model_architecture

    with tempfile.TemporaryDirectory() as other:
        folder = Path(other) / "model"
        shutil.copytree(source, folder)
        keys = json.loads((source / "config.json").read_text())
        # Gemma 3's embedding is cut to the length of its vocabulary.
        count = keys.get("text_config", keys)["vocab_size"]
        tokens = {"vocab": {str(token): token for token in range(count)}}
        (folder / "tokenizer.json").write_text(json.dumps({"model": tokens, "added_tokens": []}))
        # transformers renames some keys that the converter reads.
        hparams = {**keys, **ModelBase.load_hparams(folder, False)}
        architecture = get_model_architecture(hparams, ModelType.TEXT)
        model_class = get_model_class(architecture, mmproj=False)
        without_vocabulary(TextModel)
        kind = gguf.LlamaFileType.GUESSED
        model_class(folder, kind, target, eager=True, hparams=hparams).write()
    return target.stat().st_size


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--llama-cpp", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--only", nargs="+", help="names of models")
    arguments = parser.parse_args()
    sys.path[:0] = [str(arguments.llama_cpp), str(arguments.llama_cpp / "gguf-py")]
    logging.disable(logging.WARNING)
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    arguments.out.mkdir(exist_ok=True)
    is_wanted = lambda name: not arguments.only or name in arguments.only  # noqa: E731
    total = 0
    for name in filter(is_wanted, SAME):
        total += convert(HERE / "families" / name, arguments.out / f"{name}.gguf")
    makers = {case.name: lambda folder, case=case: make(folder, case) for case in own_cases()}
    for name, made in [*makers.items(), ("gpt_oss-mxfp4", make_mxfp4)]:
        if not is_wanted(name):
            continue
        with tempfile.TemporaryDirectory() as folder:
            source = Path(folder) / name
            print(made(source), flush=True)
            total += convert(source, arguments.out / f"{name}.gguf")
            golden = arguments.out / f"{name}.safetensors"
            shutil.copy(source / "golden.safetensors", golden)
            golden.chmod(0o644)
            total += golden.stat().st_size
    print(f"{total} bytes")


if __name__ == "__main__":
    main()
