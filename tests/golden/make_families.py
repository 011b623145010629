"""Makes a small random model of every family, and what transformers computes with it in f32.

    pip install torch transformers==5.24.0 safetensors numpy
    python make_families.py --out families

Per case a folder OUT/<family>[-variant]:

    config.json         spelled as the models of that family are on the hub
    config.v5.json      as transformers 5 writes it; both give the same logits
    model.safetensors   names and values as on the hub, bf16 or f16
    golden.safetensors  input_ids i64 [sequences, 40], logits f32 [sequences, 40, 96], and for each
                        layer with a router router.<layer>.indices i64 [sequences * 40, experts]

Every case names keys of config.json that must move the logits and keys that must not; both are
tried. A little noise on the weights sends no token to other experts.
"""

import argparse
import warnings
from pathlib import Path

from family_cases import cases
from family_cases.model import make
from transformers.utils import logging


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--only", nargs="+", help="names of cases, or of families")
    parser.add_argument("--keep-going", action="store_true", help="report what fails at the end")
    arguments = parser.parse_args()
    warnings.filterwarnings("ignore")
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    failed = []
    for case in cases():
        family = case.name.split("-")[0]
        if arguments.only and not {case.name, family} & set(arguments.only):
            continue
        try:
            print(make(arguments.out / case.name, case), flush=True)
        except Exception as problem:
            if not arguments.keep_going:
                raise
            failed.append(case.name)
            print(f"FAILED {case.name}: {type(problem).__name__}: {problem}"[:600], flush=True)
    assert not failed, failed


if __name__ == "__main__":
    main()
