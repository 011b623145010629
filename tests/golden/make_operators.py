"""Programs of one family of operators each, for make_packages.py, computed again with numpy."""

import numpy as np
from coremltools.converters.mil import Builder as mb
from coremltools.converters.mil.mil import types

random = np.random.default_rng(5)
F32, F16, I32, BOOL = types.fp32, types.fp16, types.int32, types.bool


def floats(*shape):
    return random.standard_normal(shape).astype(np.float32)


def softmax(x, axis=-1):
    e = np.exp(x - x.max(axis=axis, keepdims=True))
    return e / e.sum(axis=axis, keepdims=True)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def program(save, name, inputs, cases):
    """One package of `cases`: name, operation on the inputs, expected value."""
    kinds = {"f": F32, "i": I32, "b": BOOL}
    specs = {key: mb.TensorSpec(value.shape, dtype=kinds[value.dtype.kind])
             for key, value in inputs.items()}

    def build(*values):
        scope = dict(zip(inputs, values))
        made = []
        for key, make, expected in cases:
            value = make(**scope)
            is_bool = np.asarray(expected).dtype == bool
            made.append(mb.cast(x=value, dtype="int32", name=key) if is_bool
                        else mb.identity(x=value, name=key))
        return tuple(made)

    outputs = {}
    for key, _, expected in cases:
        expected = np.asarray(expected)
        is_float = expected.dtype.kind == "f"
        outputs[key] = expected.astype(np.float32 if is_float else np.int32)
    inputs = {key: value.astype(np.int32) if value.dtype == bool else value
              for key, value in inputs.items()}
    save(name, specs, build, inputs, outputs)


def elementwise(save):
    a, b, c = floats(2, 3, 4), floats(3, 1), np.abs(floats(2, 3, 4)) + 0.1
    i, j = random.integers(-9, 10, (2, 3)).astype(np.int32), np.array([[3], [-4]], np.int32)
    two = np.float32(2)
    program(save, "arithmetic", {"a": a, "b": b, "c": c, "i": i, "j": j}, [
        ("add", lambda a, b, **_: mb.add(x=a, y=b), a + b),
        ("sub", lambda a, b, **_: mb.sub(x=b, y=a), b - a),
        ("mul", lambda a, c, **_: mb.mul(x=a, y=c), a * c),
        ("div", lambda a, c, **_: mb.real_div(x=a, y=c), a / c),
        ("max", lambda a, b, **_: mb.maximum(x=a, y=b), np.maximum(a, b)),
        ("min", lambda a, b, **_: mb.minimum(x=a, y=b), np.minimum(a, b)),
        ("pow", lambda a, c, **_: mb.pow(x=c, y=a), np.power(c, a)),
        ("pow2", lambda a, **_: mb.pow(x=a, y=two), a * a),
        ("fdiv", lambda a, b, **_: mb.floor_div(x=a, y=b), np.floor_divide(a, b)),
        ("mod", lambda a, b, **_: mb.mod(x=a, y=b), np.mod(a, b)),
        ("int_add", lambda i, j, **_: mb.add(x=i, y=j), i + j),
        ("int_fdiv", lambda i, j, **_: mb.floor_div(x=i, y=j), i // j),
        ("int_mod", lambda i, j, **_: mb.mod(x=i, y=j), i % j),
        ("less", lambda a, b, **_: mb.less(x=a, y=b), a < b),
        ("greater_equal", lambda i, j, **_: mb.greater_equal(x=i, y=j), i >= j),
        ("equal", lambda i, **_: mb.equal(x=i, y=np.int32(3)), i == 3),
        ("both", lambda a, b, **_: mb.logical_and(x=mb.less(x=a, y=b), y=mb.greater(x=a, y=0.0)),
         (a < b) & (a > 0)),
        ("select", lambda a, b, c, **_: mb.select(cond=mb.less(x=a, y=b), a=a, b=c),
         np.where(a < b, a, c)),
    ])
    gelu = 0.5 * a * (1 + np.tanh(np.sqrt(2 / np.pi) * (a + 0.044715 * a**3)))
    program(save, "unary", {"a": a, "c": c}, [
        ("exp", lambda a, **_: mb.exp(x=a), np.exp(a)),
        ("sqrt", lambda c, **_: mb.sqrt(x=c), np.sqrt(c)),
        ("rsqrt", lambda c, **_: mb.rsqrt(x=c, epsilon=np.float32(0.01)), 1 / np.sqrt(c + 0.01)),
        ("tanh", lambda a, **_: mb.tanh(x=a), np.tanh(a)),
        ("abs", lambda a, **_: mb.abs(x=a), np.abs(a)),
        ("square", lambda a, **_: mb.square(x=a), a * a),
        ("silu", lambda a, **_: mb.silu(x=a), a * sigmoid(a)),
        ("sigmoid", lambda a, **_: mb.sigmoid(x=a), sigmoid(a)),
        ("gelu", lambda a, **_: mb.gelu(x=a, mode="TANH_APPROXIMATION"), gelu),
        ("clip", lambda a, **_: mb.clip(x=a, alpha=np.float32(-0.5), beta=np.float32(0.7)),
         np.clip(a, -0.5, 0.7)),
        ("cast", lambda a, **_: mb.cast(x=mb.mul(x=a, y=np.float32(10)), dtype="int32"),
         np.trunc(a * 10).astype(np.int32)),
    ])


def along_axes(save):
    a = floats(2, 3, 4)
    gamma, beta = floats(3), floats(3)
    centred = a - a.mean(1, keepdims=True)
    norm = centred / np.sqrt((centred**2).mean(1, keepdims=True) + 1e-5)
    order = np.argsort(-a, axis=1, kind="stable")[:, :2]
    program(save, "reductions", {"a": a}, [
        ("mean", lambda a: mb.reduce_mean(x=a, axes=[-1], keep_dims=True), a.mean(-1, keepdims=True)),
        ("sum", lambda a: mb.reduce_sum(x=a, axes=[0, 2], keep_dims=False), a.sum((0, 2))),
        ("max", lambda a: mb.reduce_max(x=a, axes=[1], keep_dims=False), a.max(1)),
        ("min", lambda a: mb.reduce_min(x=a, axes=[1], keep_dims=True), a.min(1, keepdims=True)),
        ("argmax", lambda a: mb.reduce_argmax(x=a, axis=1, keep_dims=False),
         a.argmax(1).astype(np.int32)),
        ("softmax", lambda a: mb.softmax(x=a, axis=1), softmax(a, 1)),
        ("layer_norm", lambda a: mb.layer_norm(x=a, axes=[1], gamma=gamma, beta=beta,
                                               epsilon=np.float32(1e-5)),
         norm * gamma[:, None] + beta[:, None]),
        ("top_values", lambda a: mb.topk(x=a, k=2, axis=1, output_indices_dtype="int32")[0],
         np.take_along_axis(a, order, 1)),
        ("top_indices", lambda a: mb.topk(x=a, k=2, axis=1, output_indices_dtype="int32")[1],
         order.astype(np.int32)),
    ])


def shapes(save):
    a, b = floats(2, 3, 4), floats(2, 1, 4)
    i, at = np.array([[1, 0, 2], [2, 2, 1]], np.int32), np.array([1], np.int32)
    table, patch = floats(5, 6), floats(1, 2, 4)
    updated = a.copy()
    updated[1:2, 1:3] = patch
    scattered = np.zeros((2, 5), np.float32)
    np.put_along_axis(scattered, i, b[:, 0, :3], 1)
    begin = lambda at: mb.concat(values=[at, np.array([1], np.int32), np.array([0], np.int32)], axis=0)
    program(save, "shapes", {"a": a, "b": b, "i": i, "at": at, "patch": patch}, [
        ("concat", lambda a, b, **_: mb.concat(values=[a, b], axis=1), np.concatenate([a, b], 1)),
        ("second", lambda a, **_: mb.split(x=a, num_splits=2, axis=2)[1], a[:, :, 2:]),
        ("sized", lambda a, **_: mb.split(x=a, split_sizes=[1, 3], axis=-1)[1], a[:, :, 1:]),
        ("reshape", lambda a, **_: mb.reshape(x=a, shape=[4, -1]), a.reshape(4, 6)),
        ("transpose", lambda a, **_: mb.transpose(x=a, perm=[2, 0, 1]), a.transpose(2, 0, 1)),
        ("expand", lambda a, **_: mb.expand_dims(x=a, axes=[0, -1]), a[None, ..., None]),
        ("squeeze", lambda b, **_: mb.squeeze(x=b, axes=[1]), b[:, 0]),
        ("tile", lambda b, **_: mb.tile(x=b, reps=[1, 3, 2]), np.tile(b, (1, 3, 2))),
        ("slice", lambda a, **_: mb.slice_by_index(
            x=a, begin=[0, 2, -1], end=[2, 0, 0], stride=[1, -1, -2],
            end_mask=[False, True, True]), a[0:2, 2::-1, -1::-2]),
        ("squeezed", lambda a, **_: mb.slice_by_index(
            x=a, begin=[1, 0, 1], end=[0, 3, 3], squeeze_mask=[True, False, False]), a[1, 0:3, 1:3]),
        ("sized_slice", lambda a, **_: mb.slice_by_size(x=a, begin=[0, 1, 1], size=[2, 2, -1]),
         a[:, 1:3, 1:]),
        ("update", lambda a, at, patch, **_: mb.slice_update(
            x=a, update=patch, begin=begin(at), end=mb.add(x=begin(at), y=np.array([1, 2, 4], np.int32))),
         updated),
        ("gather", lambda i, **_: mb.gather(x=table, indices=i, axis=0), table[i]),
        ("gather_axis", lambda a, i, **_: mb.gather(x=a, indices=i, axis=1), a[:, i]),
        ("gather_batch", lambda a, i, **_: mb.gather(x=a, indices=i, axis=1, batch_dims=1),
         np.stack([a[0][i[0]], a[1][i[1]]])),
        ("along", lambda a, i, **_: mb.gather_along_axis(
            x=mb.slice_by_index(x=a, begin=[0, 0, 0], end=[2, 3, 1], squeeze_mask=[False, False, True]),
            indices=i, axis=1), np.take_along_axis(a[:, :, 0], i, 1)),
        ("scatter", lambda b, i, **_: mb.scatter_along_axis(
            data=np.zeros((2, 5), np.float32), indices=i,
            updates=mb.slice_by_index(x=b, begin=[0, 0, 0], end=[2, 1, 3],
                                      squeeze_mask=[False, True, False]),
            axis=1, mode="update"), scattered),
        ("hot", lambda i, **_: mb.one_hot(indices=i, one_hot_vector_size=4, axis=-1),
         np.eye(4, dtype=np.int32)[i]),
        ("fill", lambda i, **_: mb.add(x=mb.fill(shape=[2, 3], value=np.int32(7)), y=i), i + 7),
        ("range", lambda at, **_: mb.range_1d(start=np.int32(2), end=np.int32(11), step=np.int32(3)),
         np.arange(2, 11, 3, dtype=np.int32)),
    ])


def products(save):
    x, rows = floats(1, 5, 8), floats(2, 4, 6, 8)
    weight, bias = floats(7, 8), floats(7)
    key, value = floats(2, 4, 9, 8), floats(2, 4, 9, 3)
    seen = np.tril(np.ones((6, 9), bool), 3)
    scores = rows @ key.swapaxes(-1, -2) / np.sqrt(np.float32(8))
    hidden = np.where(seen, np.float32(0), np.float32(-np.inf))
    image = floats(1, 8, 1, 5)
    program(save, "products", {"x": x, "rows": rows, "key": key, "value": value, "image": image}, [
        ("linear", lambda x, **_: mb.linear(x=x, weight=weight, bias=bias), x @ weight.T + bias),
        ("conv", lambda image, **_: mb.conv(x=image, weight=weight[:, :, None, None], bias=bias),
         np.einsum("oi,nihw->nohw", weight, image) + bias[:, None, None]),
        ("matmul", lambda rows, key, **_: mb.matmul(x=rows, y=key, transpose_y=True),
         rows @ key.swapaxes(-1, -2)),
        ("matmul_x", lambda key, value, **_: mb.matmul(x=key, y=value, transpose_x=True),
         key.swapaxes(-1, -2) @ value),
        ("broadcast", lambda x, rows, **_: mb.matmul(x=rows, y=x, transpose_y=True),
         rows @ x.swapaxes(-1, -2)),
        ("attention", lambda rows, key, value, **_: mb.scaled_dot_product_attention(
            query=rows, key=key, value=value, attn_mask=hidden), softmax(scores + hidden) @ value),
        ("attention_bool", lambda rows, key, value, **_: mb.scaled_dot_product_attention(
            query=rows, key=key, value=value, attn_mask=seen), softmax(scores + hidden) @ value),
        ("attention_all", lambda rows, key, value, **_: mb.scaled_dot_product_attention(
            query=rows, key=key, value=value), softmax(scores) @ value),
    ])


def activations(save):
    a = floats(3, 4) * 20
    scale, zero = np.array([0.3, 0.2, 0.5], np.float32), np.array([3, -4, 0], np.int8)
    coded = np.clip(np.round(a / scale[:, None]) + zero[:, None], -128, 127)
    program(save, "quantized", {"a": a}, [
        ("back", lambda a: mb.dequantize(
            input=mb.quantize(input=a, scale=scale, zero_point=zero, axis=0, output_dtype="int8"),
            scale=scale, zero_point=zero, axis=0), (coded - zero[:, None]) * scale[:, None]),
    ])


def write(save):
    elementwise(save)
    along_axes(save)
    shapes(save)
    products(save)
    activations(save)
