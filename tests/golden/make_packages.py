"""Writes small packages with coremltools, and what its operators are defined to compute.

    pip install coremltools==9.0 numpy safetensors && python make_packages.py packages

Per package NAME.mlpackage and NAME.safetensors: inputs and outputs of one step, and the weights
that coremltools' own decompression gives, bit for bit. Outputs are computed here with numpy in f32
from the definitions of the operators. See packages.rs for the names of the tensors.
"""

import logging
import shutil
import sys
from pathlib import Path

logging.getLogger("coremltools").setLevel(logging.ERROR)

import coremltools as ct
import numpy as np
from coremltools.converters.mil import Builder as mb
from coremltools.converters.mil.mil import types
from coremltools.converters.mil.mil.ops.defs.iOS16 import constexpr_ops as v16
from coremltools.converters.mil.mil.ops.defs.iOS18 import compression as v18
from coremltools.converters.mil.mil.types import type_mapping as tm
from safetensors.numpy import save_file

OUT = Path(sys.argv[1])
random = np.random.default_rng(11)
UINT = {1: tm.np_uint1_dtype, 2: tm.np_uint2_dtype, 3: tm.np_uint3_dtype, 4: tm.np_uint4_dtype,
        6: tm.np_uint6_dtype, 8: np.uint8}


def floats(*shape):
    return random.standard_normal(shape).astype(np.float16)


def ints(dtype, low, high, *shape):
    return random.integers(low, high, shape).astype(np.int8 if low < 0 else np.uint8).astype(dtype)


def save(name, specs, build, inputs, outputs, weights=(), target=ct.target.iOS18):
    """Writes one package. `build` gives the program's outputs by name."""
    arguments = ", ".join(specs)
    scope = {"build": build}
    exec(f"def body({arguments}):\n    return build({arguments})", scope)
    program = mb.program(input_specs=list(specs.values()), opset_version=target)(scope["body"])
    path = OUT / f"{name}.mlpackage"
    shutil.rmtree(path, ignore_errors=True)
    model = ct.convert(program, minimum_deployment_target=target, skip_model_load=True,
                       pass_pipeline=ct.PassPipeline.EMPTY)
    model.save(str(path))
    tensors = {f"000/main/in/{key}": value for key, value in inputs.items()}
    tensors |= {f"000/main/out/{key}": value for key, value in outputs.items()}
    tensors |= {f"weight/main/{key}": value for key, value in weights}
    save_file({key: np.array(value, order="C") for key, value in tensors.items()},
              str(OUT / f"{name}.safetensors"))
    print(name)


def weights_only(name, cases, target=ct.target.iOS18):
    """A package whose outputs are its weights plus an input."""
    shift = np.array([0.5], np.float16)

    def build(x):
        made = [(key, make(key)) for key, make, _ in cases]
        return tuple(mb.add(x=x if weight.dtype == types.fp16 else mb.cast(x=x, dtype="fp32"),
                            y=weight, name=f"sum_{key}") for key, weight in made)

    weights = [(key, np.asarray(expected)) for key, _, expected in cases]
    outputs = {f"sum_{key}": value.astype(np.float32) + 0.5 for key, value in weights}
    save(name, {"x": mb.TensorSpec((1,), dtype=types.fp16)}, build, {"x": shift}, outputs, weights,
         target)


def palettes():
    cases = []

    def case(key, bits, shape, cells, vector=1, axis=None, dtype=np.float16):
        indices = ints(UINT[bits], 0, 2**bits, *shape)
        lut = random.standard_normal((*cells, 2**bits, vector)).astype(dtype)
        make = lambda name: mb.constexpr_lut_to_dense(indices=indices, lut=lut, vector_axis=axis,
                                                      name=name)
        value = v18.constexpr_lut_to_dense.decompress(indices, lut, axis)
        cases.append((key, make, value))

    for bits in UINT:
        case(f"tensor_{bits}", bits, (6, 9), (1, 1))
        case(f"rows_{bits}", bits, (8, 21), (4, 1))
    case("each_row", 2, (6, 9), (6, 1))
    case("columns", 2, (6, 12), (1, 3))
    case("both", 4, (6, 9), (3, 3))
    case("conv", 2, (32, 20, 1, 1), (2, 1, 1, 1))
    case("conv_both", 1, (8, 20, 1, 1), (2, 4, 1, 1))
    case("vector_0", 2, (4, 6), (2, 1), 2, np.int32(0))
    case("vector_1", 4, (4, 6), (2, 1), 4, np.int32(1))
    case("vector_conv", 3, (4, 6, 1, 1), (1, 3, 1, 1), 2, np.int32(1))
    case("single", 4, (6, 40), (3, 1), 1, None, np.float32)
    return cases


def chained():
    """A table of int8 and its scales, decoded before it is looked up in."""
    indices = ints(UINT[4], 0, 16, 8, 12)
    lut = random.integers(-127, 128, (4, 1, 16, 1)).astype(np.int8)
    scale = np.abs(floats(4, 1, 1, 1)) / np.float16(64)

    def make(name):
        table = mb.constexpr_blockwise_shift_scale(data=lut, scale=scale)
        return mb.constexpr_lut_to_dense(indices=indices, lut=table, name=name)

    table = v18.constexpr_blockwise_shift_scale.decompress(lut, scale, None)
    return [("chained", make, v18.constexpr_lut_to_dense.decompress(indices, table, None))]


def linear():
    cases = []
    kinds = {"int4": (tm.np_int4_dtype, -8, 8), "uint4": (tm.np_uint4_dtype, 0, 16),
             "int8": (np.int8, -128, 128), "uint8": (np.uint8, 0, 256)}

    def case(key, data, scale, offset):
        make = lambda name: mb.constexpr_blockwise_shift_scale(data=data, scale=scale,
                                                               offset=offset, name=name)
        value = v18.constexpr_blockwise_shift_scale.decompress(
            data, scale, None if offset is None else offset)
        cases.append((key, make, value))

    for kind, (dtype, low, high) in kinds.items():
        data = ints(dtype, low, high, 6, 64)
        case(f"{kind}_blocks", data, floats(6, 2) / np.float16(8), None)
        case(f"{kind}_rows", data, floats(6, 1) / np.float16(8), ints(dtype, low, high, 6, 1))
        case(f"{kind}_conv", data.reshape(6, 64, 1, 1), floats(3, 4, 1, 1),
             ints(dtype, low, high, 3, 4, 1, 1))
    case("single", ints(np.int8, -128, 128, 5, 7), floats(5, 1).astype(np.float32), None)
    return cases


def sparse():
    cases = []
    mask = (random.random((6, 200)) < 0.4).astype(np.uint8)
    values = floats(int(mask.sum()))
    mask1 = mask.astype(UINT[1])
    cases.append(("plain",
                  lambda name: mb.constexpr_sparse_to_dense(nonzero_data=values, mask=mask1,
                                                            name=name),
                  v18.constexpr_sparse_to_dense.decompress(values, mask)))
    codes = ints(UINT[4], 0, 16, int(mask.sum()))
    lut = floats(3, 1, 16, 1)

    def palette(name):
        ones, values = mb.constexpr_lut_to_sparse(indices_mask=mask1, indices_nonzero_data=codes,
                                                  lut=lut)
        return mb.constexpr_sparse_to_dense(nonzero_data=values, mask=ones, name=name)

    dense = v18.constexpr_lut_to_sparse.decompress(mask, codes, lut, None)
    cases.append(("palette", palette,
                  v18.constexpr_sparse_to_dense.decompress(dense[1], dense[0])))
    data, scale = ints(np.int8, -128, 128, int(mask.sum())), floats(6, 1)

    def blocks(name):
        ones, values = mb.constexpr_sparse_blockwise_shift_scale(
            data_mask=mask1, nonzero_data=data, scale=scale)
        return mb.constexpr_sparse_to_dense(nonzero_data=values, mask=ones, name=name)

    dense = v18.constexpr_sparse_blockwise_shift_scale.decompress(mask, data, scale, None)
    cases.append(("blocks", blocks,
                  v18.constexpr_sparse_to_dense.decompress(dense[1], dense[0])))
    return cases


def older():
    """The forms of iOS 16."""
    cases = []
    for bits in (1, 2, 4, 6, 8):
        shape = np.array([5, 7], np.uint32)
        lut = floats(2**bits)
        indices = random.integers(0, 2**bits, 35)
        packed = np.packbits(
            np.array([[code >> bit & 1 for bit in range(bits)] for code in indices]).ravel()
            .astype(np.uint8), bitorder="little")
        make = lambda name, packed=packed, lut=lut, shape=shape: mb.constexpr_lut_to_dense(
            indices=packed, lut=lut, shape=shape, name=name)
        cases.append((f"table_{bits}", make, lut[indices].reshape(5, 7)))
    data = ints(np.uint8, 0, 256, 6, 10)
    for key, zero, scale, axis in [("scalar", np.uint8(7), np.float16(0.013), 0),
                                   ("axis", ints(np.uint8, 0, 256, 10), floats(10), 1)]:
        make = lambda name, zero=zero, scale=scale, axis=axis: mb.constexpr_affine_dequantize(
            quantized_data=data, zero_point=zero, scale=scale, axis=np.int32(axis), name=name)
        value = v16.constexpr_affine_dequantize.decompress(data, zero, scale, axis)
        cases.append((key, make, value))
    mask = (random.random(33) < 0.5).astype(np.uint8)
    values, shape = floats(int(mask.sum())), np.array([3, 11], np.uint32)
    packed = np.packbits(mask, bitorder="little")
    dense = np.zeros(33, np.float16)
    dense[mask == 1] = values
    cases.append(("sparse",
                  lambda name: mb.constexpr_sparse_to_dense(nonzero_data=values, mask=packed,
                                                            shape=shape, name=name),
                  dense.reshape(3, 11)))
    return cases


if __name__ == "__main__":
    OUT.mkdir(exist_ok=True)
    weights_only("palettes", palettes())
    weights_only("chained", chained())
    weights_only("linear", linear())
    weights_only("sparse", sparse())
    weights_only("older", older(), ct.target.iOS16)
    import make_operators
    make_operators.write(save)
