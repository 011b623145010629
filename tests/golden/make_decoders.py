"""Writes what an independent interpreter computes with stateful decoders, for packages.rs.

    python make_decoders.py EXAMPLES TOOLS decoders

EXAMPLES holds tiny_llama_*.mlpackage with a context of 64, TOOLS run_mlpackage.py, an interpreter
in numpy. NAME.safetensors has the logits of f32 arithmetic, NAME.half.safetensors those with every
fp16 value rounded. Prefill and decode share states; the last logits stand for all before them.
"""

import sys
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

EXAMPLES, TOOLS, OUT = sys.argv[1:]
sys.path.insert(0, TOOLS)
from run_mlpackage import Model

CONTEXT = 64


def inputs(ids, start):
    positions = np.arange(start, start + len(ids), dtype=np.int32)
    seen = np.arange(CONTEXT)[None] <= positions[:, None]
    mask = np.where(seen, 0, -np.inf).astype(np.float16)[None, None]
    return {"input_ids": ids[None].astype(np.int32), "position_ids": positions,
            "write_pos": np.array([start], np.int32), "causal_mask": mask}


def steps(model, is_split):
    """The calls of a run: function, tokens."""
    return [("prefill", 16)] + [("decode", 1)] * 8 if is_split else [("main", 1)] * 24


for name in ["tiny_llama_lut2", "tiny_llama_int4", "tiny_llama_ane_lut2_mf"]:
    for suffix in ["", ".half"]:
        model = Model(f"{EXAMPLES}/{name}.mlpackage", fp16=bool(suffix))
        random = np.random.default_rng(5)
        plan = steps(model, name.endswith("_mf"))
        state = model.make_state(plan[0][0])
        tensors, start = {}, 0
        for step, (function, count) in enumerate(plan):
            given = inputs(random.integers(0, 256, count), start)
            start += count
            made = model.run(given, function=function, state=state)
            tensors |= {f"{step:03}/{function}/in/{key}": value for key, value in given.items()}
            if step % 8 == 0 or step + 1 == len(plan):
                tensors |= {f"{step:03}/{function}/out/{key}": value for key, value in made.items()}
        save_file({key: np.array(value, order="C") for key, value in tensors.items()},
                  f"{OUT}/{name}{suffix}.safetensors")
