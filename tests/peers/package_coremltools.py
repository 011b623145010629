"""Packages as coremltools reads them: whether it takes them, and what their weights expand to.

Needs: pip install coremltools==9.0 "numpy<2.3"

    package_coremltools.py PACKAGE...    exit code 1 if any differs from what was meant

Every package goes through coremltools' own reader, which builds every operator again and so runs
its checks and its type inference. Every weight is expanded by coremltools; where a file
`PACKAGE.f32` stands beside it (row-major, little endian), the weight of the layer times its channel
scales must be these bits. The Rust tests in `src/package/peers.rs` write such packages.
"""

import logging
import pathlib
import sys

import numpy

logging.getLogger("coremltools").setLevel(logging.ERROR)
import coremltools  # noqa: E402
from coremltools.converters.mil.frontend import milproto  # noqa: E402
from coremltools.converters.mil.mil import types  # noqa: E402
from coremltools.converters.mil.mil.ops.defs.iOS18 import (  # noqa: E402
    constexpr_lut_to_dense,
    constexpr_lut_to_sparse,
    constexpr_sparse_to_dense,
)


def declared(function):
    """Names of values in a function's message, with type number and shape."""
    (block,) = function.block_specializations.values()
    kinds = {}
    for operation in block.operations:
        for output in operation.outputs:
            tensor = output.type.tensorType
            shape = tuple(dimension.constant.size for dimension in tensor.dimensions)
            kinds[output.name] = (tensor.dataType, shape)
    return kinds


def dense(value):
    """A constant as coremltools expands it."""
    operator = value.op
    if value.val is not None:
        return numpy.asarray(value.val)
    if operator.op_type == "constexpr_lut_to_dense" and operator.lut.val is None:
        # coremltools reads a table that is itself made by an operator, but does not expand it.
        return constexpr_lut_to_dense.decompress(operator.indices.val, dense(operator.lut), None)
    if operator.op_type == "constexpr_lut_to_sparse" and operator.lut.val is None:
        mask, codes = operator.indices_mask.val, operator.indices_nonzero_data.val
        made = constexpr_lut_to_sparse.decompress(mask, codes, dense(operator.lut), None)
        return made[operator.outputs.index(value)]
    if operator.op_type == "constexpr_sparse_to_dense" and operator.nonzero_data.val is None:
        values, mask = dense(operator.nonzero_data), dense(operator.mask)
        return constexpr_sparse_to_dense.decompress(values, mask)
    made = operator.materialized_val_inference()
    return made[operator.outputs.index(value)] if isinstance(made, tuple) else made


def layer_weights(function):
    """The weight of the one layer of a function, times its channel scales."""
    (layer,) = [op for op in function.operations if op.op_type in ("linear", "conv")]
    weight = dense(layer.weight).astype(numpy.float32)
    for op in function.operations:
        if op.op_type == "mul" and op.y.val is not None:
            rows = op.y.val.astype(numpy.float32).reshape(-1)
            weight = weight * rows.reshape([-1] + [1] * (weight.ndim - 1))
    return weight


def problems(path):
    """What is wrong with a package, one line each."""
    spec = coremltools.utils.load_spec(str(path))
    weights = path / "Data/com.apple.CoreML/weights"
    program = milproto.load.load(spec, spec.specificationVersion, str(weights))
    expected = path.with_suffix(".f32")
    for name, function in program.functions.items():
        kinds = declared(spec.mlProgram.functions[name])
        for op in function.operations:
            if op.op_type.startswith("constexpr_"):
                for value in op.outputs:
                    found = dense(value)
                    _, shape = kinds[value.name]
                    if found.shape != shape or not numpy.isfinite(found.astype(float)).all():
                        yield f"{value.name}: declared {shape}, expanded {found.shape} or not finite"
                    if not types.is_tensor(value.sym_type) or value.shape != shape:
                        yield f"{value.name}: declared {shape}, inferred {value.sym_type}"
        if expected.exists():
            found = layer_weights(function)
            bits = numpy.fromfile(expected, dtype="<u4").reshape(found.shape)
            wrong = numpy.count_nonzero(found.view(numpy.uint32) != bits)
            if wrong:
                yield f"function {name}: {wrong} of {bits.size} weights differ"


def main():
    """Checks the packages that are named and prints a line for each."""
    paths = [pathlib.Path(argument) for argument in sys.argv[1:]]
    if not paths:
        sys.exit("no packages to check")
    failed = False
    for path in paths:
        try:
            found = list(problems(path))
        except Exception as error:  # whatever coremltools raises is its refusal
            found = [f"refused: {type(error).__name__}: {error}"]
        failed |= bool(found)
        print(f"{path.name}: {'; '.join(found) or 'as meant'}")
    sys.exit(failed)


main()
