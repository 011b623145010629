"""Activations in int8 and back as coremltools computes them, to compare ours with.

Needs: pip install coremltools==9.0 "numpy<2.3"

    activations_coremltools.py --write    writes tests/golden/activations_coremltools.json
    activations_coremltools.py            computes again; exit code 1 if the file differs

The Rust test `inputs_are_rounded_as_coremltools_rounds_them` reads the same file. The numbers are
the value inference of the iOS 17 operators `quantize` and `dequantize` on fp16 constants.
"""

import argparse
import json
import logging
import pathlib
import sys

import numpy

logging.getLogger("coremltools").setLevel(logging.ERROR)
import coremltools  # noqa: E402
from coremltools.converters.mil import Builder as mb  # noqa: E402

GOLDEN = pathlib.Path(__file__).parent.parent / "golden" / "activations_coremltools.json"
SCALES = [0.0123, 1.0, 0.5, 3.1e-5, 37.25]


def inputs_of(scale):
    """fp16 inputs for a scale: halves between two codes, their neighbours, both ends, a spread."""
    random = numpy.random.default_rng(int(scale * 1e6))
    steps = numpy.concatenate([
        numpy.arange(-130.5, 131.0, 11.5),
        [-129, -128.5, -128, -127.5, 126.5, 127, 127.5, 128, 0.49, -0.0],
        random.normal(0.0, 40.0, 80),
    ])
    values = (steps * scale).astype(numpy.float16)
    neighbours = numpy.nextafter(values[:24], numpy.float16(numpy.inf))
    return numpy.concatenate([values, neighbours, [65504.0, -65504.0]]).astype(numpy.float16)


def case_of(scale):
    """One golden case: fp16 bit patterns of scale, inputs and outputs, and the codes between."""
    inputs, scale = inputs_of(scale), numpy.float16(scale)
    found = {}

    @mb.program(input_specs=[mb.TensorSpec((1,))], opset_version=coremltools.target.iOS17)
    def program(x):
        with numpy.errstate(over="ignore"):
            codes = mb.quantize(input=inputs, scale=scale, output_dtype="int8")
        back = mb.dequantize(input=codes, scale=scale)
        found["codes"] = codes.val
        found["outputs"] = back.op.materialized_val_inference()
        return mb.identity(x=x)

    assert program and found["outputs"].dtype == numpy.float16
    return {
        "scale": bits(scale),
        "inputs": bits(inputs),
        "codes": found["codes"].tolist(),
        "outputs": bits(found["outputs"]),
    }


def bits(values):
    """fp16 values as their bit patterns."""
    return values.astype(numpy.float16).view(numpy.uint16).tolist()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--write", action="store_true", help="write the golden file")
    args = parser.parse_args()
    text = json.dumps([case_of(scale) for scale in SCALES], separators=(",", ":")) + "\n"
    if args.write:
        GOLDEN.write_text(text)
    elif GOLDEN.read_text() != text:
        sys.exit(f"{GOLDEN} differs from what coremltools computes")
    else:
        print(f"{len(SCALES)} scales agree")


if __name__ == "__main__":
    main()
