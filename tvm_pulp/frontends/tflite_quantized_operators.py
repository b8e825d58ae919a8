"""Operators without weights of int8 TFLite models.

Formulas: TFLite's `kernels/add.cc`, `pooling.cc`, `reduce.cc`, `activations.cc`, `quantize.cc`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from tflite.AddOptions import AddOptions
from tflite.ConcatenationOptions import ConcatenationOptions
from tflite.Pool2DOptions import Pool2DOptions
from tflite.SoftmaxOptions import SoftmaxOptions
from tflite.SubOptions import SubOptions

from tvm_pulp.frontends.tflite_quantized_importer import TO_NCHW, Converter, Importer, Node
from tvm_pulp.frontends.tflite_quantized_layers import (
    activation_bounds,
    integer_bound,
    window_padding,
)
from tvm_pulp.passes.operators.requantize import (
    Requantization,
    Rounding,
    round_half_away,
    round_twice,
    twice_multiplier,
)
from tvm_pulp.passes.quantized import graph as g
from tvm_pulp.passes.quantized.graph import QuantizedTensor

_ADD_SHIFT = 20


def _add(subtracts: bool, kind: Callable[[], Any]) -> Converter:
    def convert(importer: Importer, node: Node) -> None:
        left, right = importer.source(node, 0), importer.source(node, 1)
        output = importer.declared(node.outputs[0])
        if left.shape != right.shape:
            node.refuse("it broadcasts, which has no integer form: give both operands one shape")
        largest = 2 * max(left.scale, right.scale)
        ratios = left.scale / largest, right.scale / largest, largest / (2**_ADD_SHIFT * output.scale)
        first, second, last = (twice_multiplier(ratio) for ratio in ratios)
        bounds = activation_bounds(node, node.options(kind).FusedActivationFunction(), output)
        total = g.RescaledAdd(node.layer, output, left, right, (first, second, last), subtracts, *bounds)
        importer.emit(node.outputs[0], total)

    return convert


def _average_pool2d(importer: Importer, node: Node) -> None:
    source, output = importer.source(node), importer.declared(node.outputs[0])
    window, strides, padding, bounds = _window(node, source, output)
    if (source.scale, source.zero_point) != (output.scale, output.zero_point):
        node.refuse("its result has another scale than its data")
    counts = _counts(source.shape[2:], window, strides, padding)
    if (counts == counts.flat[0]).all():
        counts = counts[:1, :1]
    # multipliers just above 1 / count give the very integers: see `test_averages_are_exact`
    shift = 30
    multipliers = -(-(1 << shift) // counts.astype(np.int64)).astype(np.int32)
    # the mean is of the signed bytes, whatever they stand for
    centred = QuantizedTensor(source.name, source.shape, source.scale, 128)
    requantization = Requantization(shift, 128, *bounds, rounding=Rounding.HALF_AWAY)
    pool = g.QuantizedAveragePool2d(
        node.layer, output, centred, window, strides, padding, multipliers, requantization
    )
    importer.emit(node.outputs[0], pool)


def _max_pool2d(importer: Importer, node: Node) -> None:
    source, output = importer.source(node), importer.declared(node.outputs[0])
    window, strides, padding, (low, high) = _window(node, source, output)
    result = QuantizedTensor(f"{output.name}_max", output.shape, output.scale, output.zero_point)
    bounded = (low, high) != (0, 255)
    pool = g.QuantizedMaxPool2d(
        node.layer, result if bounded else output, source, window, strides, padding, (1, 1)
    )
    importer.emit(node.outputs[0], pool)
    if bounded:
        table = np.clip(np.arange(256), low, high).astype(np.uint8)
        importer.emit(node.outputs[0], g.Lookup(node.layer, output, result, table))


def _window(
    node: Node, source: QuantizedTensor, output: QuantizedTensor
) -> tuple[tuple[int, int], tuple[int, int], tuple[int, int, int, int], tuple[int, int]]:
    """Window, strides, padding and bounds of a pooling."""
    options = node.options(Pool2DOptions)
    window = options.FilterHeight(), options.FilterWidth()
    strides = options.StrideH(), options.StrideW()
    padding = window_padding(options.Padding(), source.shape[2:], window, strides, (1, 1))
    return window, strides, padding, activation_bounds(node, options.FusedActivationFunction(), output)


def _counts(
    extents: tuple[int, ...],
    window: tuple[int, int],
    strides: tuple[int, int],
    padding: tuple[int, int, int, int],
) -> np.ndarray:
    """Elements that lie inside the data in each window: ``[output height, output width]``."""
    top, left, bottom, right = padding
    ones = np.pad(np.ones(extents), ((top, bottom), (left, right)))
    windows = np.lib.stride_tricks.sliding_window_view(ones, window)
    return windows[:: strides[0], :: strides[1]].sum(axis=(-2, -1))


def _mean(importer: Importer, node: Node) -> None:
    source, output = importer.source(node), importer.declared(node.outputs[0])
    axes, rank = node.graph.integers(node.inputs[1]), len(source.shape)
    if axes is None or rank != 4 or sorted(int(axis) % 4 for axis in axes.reshape(-1)) != [1, 2]:
        node.refuse("a mean over other axes than height and width has no integer form")
    height, width = source.shape[2:]
    count = height * width
    multiplier, shift = twice_multiplier(source.scale / output.scale)
    # the division by the count goes into the multiplier, with as many bits as there are
    bits = min(63 - (64 - count.bit_length()), 32, 31 - shift)
    pair = np.array([(multiplier << bits) // count, shift + bits], np.int32).reshape(2, 1, 1)
    requantization = Requantization(1, output.zero_point, rounding=Rounding.TWICE, own_shifts=True)
    pooled = QuantizedTensor(
        f"{output.name}_mean", (*source.shape[:2], 1, 1), output.scale, output.zero_point
    )
    pool = g.QuantizedAveragePool2d(
        node.layer, pooled, source, (height, width), (1, 1), (0, 0, 0, 0), pair, requantization
    )
    importer.operators.append(pool)
    importer.emit(node.outputs[0], g.View(node.layer, output, pooled, channels_last=True))


def _pad(importer: Importer, node: Node) -> None:
    source, output = importer.source(node), importer.declared(node.outputs[0])
    widths = node.graph.integers(node.inputs[1])
    if widths is None:
        node.refuse("its widths are computed at run time: make them constant")
    if len(node.inputs) > 2:
        value = node.graph.integers(node.inputs[2])
        signed = node.graph.dtype(node.inputs[2]) == "INT8"
        if value is None or int(value.reshape(())) + 128 * signed != source.zero_point:
            node.refuse("it pads by another value than 0")
    pairs = widths.astype(int)
    if len(source.shape) == 4:
        pairs = pairs[list(TO_NCHW)]
    before, after = (tuple(int(width) for width in pairs[:, side]) for side in (0, 1))
    importer.padded[node.outputs[0]] = g.Pad(node.layer, output, source, before, after)


def _view(importer: Importer, node: Node) -> None:
    source, output = importer.source(node), importer.declared(node.outputs[0])
    importer.emit(node.outputs[0], g.View(node.layer, output, source, channels_last=True))


def _concatenation(importer: Importer, node: Node) -> None:
    output = importer.declared(node.outputs[0])
    sources = tuple(importer.source(node, position) for position in range(len(node.inputs)))
    if any((s.scale, s.zero_point) != (output.scale, output.zero_point) for s in sources):
        node.refuse("its operands have other scales than its result")
    axis = node.options(ConcatenationOptions).Axis() % len(output.shape)
    if len(output.shape) == 4:
        axis = TO_NCHW.index(axis)
    importer.emit(node.outputs[0], g.Concatenate(node.layer, output, sources, axis))


def _rescaled(low: float, high: float) -> Converter:
    """A change of scale, with bounds."""

    def convert(importer: Importer, node: Node) -> None:
        source, output = importer.source(node), importer.declared(node.outputs[0])
        bounds = integer_bound(low, output, 0), integer_bound(high, output, 255)
        pair = twice_multiplier(source.scale / output.scale)
        values = round_twice(np.arange(256) - source.zero_point, *pair) + output.zero_point
        table = np.clip(values, *bounds).astype(np.uint8)
        importer.emit(node.outputs[0], g.Lookup(node.layer, output, source, table))

    return convert


def _quantize(importer: Importer, node: Node) -> None:
    if node.inputs[0] in importer.floats:
        return importer.quantize_input(node)
    source, output = importer.source(node), importer.declared(node.outputs[0])
    if (source.scale, source.zero_point) != (output.scale, output.zero_point):
        return _rescaled(-np.inf, np.inf)(importer, node)
    importer.tensors[node.outputs[0]] = source
    return None


def _dequantize(importer: Importer, node: Node) -> None:
    importer.floats[node.outputs[0]] = importer.source(node)


def _function(compute: Callable[[np.ndarray], np.ndarray]) -> Converter:
    """A table of a function in float32, halves away from zero."""

    def convert(importer: Importer, node: Node) -> None:
        source, output = importer.source(node), importer.declared(node.outputs[0])
        scaled = compute(source.values(np.float32)) * (np.float32(1) / np.float32(output.scale))
        table = np.clip(round_half_away(scaled) + output.zero_point, 0, 255).astype(np.uint8)
        importer.emit(node.outputs[0], g.Lookup(node.layer, output, source, table))

    return convert


def _softmax(importer: Importer, node: Node) -> None:
    source, output = importer.source(node), importer.declared(node.outputs[0])
    if len(source.shape) == 4:
        node.refuse("a softmax of images has no integer form")
    beta = np.float32(node.options(SoftmaxOptions).Beta())
    exponents = np.arange(255, -1, -1).astype(np.float32) * (-np.float32(source.scale) * beta)
    table = np.exp(exponents)
    importer.emit(node.outputs[0], g.QuantizedSoftmax(node.layer, output, source, table))


def _sigmoid(x: np.ndarray) -> np.ndarray:
    return np.float32(1) / (np.float32(1) + np.exp(-x))


OPERATORS: dict[str, Converter] = {
    "ADD": _add(False, AddOptions),
    "SUB": _add(True, SubOptions),
    "AVERAGE_POOL_2D": _average_pool2d,
    "MAX_POOL_2D": _max_pool2d,
    "MEAN": _mean,
    "PAD": _pad,
    "PADV2": _pad,
    "RESHAPE": _view,
    "SQUEEZE": _view,
    "EXPAND_DIMS": _view,
    "CONCATENATION": _concatenation,
    "RELU": _rescaled(0.0, np.inf),
    "RELU6": _rescaled(0.0, 6.0),
    "RELU_N1_TO_1": _rescaled(-1.0, 1.0),
    "LOGISTIC": _function(_sigmoid),
    "TANH": _function(np.tanh),
    "SOFTMAX": _softmax,
    "QUANTIZE": _quantize,
    "DEQUANTIZE": _dequantize,
}
