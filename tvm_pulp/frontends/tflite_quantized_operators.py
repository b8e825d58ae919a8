"""Operators without weights of int8 TFLite models.

Formulas: TFLite's `kernels/add.cc`, `pooling.cc`, `reduce.cc`, `activations.cc`, `quantize.cc`.
"""

from __future__ import annotations

import numpy as np
from tflite.Pool2DOptions import Pool2DOptions
from tflite.SoftmaxOptions import SoftmaxOptions

from tvm_pulp.frontends.tflite_quantized_elementwise import rescaled
from tvm_pulp.frontends.tflite_quantized_importer import Converter, Importer, Node
from tvm_pulp.frontends.tflite_quantized_layers import (
    activation_bounds,
    window_padding,
)
from tvm_pulp.passes.operators.requantize import (
    Requantization,
    Rounding,
    twice_multiplier,
)
from tvm_pulp.passes.quantized import graph as g
from tvm_pulp.passes.quantized.graph import QuantizedTensor

_ADD_SHIFT = 20


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
    """Average over axes that follow one another: those before, they, and those behind make an image."""
    axes, shape = node.graph.integers(node.inputs[1]), importer.shape(node.inputs[0])
    reduced = sorted({int(axis) % len(shape) for axis in ([] if axes is None else axes.reshape(-1))})
    if not reduced or 0 in reduced or reduced != list(range(reduced[0], reduced[-1] + 1)):
        node.refuse("a mean over the batch, or over axes that do not follow one another, has no integer form")
    source, output = importer.source(node), importer.declared(node.outputs[0])
    before, after = (int(np.prod(part)) for part in (shape[1 : reduced[0]], shape[reduced[-1] + 1 :]))
    height, width = before, int(np.prod(shape[reduced[0] : reduced[-1] + 1]))
    window = (1, width)
    if len(shape) == 4 and reduced == [1, 2]:
        height, width = window = shape[1:3]
    image = (shape[0], after, height, width)
    if source.shape != image:
        view = QuantizedTensor(f"{output.name}_image", image, source.scale, source.zero_point)
        importer.operators.append(g.View(node.layer, view, source, channels_last=True))
        source = view
    count = window[0] * window[1]
    multiplier, shift = twice_multiplier(source.scale / output.scale)
    # the division by the count goes into the multiplier, with as many bits as there are
    bits = min(63 - (64 - count.bit_length()), 32, 31 - shift)
    pair = np.array([(multiplier << bits) // count, shift + bits], np.int32).reshape(2, 1, 1)
    requantization = Requantization(1, output.zero_point, rounding=Rounding.TWICE, own_shifts=True)
    rows = (shape[0], after, height // window[0], 1)
    pooled = QuantizedTensor(f"{output.name}_mean", rows, output.scale, output.zero_point)
    pool = g.QuantizedAveragePool2d(
        node.layer, pooled, source, window, (1, 1), (0, 0, 0, 0), pair, requantization
    )
    importer.operators.append(pool)
    importer.emit(node.outputs[0], g.View(node.layer, output, pooled, channels_last=True))


def _quantize(importer: Importer, node: Node) -> None:
    if node.inputs[0] in importer.floats:
        return importer.quantize_input(node)
    source, output = importer.source(node), importer.declared(node.outputs[0])
    if (source.scale, source.zero_point) != (output.scale, output.zero_point):
        return rescaled(-np.inf, np.inf)(importer, node)
    importer.tensors[node.outputs[0]] = source
    return None


def _dequantize(importer: Importer, node: Node) -> None:
    importer.floats[node.outputs[0]] = importer.source(node)


def _softmax(importer: Importer, node: Node) -> None:
    source, output = importer.source(node), importer.declared(node.outputs[0])
    if len(source.shape) == 4:
        node.refuse("a softmax of images has no integer form")
    beta = np.float32(node.options(SoftmaxOptions).Beta())
    exponents = np.arange(255, -1, -1).astype(np.float32) * (-np.float32(source.scale) * beta)
    table = np.exp(exponents)
    importer.emit(node.outputs[0], g.QuantizedSoftmax(node.layer, output, source, table))


OPERATORS: dict[str, Converter] = {
    "AVERAGE_POOL_2D": _average_pool2d,
    "MAX_POOL_2D": _max_pool2d,
    "MEAN": _mean,
    "SOFTMAX": _softmax,
    "QUANTIZE": _quantize,
    "DEQUANTIZE": _dequantize,
}
