"""Writes a checkpoint of random weights with the layer shapes of gpt-oss-20b, to measure on.

Everything but the number of layers is the real model's: 32 experts per layer in MXFP4, 64 query
and 8 key heads with sinks, biases everywhere, YaRN, sliding and full layers in turn, embedding and
head of 201,088 rows. 1.4 GB for three layers and 2.3 GB for embedding and head, in two shards whose
border runs through a layer, as it does in the real files.

Weights are bell-shaped and seeded. They are cut, piece by piece at places that the seed decides,
from pools drawn once, so writing takes as long as the disk does and memory stays small. The
tokenizer has a token per byte; its ids are spread over the vocabulary.

    make_gpt_oss.py FOLDER [--layers 3] [--seed 1]

With EVALKIT_TINY the widths are small: to try a script, not to measure.
Needs Python alone, 3.9 or later.
"""

import argparse
import array
import json
import os
import pathlib
import random
import struct

HIDDEN, INNER, EXPERTS, HEADS, KV_HEADS, HEAD_DIM = (
    (64, 64, 8, 4, 2, 16) if os.environ.get("EVALKIT_TINY") else (2880, 2880, 32, 64, 8, 64)
)
VOCABULARY = 201088
QUERIES, KEYS = HEADS * HEAD_DIM, KV_HEADS * HEAD_DIM
BLOCK, BLOCK_BYTES = 32, 16
DEVIATION = 0.02
POOL_WEIGHTS = 1 << 22
PIECE_BYTES = 1 << 19
E2M1 = [0, 0.5, 1, 1.5, 2, 3, 4, 6]
E2M1_DEVIATION = 2.5
"""Of the elements of a block, in units of its scale: its largest is then about 6."""
SCALES = [119, 120, 121]
"""E8M0, 2^-8 to 2^-6: outputs of an expert's products are then of the order of 1."""
SCALE_CHANCES = [1, 4, 1]
ITEM_BYTES = {"BF16": 2, "U8": 1}


def config(layers):
    """config.json."""
    kinds = ["sliding_attention", "full_attention"]
    return {
        "architectures": ["GptOssForCausalLM"],
        "model_type": "gpt_oss",
        "attention_bias": True,
        "eos_token_id": 200002,
        "pad_token_id": 199999,
        "experts_per_token": 4,
        "num_experts_per_tok": 4,
        "num_local_experts": EXPERTS,
        "head_dim": HEAD_DIM,
        "hidden_act": "silu",
        "hidden_size": HIDDEN,
        "initial_context_length": 4096,
        "intermediate_size": INNER,
        "layer_types": [kinds[layer % 2] for layer in range(layers)],
        "max_position_embeddings": 131072,
        "num_attention_heads": HEADS,
        "num_hidden_layers": layers,
        "num_key_value_heads": KV_HEADS,
        "quantization_config": {
            "modules_to_not_convert": [
                "model.layers.*.self_attn",
                "model.layers.*.mlp.router",
                "model.embed_tokens",
                "lm_head",
            ],
            "quant_method": "mxfp4",
        },
        "rms_norm_eps": 1e-5,
        "rope_scaling": {
            "beta_fast": 32.0,
            "beta_slow": 1.0,
            "factor": 32.0,
            "original_max_position_embeddings": 4096,
            "rope_type": "yarn",
            "truncate": False,
        },
        "rope_theta": 150000,
        "sliding_window": 128,
        "swiglu_limit": 7.0,
        "tie_word_embeddings": False,
        "vocab_size": VOCABULARY,
    }


def tokenizer():
    """tokenizer.json: byte-level, without merges; the letters are GPT-2's stand-ins for bytes."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in plain]
    letters = {byte: chr(byte) for byte in plain}
    letters |= {byte: chr(256 + index) for index, byte in enumerate(others)}
    step = VOCABULARY // 256
    level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    return {
        "version": "1.0",
        "added_tokens": [],
        "normalizer": None,
        "pre_tokenizer": level,
        "post_processor": None,
        "decoder": level,
        "model": {
            "type": "BPE",
            "vocab": {letters[byte]: byte * step for byte in range(256)},
            "merges": [],
        },
    }


def attention(layer):
    """Names, types and shapes of a layer outside its experts."""
    block = f"model.layers.{layer}."
    yield block + "input_layernorm.weight", "BF16", [HIDDEN]
    yield block + "post_attention_layernorm.weight", "BF16", [HIDDEN]
    for name, out, inputs in [("q", QUERIES, HIDDEN), ("k", KEYS, HIDDEN), ("v", KEYS, HIDDEN),
                              ("o", HIDDEN, QUERIES)]:
        yield f"{block}self_attn.{name}_proj.weight", "BF16", [out, inputs]
        yield f"{block}self_attn.{name}_proj.bias", "BF16", [out]
    yield block + "self_attn.sinks", "BF16", [HEADS]
    yield block + "mlp.router.weight", "BF16", [EXPERTS, HIDDEN]
    yield block + "mlp.router.bias", "BF16", [EXPERTS]


def experts(layer):
    """Names, types and shapes of a layer's experts."""
    for name, out, inputs in [("gate_up_proj", 2 * INNER, HIDDEN), ("down_proj", HIDDEN, INNER)]:
        stem = f"model.layers.{layer}.mlp.experts.{name}"
        blocks = inputs // BLOCK
        yield stem + "_blocks", "U8", [EXPERTS, out, blocks, BLOCK_BYTES]
        yield stem + "_scales", "U8", [EXPERTS, out, blocks]
        yield stem + "_bias", "BF16", [EXPERTS, out]


def shards(layers):
    """The tensors of the two files; the last layer's attention lies in the first."""
    first, second = [("model.embed_tokens.weight", "BF16", [VOCABULARY, HIDDEN])], []
    for layer in range(layers):
        first.extend(attention(layer))
        (second if layer == layers - 1 else first).extend(experts(layer))
    second.append(("model.norm.weight", "BF16", [HIDDEN]))
    second.append(("lm_head.weight", "BF16", [VOCABULARY, HIDDEN]))
    return [first, second]


def size_of(dtype, shape):
    """Bytes of a tensor."""
    size = ITEM_BYTES[dtype]
    for length in shape:
        size *= length
    return size


def header(tensors):
    """The header of a safetensors file, padded to whole 8 bytes, with its length in front."""
    entries, start = {}, 0
    for name, dtype, shape in tensors:
        end = start + size_of(dtype, shape)
        entries[name] = {"dtype": dtype, "shape": shape, "data_offsets": [start, end]}
        start = end
    text = json.dumps(entries).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text


def bell_pool(seeded):
    """Bell-shaped bfloat16 weights: the upper halves of f32."""
    drawn = array.array("f", (seeded.gauss(0.0, DEVIATION) for _ in range(POOL_WEIGHTS))).tobytes()
    halves = bytearray(2 * POOL_WEIGHTS)
    halves[0::2], halves[1::2] = drawn[2::4], drawn[3::4]
    return memoryview(halves)


def block_pool(seeded):
    """Bytes of two E2M1 codes each, bell-shaped."""
    def code(value):
        size = min(range(8), key=lambda index: abs(E2M1[index] - abs(value)))
        return size | (8 if value < 0 else 0)

    codes = [code(seeded.gauss(0.0, E2M1_DEVIATION)) for _ in range(1 << 16)]
    low, high = seeded.choices(codes, k=POOL_WEIGHTS), seeded.choices(codes, k=POOL_WEIGHTS)
    return memoryview(bytes(a | b << 4 for a, b in zip(low, high)))


def scale_pool(seeded):
    """E8M0 scales."""
    return memoryview(bytes(seeded.choices(SCALES, SCALE_CHANCES, k=POOL_WEIGHTS)))


def write_tensor(out, name, size, pools, seeded):
    """One tensor's bytes; norms are all one."""
    if name.endswith("norm.weight"):
        out.write(b"\x80\x3f" * (size // 2))
        return
    kind = name.rsplit("_", 1)[-1]
    pool = pools.get(kind, pools["bell"])
    while size > 0:
        count = min(size, PIECE_BYTES)
        start = 2 * seeded.randrange((len(pool) - count) // 2)
        out.write(pool[start : start + count])
        size -= count


def main():
    """Writes the folder."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--layers", type=int, default=3, help="(default %(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="(default %(default)s)")
    asked = parser.parse_args()
    seeded = random.Random(asked.seed)
    asked.folder.mkdir(parents=True, exist_ok=True)
    (asked.folder / "config.json").write_text(json.dumps(config(asked.layers), indent=1) + "\n")
    (asked.folder / "tokenizer.json").write_text(json.dumps(tokenizer()) + "\n")
    pools = {
        "bell": bell_pool(seeded),
        "blocks": block_pool(seeded),
        "scales": scale_pool(seeded),
    }
    places, total = {}, 0
    for number, tensors in enumerate(shards(asked.layers), 1):
        file = f"model-{number:05}-of-00002.safetensors"
        with open(asked.folder / file, "wb") as out:
            out.write(header(tensors))
            for name, dtype, shape in tensors:
                size = size_of(dtype, shape)
                write_tensor(out, name, size, pools, seeded)
                places[name] = file
                total += size
    index = {"metadata": {"total_size": total}, "weight_map": places}
    (asked.folder / "model.safetensors.index.json").write_text(json.dumps(index, indent=1) + "\n")


if __name__ == "__main__":
    main()
