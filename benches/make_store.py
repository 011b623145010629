#!/usr/bin/env python3
"""Writes a run of about 100,000 records, as a sweep of many variants over a long text leaves it.

    make_store.py FOLDER VARIANTS TOKENS     TOKENS with a KL divergence in each window
"""

import json
import math
import pathlib
import random
import sys

RECORDS = 100_000


def main():
    folder, variants, tokens = pathlib.Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    windows = RECORDS // variants - 2
    folder.mkdir(parents=True)
    chance = random.Random(1)
    with open(folder / "records.jsonl", "w") as out:

        def write(kind, **fields):
            print(json.dumps({"schema": 2, "kind": kind, **fields}, separators=(",", ":")), file=out)

        write("run", model="made", architecture="llama", model_hash="aa" * 32,
              tokenizer_hash="bb" * 32, text_name="made", text_hash="cc" * 32,
              text_bytes=4 * tokens * windows, protocol="full", bos="none",
              window_tokens=tokens + 1, stride_tokens=tokens + 1, windows=windows,
              scored_tokens=tokens * windows, seed=0, numeric_version=1, evalkit_version="0.1.0",
              layers=30, parameters=135_000_000, vocabulary=49_152)
        write("environment", binary_hash="dd" * 32, os="linux", cpu_model="some processor",
              cpu_features=["avx2"], device="cpu")
        hardness = [chance.gauss(0, 0.3) for _ in range(windows)]
        for variant in range(variants):
            cell_id, damage = f"{variant:064x}", variant / variants
            write("cell", cell_id=cell_id, variant="fp" if variant == 0 else f"recipe-{variant}",
                  is_reference=variant == 0,
                  parts=[{"part": "blocks", "recipe": "any", "weights": 106_000_000,
                          "size_bytes": int(212e6 * (1 - 0.9 * damage))}])
            for window in range(windows):
                kl = [] if variant == 0 else [
                    round(chance.expovariate(1 / (damage + 1e-3)), 9) for _ in range(tokens)
                ]
                write("window", cell_id=cell_id, window=window, scored_tokens=tokens,
                      scored_bytes=4 * tokens,
                      nll_nats=tokens * (2.5 + hardness[window] + damage + chance.gauss(0, 0.05)),
                      kl_nats=math.fsum(kl), top1_agree=int(tokens * (1 - damage / 2)),
                      kl_tokens=kl)
            write("done", cell_id=cell_id, windows=windows, coded_hash="ee" * 32)


main()
