"""Convolutions of bytes with their requantisation, as integer networks have them: channels innermost."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from tvm_pulp.measure.specification import Specification
from tvm_pulp.measure.workloads.workload import Cost, Workload
from tvm_pulp.passes.lowerings.conv2d import is_pointwise
from tvm_pulp.passes.operators.conv2d import Conv2d
from tvm_pulp.passes.operators.kernel import Shape
from tvm_pulp.passes.operators.quantized_conv2d import (
    QuantizedConv2d,
    in_whole_words,
    quantized_conv2d,
)
from tvm_pulp.passes.operators.quantized_depthwise import quantized_depthwise
from tvm_pulp.passes.operators.quantized_matmul import quantized_matmul
from tvm_pulp.passes.operators.requantize import Requantization
from tvm_pulp.target.errors import UserError

_ZERO_POINT = 1


def make_quantized(s: Specification, attributes: Conv2d, data: Shape, weight: Shape) -> Workload:
    """Make the workload of the forward step of a convolution; the shapes are those of the model (NCHW, OIHW).

    Raises
    ------
    UserError
        For gradients.
    """
    depthwise = attributes.groups == data[1] == weight[0] and data[1] > 1
    if s.word("step") != "forward":
        raise UserError(f"'{s.text}': integer networks have no gradients; use float32")
    batch, channels, height, width = data
    outputs, _, *kernel = weight
    geometry = QuantizedConv2d(
        (kernel[0], kernel[1]), attributes.strides, attributes.padding, attributes.dilation, _ZERO_POINT
    )
    halfword = depthwise or tuple(kernel) == (1, 1)  # as `passes/quantized/rules.py` chooses
    # other groups are computed as one convolution, see `passes/quantized/lower_layers.py`
    kept = depthwise or in_whole_words(channels, outputs, attributes.groups)
    groups = attributes.groups if kept else 1
    terms = math.prod(kernel) * channels // groups
    requantization = _requantization(terms, halfword=halfword)
    physical = (batch, height, width, channels)
    if depthwise:
        function = quantized_depthwise("kernel", s.kind, geometry, physical, requantization)
    elif is_pointwise(attributes, weight):
        m = batch * height * width
        function = quantized_matmul("kernel", s.kind, m, outputs, channels, requantization)
    else:
        function = quantized_conv2d("kernel", s.kind, geometry, physical, outputs, requantization, groups)

    def expected(arrays: list[np.ndarray]) -> Mapping[int, np.ndarray]:
        source, weights, (bias, multiplier), result = arrays
        sums = _sums(geometry, source.reshape(physical), weights.reshape(outputs, kernel[0], -1), groups)
        found = requantization.reference(sums + bias, multiplier)
        return {3: found.astype(np.float64).reshape(result.shape)}

    return Workload(s, function, expected, Cost(macs=attributes.macs(data, weight)), tolerance=0.0)


def _requantization(terms: int, *, halfword: bool) -> Requantization:
    """Return the form that networks get which are quantised here, for sums of products of any bytes.

    Its shift spreads the results over a byte: of `terms` products the standard deviation is near
    ``sqrt(terms) * 2^14``, the multipliers are less than 2^15.
    """
    first = max(0, math.ceil(math.log2(terms * 255 * 128 / 32767))) if halfword else 0
    shift = math.ceil(math.log2(math.sqrt(terms)) + 14 + 15 - 8) - first
    return Requantization(shift, short=not halfword, halfword=halfword, first_shift=first)


def _sums(g: QuantizedConv2d, data: np.ndarray, weight: np.ndarray, groups: int) -> np.ndarray:
    """Return the sums of a convolution by packed weights, tap by tap."""
    top, left, bottom, right = g.padding
    pads = ((0, 0), (top, bottom), (left, right), (0, 0))
    padded = np.pad(data.astype(np.int64), pads, constant_values=g.zero_point)
    (rows, columns), channels = g.output_size(*data.shape[1:3]), data.shape[3] // groups
    padded = padded.reshape(*padded.shape[:3], groups, channels)
    weight = weight.reshape(groups, -1, *weight.shape[1:]).astype(np.int64)
    sums = np.zeros((len(data), rows, columns, groups, weight.shape[1]), np.int64)
    for i in range(g.kernel[0]):
        for j in range(g.kernel[1]):
            y, x = i * g.dilation[0], j * g.dilation[1]
            part = padded[:, y : y + (rows - 1) * g.strides[0] + 1 : g.strides[0]]
            part = part[:, :, x : x + (columns - 1) * g.strides[1] + 1 : g.strides[1]]
            tap = weight[:, :, i, j * channels : (j + 1) * channels]
            sums += np.einsum("byxgc,goc->byxgo", part, tap)
    return sums.reshape(*sums.shape[:3], -1)
