"""Pooling of bytes as integer networks have it: channels innermost."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from tvm_pulp.measure.specification import Specification
from tvm_pulp.measure.workloads.workload import Cost, Workload
from tvm_pulp.passes.operators.choose_multipliers import choose_multipliers
from tvm_pulp.passes.operators.kernel import Shape
from tvm_pulp.passes.operators.pooling import Pool2d
from tvm_pulp.passes.operators.quantized_conv2d import QuantizedConv2d
from tvm_pulp.passes.operators.quantized_pooling import quantized_avg_pool2d, quantized_max_pool2d
from tvm_pulp.target.errors import UserError

_ZERO_POINT, _RESULT_ZERO_POINT = 7, 3
_RATIO = 1.7
"""Scale of the data by that of the result: averages of any bytes are close together."""


def make_quantized(s: Specification, pool: Pool2d, shape: Shape, *, averages: bool) -> Workload:
    """Make the workload of a maximum or average pooling's forward step; the shape is the model's (NCHW).

    Raises
    ------
    UserError
        For gradients, and for averages with padding, whose windows at the border count fewer elements.
    """
    if s.word("step") != "forward":
        raise UserError(f"'{s.text}': integer networks have no gradients; use float32")
    if averages and any(pool.padding):
        raise UserError(f"'{s.text}': averages of bytes are measured without padding; use pad=0")
    batch, channels, height, width = shape
    taps, physical = math.prod(pool.window), (batch, height, width, channels)
    zero_point = _ZERO_POINT if averages else 0
    geometry = QuantizedConv2d(pool.window, pool.strides, pool.padding, pool.dilation, zero_point)
    multipliers, scaled = choose_multipliers([_RATIO / taps], [255 * taps], zero_point=_RESULT_ZERO_POINT)
    if averages:
        shared = multipliers.reshape(1, 1)
        function = quantized_avg_pool2d("kernel", s.kind, geometry, physical, shared, scaled)
    else:
        function = quantized_max_pool2d("kernel", s.kind, geometry, physical)

    def expected(arrays: list[np.ndarray]) -> Mapping[int, np.ndarray]:
        top, left, bottom, right = pool.padding
        padded = np.pad(arrays[0].astype(np.int64), ((0, 0), (top, bottom), (left, right), (0, 0)))
        view = np.lib.stride_tricks.sliding_window_view(padded, pool.window, axis=(1, 2))
        view = view[:, :: pool.strides[0], :: pool.strides[1]]
        if not averages:
            return {1: view.max(axis=(-2, -1)).astype(np.float64)}
        return {1: scaled.reference(view.sum(axis=(-2, -1)) - taps * zero_point, multipliers).astype(float)}

    cost = _cost(shape, pool, averages=averages)
    return Workload(s, function, expected, cost, tolerance=0.0)


def _cost(shape: Shape, pool: Pool2d, *, averages: bool) -> Cost:
    """Loads and a store for four channels, and the taps' maxima, those of columns once for all windows that
    share them; of averages a dot product for four taps, and for each result a product, a sum with a shift and
    bounds, and half an instruction that packs.
    """
    pooled, taps = math.prod(pool.output_shape(shape)), math.prod(pool.window)
    moved = (math.prod(shape) + pooled) // 4
    if averages:
        return Cost(instructions=moved + pooled * math.ceil(taps / 4) + 7 * pooled // 2)
    rows, columns = pool.window
    maxima = min(taps - 1, (rows - 1) * pool.strides[1] + columns - 1)
    return Cost(instructions=moved + pooled * maxima // 4)
