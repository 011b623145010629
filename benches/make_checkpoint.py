"""Writes a large Llama-shaped checkpoint of random weights, to measure memory on.

Wide layers, few of them: the widths of a model of 8 billion parameters, 6.2 GB with 13 layers.
Weights are bfloat16, bell-shaped and seeded. They are cut, piece by piece at places that the seed
decides, from a pool of 4 million drawn once, so writing takes as long as the disk does and memory
stays small. The tokenizer is the demo's; its ids are below the vocabulary.

    make_checkpoint.py FOLDER [--layers 13] [--seed 1]

With EVALKIT_TINY the widths are small: to try a script, not to measure.
Needs Python alone, 3.9 or later.
"""

import argparse
import array
import json
import os
import pathlib
import random
import shutil
import struct

DEMO = pathlib.Path(__file__).resolve().parent.parent / "datasets" / "demo" / "model"
HIDDEN, INNER, HEADS, KV_HEADS, VOCABULARY = (
    (256, 512, 8, 2, 1024) if os.environ.get("EVALKIT_TINY") else (4096, 14336, 32, 8, 32000)
)
KEYS = HIDDEN // HEADS * KV_HEADS
DEVIATION = 0.02
POOL_WEIGHTS = 1 << 22
PIECE_WEIGHTS = 1 << 18


def config(layers):
    """config.json."""
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_size": HIDDEN,
        "intermediate_size": INNER,
        "num_hidden_layers": layers,
        "num_attention_heads": HEADS,
        "num_key_value_heads": KV_HEADS,
        "vocab_size": VOCABULARY,
        "max_position_embeddings": 8192,
        "rms_norm_eps": 1e-5,
        "rope_theta": 500000.0,
        "hidden_act": "silu",
        "tie_word_embeddings": False,
        "bos_token_id": 0,
        "torch_dtype": "bfloat16",
    }


def tensors(layers):
    """Names and shapes in the order of the file."""
    yield "model.embed_tokens.weight", [VOCABULARY, HIDDEN]
    for layer in range(layers):
        block = f"model.layers.{layer}."
        yield block + "input_layernorm.weight", [HIDDEN]
        yield block + "self_attn.q_proj.weight", [HIDDEN, HIDDEN]
        yield block + "self_attn.k_proj.weight", [KEYS, HIDDEN]
        yield block + "self_attn.v_proj.weight", [KEYS, HIDDEN]
        yield block + "self_attn.o_proj.weight", [HIDDEN, HIDDEN]
        yield block + "post_attention_layernorm.weight", [HIDDEN]
        yield block + "mlp.gate_proj.weight", [INNER, HIDDEN]
        yield block + "mlp.up_proj.weight", [INNER, HIDDEN]
        yield block + "mlp.down_proj.weight", [HIDDEN, INNER]
    yield "model.norm.weight", [HIDDEN]
    yield "lm_head.weight", [VOCABULARY, HIDDEN]


def weights_of(shape):
    """The number of weights in a tensor."""
    return shape[0] * (shape[1] if len(shape) > 1 else 1)


def header(layers):
    """The header of a safetensors file, padded to whole 8 bytes, with its length in front."""
    entries, start = {}, 0
    for name, shape in tensors(layers):
        end = start + 2 * weights_of(shape)
        entries[name] = {"dtype": "BF16", "shape": shape, "data_offsets": [start, end]}
        start = end
    text = json.dumps(entries).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text


def pool(seeded):
    """Bell-shaped bfloat16 weights: the upper halves of f32."""
    drawn = array.array("f", (seeded.gauss(0.0, DEVIATION) for _ in range(POOL_WEIGHTS))).tobytes()
    halves = bytearray(2 * POOL_WEIGHTS)
    halves[0::2], halves[1::2] = drawn[2::4], drawn[3::4]
    return memoryview(halves)


def write_weights(out, layers, seeded):
    """Every tensor's weights; norms are all one."""
    drawn = pool(seeded)
    for _, shape in tensors(layers):
        left = weights_of(shape)
        if len(shape) == 1:
            out.write(b"\x80\x3f" * left)
            continue
        while left > 0:
            count = min(left, PIECE_WEIGHTS)
            start = 2 * seeded.randrange(POOL_WEIGHTS - count)
            out.write(drawn[start : start + 2 * count])
            left -= count


def main():
    """Writes the folder."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--layers", type=int, default=13, help="(default %(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="(default %(default)s)")
    asked = parser.parse_args()
    asked.folder.mkdir(parents=True, exist_ok=True)
    (asked.folder / "config.json").write_text(json.dumps(config(asked.layers), indent=1) + "\n")
    for name in ["tokenizer.json", "tokenizer_config.json"]:
        shutil.copy(DEMO / name, asked.folder / name)
    with open(asked.folder / "model.safetensors", "wb") as out:
        out.write(header(asked.layers))
        write_weights(out, asked.layers, random.Random(asked.seed))


if __name__ == "__main__":
    main()
