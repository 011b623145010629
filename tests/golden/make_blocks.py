"""Writes ggml_blocks.json, the truth for decoding GGUF's block-quantized types.

    pip install gguf==0.19.0 numpy && python make_blocks.py [--blocks N] [--seed N] [FILE]

Random blocks of every type, and the hash of their weights as the gguf package (llama.cpp's own)
decodes them. The package cannot decode Q1_0 and Q2_0 and does not know the types of PrismML's fork:
these four are decoded here. Without FILE, the grids of the IQ types are written to the source as well.
"""

import argparse
import hashlib
import json
from pathlib import Path

import numpy as np
from gguf import GGML_QUANT_SIZES
from gguf import GGMLQuantizationType as T
from gguf import quants

HERE = Path(__file__).parent
BIN = HERE / "../../src/checkpoint/gguf/blocks/grids.bin"
KNOWN = """Q4_0 Q4_1 Q5_0 Q5_1 Q8_0 Q2_K Q3_K Q4_K Q5_K Q6_K IQ1_S IQ1_M IQ2_XXS IQ2_XS IQ2_S IQ3_XXS
IQ3_S IQ4_NL IQ4_XS TQ1_0 TQ2_0 MXFP4 NVFP4""".split()
GRIDS = "IQ2_XXS IQ2_XS IQ2_S IQ3_XXS IQ3_S IQ1_S".split()
# Bytes at which the f16 scales of a block are; the others may have any value.
HALVES = {"Q4_1": [0, 2], "Q5_1": [0, 2], "Q2_K": [80, 82], "Q3_K": [108], "Q4_K": [0, 2], "Q5_K": [0, 2],
          "Q6_K": [208], "TQ1_0": [52], "TQ2_0": [64], "PTQ1_0": [26], "IQ1_M": [], "MXFP4": [], "NVFP4": []}
# Number, weights and bytes of a block.
OTHERS = {"Q1_0": (41, 128, 18), "Q2_0": (42, 64, 18), "PQ2_0": (142, 128, 34), "PTQ1_0": (143, 128, 28)}


def half(block, at):
    return block[:, at : at + 2].copy().view(np.float16).astype(np.float32)


def q1_0(block):
    bits = np.unpackbits(block[:, 2:], axis=1, bitorder="little").astype(np.float32)
    return half(block, 0) * (2 * bits - 1)


def q2_0(block):
    codes = block[:, 2:, None] >> np.array([0, 2, 4, 6], np.uint8) & 3
    return half(block, 0) * (codes.reshape(len(block), -1).astype(np.float32) - 1)


def ptq1_0(block):
    parts = []
    for codes, digits in ((block[:, :16], 5), (block[:, 16:24], 5), (block[:, 24:26], 4)):
        for n in range(digits):
            code = codes.astype(np.uint32) * 3**n % 256
            parts.append((code * 3 >> 8).astype(np.float32) - 1)
    return half(block, 26) * np.concatenate(parts, axis=1)


OURS = {"Q1_0": q1_0, "Q2_0": q2_0, "PQ2_0": q2_0, "PTQ1_0": ptq1_0}


def random_blocks(random, name, count, size):
    blocks = random.integers(0, 256, (count, size), dtype=np.uint8)
    for at in HALVES.get(name, [0]):
        scales = (random.normal(0, 1, count) * 10.0 ** random.integers(-6, 4, count)).astype(np.float16)
        scales[0] = 0.0
        blocks[:, at : at + 2] = scales.view(np.uint8).reshape(count, 2)
    if name == "IQ1_M":
        # The highest nibbles of four words are the scale: nothing beyond the range of f16.
        blocks[:, 55] &= 0xBF
    if name == "MXFP4":
        blocks[:, 0] = np.minimum(blocks[:, 0], 250)
    return blocks


def sha256(values):
    return hashlib.sha256(np.ascontiguousarray(values).tobytes()).hexdigest()


def main():
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--blocks", type=int, default=4)
    arguments.add_argument("--seed", type=int, default=17)
    arguments.add_argument("file", nargs="?", type=Path)
    arguments = arguments.parse_args()
    random = np.random.default_rng(arguments.seed)
    types = {}
    for name in KNOWN + list(OURS):
        number, weights, size = OTHERS.get(name) or (T[name].value, *GGML_QUANT_SIZES[T[name]])
        blocks = random_blocks(random, name, arguments.blocks, size)
        decoded = OURS[name](blocks) if name in OURS else quants.dequantize(blocks, T[name])
        assert decoded.shape == (arguments.blocks, weights), name
        assert np.isfinite(decoded).all(), name
        stored, hashed = blocks.tobytes().hex(), sha256(decoded.astype("<f4"))
        types[name] = {"number": number, "weights": decoded.size, "stored": stored, "sha256": hashed}
    grids, packed = {}, b""
    for name in GRIDS:
        source = getattr(quants, name)
        source.init_grid()
        grids[name] = sha256(source.grid.astype(np.int8))
        packed += bytes.fromhex(source.grid_hex.decode())
    if arguments.file is None:
        BIN.write_bytes(packed)
    text = json.dumps({"types": types, "grids": grids}, indent=1)
    (arguments.file or HERE / "ggml_blocks.json").write_text(text + "\n")


main()
