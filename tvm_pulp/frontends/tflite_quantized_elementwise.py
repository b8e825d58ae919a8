"""Elementwise operators of int8 TFLite models: two tensors that broadcast, and functions of one.

Formulas: TFLite's `kernels/add.cc`, `mul.cc`, `activations.cc`, `hard_swish.cc`,
`internal/reference/hard_swish.h`, `leaky_relu.h`, `integer_ops/mul.h`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from tflite.AddOptions import AddOptions
from tflite.LeakyReluOptions import LeakyReluOptions
from tflite.MulOptions import MulOptions
from tflite.SubOptions import SubOptions

from tvm_pulp.frontends.tflite_quantized_importer import Converter, Importer, Node
from tvm_pulp.frontends.tflite_quantized_layers import activation_bounds, integer_bound
from tvm_pulp.passes.operators.requantize import (
    Requantization,
    Rounding,
    round_half_away,
    round_twice,
    twice_multiplier,
)
from tvm_pulp.passes.quantized import graph as g
from tvm_pulp.passes.quantized.elementwise_operators import ChannelLookup, QuantizedMultiply
from tvm_pulp.passes.quantized.graph import QuantizedTensor

_ADD_SHIFT = 20
_CENTRED = np.arange(256)


def _operands(importer: Importer, node: Node) -> tuple[QuantizedTensor, QuantizedTensor]:
    """Both operands with as many axes as the result."""
    rank = len(importer.shape(node.outputs[0]))
    return importer.operand(node, 0, rank), importer.operand(node, 1, rank)


def _add(subtracts: bool, kind: Callable[[], Any]) -> Converter:
    def convert(importer: Importer, node: Node) -> None:
        left, right = _operands(importer, node)
        output = importer.declared(node.outputs[0])
        largest = 2 * max(left.scale, right.scale)
        ratios = left.scale / largest, right.scale / largest, largest / (2**_ADD_SHIFT * output.scale)
        first, second, last = (twice_multiplier(ratio) for ratio in ratios)
        bounds = activation_bounds(node, node.options(kind).FusedActivationFunction(), output)
        total = g.RescaledAdd(node.layer, output, left, right, (first, second, last), subtracts, *bounds)
        importer.emit(node.outputs[0], total)

    return convert


def _multiply(importer: Importer, node: Node) -> None:
    left, right = _operands(importer, node)
    output = importer.declared(node.outputs[0])
    bounds = activation_bounds(node, node.options(MulOptions).FusedActivationFunction(), output)
    multiplier, shift = twice_multiplier(left.scale * right.scale / output.scale)
    if 2 ** (16 + max(-shift, 0)) >= 2**31:
        node.refuse("its output has a finer scale than its products, which may overflow 32 bits")
    scaled = Requantization(
        int(shift > 0), output.zero_point, *bounds, rounding=Rounding.TWICE, own_shifts=True
    )
    importer.emit(
        node.outputs[0], QuantizedMultiply(node.layer, output, left, right, multiplier, shift, scaled)
    )


def rescaled(low: float, high: float) -> Converter:
    """A change of scale, with bounds."""

    def convert(importer: Importer, node: Node) -> None:
        source, output = importer.source(node), importer.declared(node.outputs[0])
        bounds = integer_bound(low, output, 0), integer_bound(high, output, 255)
        pair = twice_multiplier(source.scale / output.scale)
        values = round_twice(np.arange(256) - source.zero_point, *pair) + output.zero_point
        table = np.clip(values, *bounds).astype(np.uint8)
        importer.emit(node.outputs[0], g.Lookup(node.layer, output, source, table))

    return convert


def _function(compute: Callable[[np.ndarray], np.ndarray]) -> Converter:
    """A table of a function in float32, halves away from zero."""

    def convert(importer: Importer, node: Node) -> None:
        source, output = importer.source(node), importer.declared(node.outputs[0])
        scaled = compute(source.values(np.float32)) * (np.float32(1) / np.float32(output.scale))
        table = np.clip(round_half_away(scaled) + output.zero_point, 0, 255).astype(np.uint8)
        importer.emit(node.outputs[0], g.Lookup(node.layer, output, source, table))

    return convert


def _leaky_relu(importer: Importer, node: Node) -> None:
    source, output = importer.source(node), importer.declared(node.outputs[0])
    alpha = float(node.options(LeakyReluOptions).Alpha())
    ratios = source.scale / output.scale, source.scale * alpha / output.scale
    table = _two_slopes(source, output, *ratios, 1)
    importer.emit(node.outputs[0], g.Lookup(node.layer, output, source, table))


def _prelu(importer: Importer, node: Node) -> None:
    source, output = importer.source(node), importer.declared(node.outputs[0])
    index, channels = node.inputs[1], importer.shape(node.inputs[0])[-1]
    slopes = node.graph.integers(index)
    if slopes is None or slopes.size != channels:
        node.refuse("its slopes are not one constant a channel: share them over the other axes")
    scale, zero_point = importer.quantization(index)
    centred = slopes.reshape(-1).astype(np.int64) + 128 * (slopes.dtype == np.int8) - zero_point
    ratio, negative = source.scale / output.scale, source.scale * scale / output.scale
    tables = [_two_slopes(source, output, ratio, negative, int(slope)) for slope in centred]
    importer.emit(node.outputs[0], ChannelLookup(node.layer, output, source, np.stack(tables)))


def _two_slopes(
    source: QuantizedTensor, output: QuantizedTensor, ratio: float, negative: float, slope: int
) -> np.ndarray:
    """Table of a function with one ratio of scales above 0, and another one times an integer below."""
    data = _CENTRED - source.zero_point
    above = round_twice(data, *twice_multiplier(ratio))
    below = round_twice(data * slope, *twice_multiplier(negative))
    return np.clip(np.where(data >= 0, above, below) + output.zero_point, 0, 255).astype(np.uint8)


def _hard_swish(importer: Importer, node: Node) -> None:
    """``x * relu6(x + 3) / 6`` in 16 bits."""
    source, output = importer.source(node), importer.declared(node.outputs[0])
    fine = np.float32(1 / 128) * np.float32(source.scale)
    multiplier, shift = _short_multiplier(float(fine / np.float32(output.scale)))
    gate_multiplier, gate_shift = _short_multiplier(float(fine / np.float32(3 / 32768)))
    if shift < 0:
        node.refuse("its output has a finer scale than 1/128 of its data's, which TFLite does not compute")
    data = (_CENTRED - source.zero_point) * 128
    scaled = _high_product(data, multiplier)
    gate = _saturated(data << max(-gate_shift - 1, 0))
    gate = _high_product(gate, gate_multiplier)
    gate = _saturated(gate << int(gate_shift < 0))
    gate = _divided(gate, max(gate_shift, 0))
    gate = (gate + (1 << 15)) >> 1
    product = np.trunc(gate * scaled / 2**15).astype(np.int64)  # below 2^53: exact
    values = _divided(product, shift) + output.zero_point
    table = np.clip(values, 0, 255).astype(np.uint8)
    importer.emit(node.outputs[0], g.Lookup(node.layer, output, source, table))


def _short_multiplier(scale: float) -> tuple[int, int]:
    """Multiplier of 16 bits and shift to the right, as `DownScaleInt32ToInt16Multiplier` makes them."""
    multiplier, shift = twice_multiplier(scale)
    return min((multiplier + (1 << 15)) >> 16, 2**15 - 1), shift


def _high_product(values: np.ndarray, multiplier: int) -> np.ndarray:
    """``SaturatingRoundingDoublingHighMul`` of gemmlowp for 16 bits, which divides towards 0."""
    product = values.astype(np.int64) * multiplier
    nudged = product + np.where(product >= 0, 1 << 14, 1 - (1 << 14))
    return np.where(nudged >= 0, nudged >> 15, -((-nudged) >> 15))


def _saturated(values: np.ndarray) -> np.ndarray:
    return np.clip(values, -(2**15), 2**15 - 1)


def _divided(values: np.ndarray, shift: int) -> np.ndarray:
    """``RoundingDivideByPOT``: halves away from 0."""
    half = (1 << shift) >> 1
    return (values + half - ((values < 0) & (shift > 0))) >> shift


def _sigmoid(x: np.ndarray) -> np.ndarray:
    return np.float32(1) / (np.float32(1) + np.exp(-x))


ELEMENTWISE: dict[str, Converter] = {
    "ADD": _add(False, AddOptions),
    "SUB": _add(True, SubOptions),
    "MUL": _multiply,
    "RELU": rescaled(0.0, np.inf),
    "RELU6": rescaled(0.0, 6.0),
    "RELU_N1_TO_1": rescaled(-1.0, 1.0),
    "LEAKY_RELU": _leaky_relu,
    "PRELU": _prelu,
    "HARD_SWISH": _hard_swish,
    "LOGISTIC": _function(_sigmoid),
    "TANH": _function(np.tanh),
}
