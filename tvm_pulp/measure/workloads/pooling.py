"""Pooling, means and sums: forward and the data gradient."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from tvm_pulp.measure.specification import SOURCE, Key, Specification
from tvm_pulp.measure.workloads.quantized_pooling import make_quantized
from tvm_pulp.measure.workloads.workload import Cost, Kind, Workload
from tvm_pulp.passes.operators.avg_pool2d import avg_pool2d, avg_pool2d_gradient
from tvm_pulp.passes.operators.elementwise import elementwise
from tvm_pulp.passes.operators.kernel import Shape, number
from tvm_pulp.passes.operators.max_pool2d import max_pool2d, max_pool2d_data_gradient
from tvm_pulp.passes.operators.pooling import Pool2d
from tvm_pulp.passes.operators.reduction import sum_kernel
from tvm_pulp.target.errors import UserError

_STEPS = ("forward", "data-grad")


def _shape(s: Specification) -> Shape:
    return s.number("batch"), s.number("channels"), s.number("h"), s.number("w")


def _pool(s: Specification) -> Pool2d:
    window, stride, pad = (s.number(name) for name in ("window", "stride", "pad"))
    if 2 * pad > window:
        raise UserError(f"'{s.text}': pad={pad} is more than half the window of {window}; give less")
    if min(_shape(s)[2:]) + 2 * pad < window:
        raise UserError(f"'{s.text}': the window of {window}x{window} is larger than the image; take less")
    return Pool2d((window, window), (stride, stride), (pad, pad, pad, pad))


def _windows(array: np.ndarray, pool: Pool2d, outside: float) -> np.ndarray:
    """Elements of each window, ``[batch, channels, rows, columns, taps]``."""
    pad = pool.padding[0]
    padded = np.pad(array, ((0, 0), (0, 0), (pad, pad), (pad, pad)), constant_values=outside)
    view = np.lib.stride_tricks.sliding_window_view(padded, pool.window, axis=(2, 3))
    view = view[:, :, :: pool.strides[0], :: pool.strides[1]]
    return view.reshape(*view.shape[:4], -1)


def _scatter(values: np.ndarray, pool: Pool2d, shape: Shape) -> np.ndarray:
    """Add up what each window gives to its taps; the reverse of `_windows`."""
    pad, (high, wide) = pool.padding[0], pool.window
    total = np.zeros((*shape[:2], shape[2] + 2 * pad, shape[3] + 2 * pad))
    rows, columns = values.shape[2:4]
    for tap in range(high * wide):
        top, left = divmod(tap, wide)
        bottom, right = top + (rows - 1) * pool.strides[0] + 1, left + (columns - 1) * pool.strides[1] + 1
        total[:, :, top : bottom : pool.strides[0], left : right : pool.strides[1]] += values[..., tap]
    return total[:, :, pad : pad + shape[2], pad : pad + shape[3]]


def _make_max_pool(s: Specification) -> Workload:
    shape, pool = _shape(s), _pool(s)
    if s.word("dtype") == "int8":
        return make_quantized(s, pool, shape, averages=False)
    forward = s.word("step") == "forward"
    make = max_pool2d if forward else max_pool2d_data_gradient
    function = make("kernel", "max_pool", pool, shape)

    def expected(arrays: list[np.ndarray]) -> Mapping[int, np.ndarray]:
        windows = _windows(arrays[0].astype(np.float64), pool, -np.inf)
        if forward:
            return {1: windows.max(axis=-1)}
        hit = np.arange(windows.shape[-1]) == windows.argmax(axis=-1)[..., None]
        return {2: _scatter(hit * arrays[1].astype(np.float64)[..., None], pool, shape)}

    return Workload(s, function, expected, _cost(shape, pool, gathers=True, scatters=not forward))


def _make_avg_pool(s: Specification) -> Workload:
    shape, pool = _shape(s), _pool(s)
    if s.word("dtype") == "int8":
        return make_quantized(s, pool, shape, averages=True)
    forward = s.word("step") == "forward"
    function = (avg_pool2d if forward else avg_pool2d_gradient)("kernel", "avg_pool", pool, shape)

    def expected(arrays: list[np.ndarray]) -> Mapping[int, np.ndarray]:
        inside = _windows(np.ones(shape), pool, 0.0)
        share = inside / inside.sum(axis=-1, keepdims=True)
        if forward:
            return {1: (_windows(arrays[0].astype(np.float64), pool, 0.0) * share).sum(axis=-1)}
        return {1: _scatter(arrays[0].astype(np.float64)[..., None] * share, pool, shape)}

    return Workload(s, function, expected, _cost(shape, pool, gathers=forward, scatters=not forward))


def _cost(shape: Shape, pool: Pool2d, gathers: bool, scatters: bool) -> Cost:
    """Every element of the data is read or written once, or both; taps of windows are compared or added."""
    pooled = math.prod(pool.output_shape(shape))
    taps = pooled * math.prod(pool.window) if gathers else 0
    return Cost(instructions=math.prod(shape) * (gathers + scatters) + pooled + taps)


def _make_mean(s: Specification) -> Workload:
    """Global average pooling."""
    shape = _shape(s)
    if s.word("dtype") == "int8":
        return make_quantized(s, Pool2d((shape[2], shape[3])), shape, averages=True)
    pooled, share = (*shape[:2], 1, 1), 1.0 / (shape[2] * shape[3])
    cost = Cost(float_operations=math.prod(shape), instructions=2 * math.prod(shape))
    if s.word("step") == "forward":
        function = sum_kernel(
            "kernel", "mean", [("data", shape)], lambda x: x, [2, 3], [0, 1, 2, 3], scale=share
        )
        return Workload(s, function, lambda a: {1: a[0].astype(np.float64).mean((2, 3), keepdims=True)}, cost)
    operands = [("output_gradient", pooled)]
    function = elementwise("kernel", "mean", operands, lambda g: g * number(share), shape)
    cost = Cost(instructions=math.prod(shape))
    return Workload(s, function, lambda a: {1: np.broadcast_to(a[0].astype(np.float64) * share, shape)}, cost)


def _make_bias_gradient(s: Specification) -> Workload:
    """Sum over all axes but the channels'."""
    shape = _shape(s)
    operands = [("output_gradient", shape)]
    function = sum_kernel("kernel", "bias_gradient", operands, lambda g: g, [0, 2, 3], [1])
    cost = Cost(float_operations=math.prod(shape), instructions=2 * math.prod(shape))
    return Workload(s, function, lambda a: {1: a[0].astype(np.float64).sum((0, 2, 3))}, cost)


_IMAGE = [Key("channels"), Key("h"), Key("w"), Key("batch", 1)]
_STEP = Key("step", "forward", _STEPS)
_DTYPE = Key("dtype", "float32", ("float32", "int8"))
_WINDOW = [*_IMAGE, Key("window", 2), Key("stride", 2), Key("pad", 0, least=0), _STEP, _DTYPE, SOURCE]

KINDS = {
    "max_pool": Kind(_WINDOW, _make_max_pool),
    "avg_pool": Kind(_WINDOW, _make_avg_pool),
    "mean": Kind([*_IMAGE, _STEP, _DTYPE, SOURCE], _make_mean),
    "bias_gradient": Kind([*_IMAGE, SOURCE], _make_bias_gradient),
}
