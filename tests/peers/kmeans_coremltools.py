"""K-means tables as coremltools makes them, to compare ours with.

Needs: pip install coremltools==9.0 "numpy<2.3"

    kmeans_coremltools.py --write    writes tests/golden/kmeans_coremltools.json
    kmeans_coremltools.py            computes again; exit code 1 if the file differs

The Rust test `tables_and_codes_are_those_of_coremltools` reads the same file. coremltools clusters
the histogram of fp16 weights with `kmeans1d`, which is exact, and does not round the means.
"""

import argparse
import json
import logging
import pathlib
import sys

import numpy

logging.getLogger("coremltools").setLevel(logging.ERROR)
from coremltools.models.neural_network.quantization_utils import (  # noqa: E402
    _get_kmeans_lookup_table_and_weight as coremltools_kmeans,
)

GOLDEN = pathlib.Path(__file__).parent.parent / "golden" / "kmeans_coremltools.json"
COST_TOLERANCE = 1e-9


def weights_of(kind, random, count):
    """Random fp16 weights [count] of one kind."""
    if kind == "bell":
        weights = random.normal(0.0, 0.05, count)
    elif kind == "heavy":
        weights = random.standard_t(3, count) * 0.02
    elif kind == "coarse":
        weights = numpy.round(random.normal(0.0, 1.0, count) * 16) / 16
    else:
        weights = random.uniform(-1.0, 3.0, count)
    return weights.astype(numpy.float16)


def case_of(kind, bits, count):
    """One golden case: weights and table as fp16 bit patterns, codes, squared error."""
    random = numpy.random.default_rng([bits, count, len(kind)])
    weights = weights_of(kind, random, count)
    means, codes = coremltools_kmeans(bits, weights, force_kmeans1d=True)
    squares = (weights.astype(numpy.float64) - means[codes]) ** 2
    return {
        "name": f"{kind}, {bits} bits",
        "bits": bits,
        "weights": weights.view(numpy.uint16).astype(">u2").tobytes().hex(),
        "table": means.astype(numpy.float16).view(numpy.uint16).tolist(),
        "codes": codes.astype(numpy.uint8).tobytes().hex(),
        "squared_error": float(squares.sum()),
    }


def golden():
    """All cases: every kind at every width but 8 bits, whose cases would be mostly table."""
    kinds = ["bell", "heavy", "coarse", "flat"]
    return [case_of(kind, bits, 400) for bits in [1, 2, 3, 4, 6] for kind in kinds]


def same(ours, theirs):
    """Whether two cases agree, errors up to summation order."""
    close = numpy.isclose(ours["squared_error"], theirs["squared_error"], rtol=COST_TOLERANCE)
    others = [key for key in ours if key != "squared_error"]
    return bool(close) and all(ours[key] == theirs.get(key) for key in others)


def main():
    """Writes or compares the golden file; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--write", action="store_true", help="write the golden file")
    arguments = parser.parse_args()
    cases = golden()
    if arguments.write:
        lines = ",\n".join(json.dumps(case) for case in cases)
        GOLDEN.write_text(f"[\n{lines}\n]\n")
        return 0
    stored = json.loads(GOLDEN.read_text())
    differing = [new["name"] for new, old in zip(cases, stored) if not same(new, old)]
    if differing or len(cases) != len(stored):
        print(f"differing: {differing}; {len(cases)} cases, {len(stored)} stored", file=sys.stderr)
        return 1
    print(f"{len(cases)} cases agree")
    return 0


if __name__ == "__main__":
    sys.exit(main())
