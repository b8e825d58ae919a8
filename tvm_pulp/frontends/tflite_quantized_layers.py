"""Layers with weights of int8 TFLite models: convolutions and fully connected layers.

Formulas: TFLite's `kernels/kernel_util.cc` and `kernels/internal/quantization_util.cc`.
"""

from __future__ import annotations

import numpy as np
from tflite.ActivationFunctionType import ActivationFunctionType
from tflite.Conv2DOptions import Conv2DOptions
from tflite.DepthwiseConv2DOptions import DepthwiseConv2DOptions
from tflite.FullyConnectedOptions import FullyConnectedOptions
from tflite.Padding import Padding

from tvm_pulp.frontends.tflite_quantized_importer import Converter, Importer, Node
from tvm_pulp.passes.operators.conv2d import Conv2d
from tvm_pulp.passes.operators.requantize import Requantization, Rounding, round_half_away, twice_multiplier
from tvm_pulp.passes.quantized import graph as g
from tvm_pulp.passes.quantized.graph import QuantizedTensor
from tvm_pulp.passes.quantized.parameters import largest_sums

_ACTIVATIONS = {
    ActivationFunctionType.NONE: (-np.inf, np.inf),
    ActivationFunctionType.RELU: (0.0, np.inf),
    ActivationFunctionType.RELU_N1_TO_1: (-1.0, 1.0),
    ActivationFunctionType.RELU6: (0.0, 6.0),
}


def activation_bounds(node: Node, function: int, output: QuantizedTensor) -> tuple[int, int]:
    """Bounds of a fused activation function in bytes."""
    if function not in _ACTIVATIONS:
        node.refuse(f"its activation function number {function} is not supported: use ReLU or ReLU6")
    low, high = _ACTIVATIONS[function]
    return integer_bound(low, output, 0), integer_bound(high, output, 255)


def integer_bound(bound: float, output: QuantizedTensor, otherwise: int) -> int:
    """Byte of a bound, rounded as TFLite does, halves away from zero."""
    if np.isinf(bound):
        return otherwise
    rounded = int(round_half_away(np.asarray(bound, np.float32) / np.float32(output.scale)))
    return min(max(rounded + output.zero_point, 0), 255)


def window_padding(
    mode: int,
    extents: tuple[int, ...],
    window: tuple[int, int],
    strides: tuple[int, int],
    dilation: tuple[int, int],
) -> tuple[int, int, int, int]:
    """Padding (top, left, bottom, right) of TFLite's SAME or VALID."""
    if mode == Padding.VALID:
        return 0, 0, 0, 0
    totals = [
        max(0, (-(-extent // stride) - 1) * stride + (taps - 1) * step + 1 - extent)
        for extent, taps, stride, step in zip(extents, window, strides, dilation, strict=True)
    ]
    top, left = (total // 2 for total in totals)
    return top, left, totals[0] - top, totals[1] - left


def rescaling(
    node: Node, ratios: np.ndarray, largest: np.ndarray, output: QuantizedTensor, bounds: tuple[int, int]
) -> tuple[np.ndarray, Requantization]:
    """Multipliers and requantisation by ratios of scales, as TFLite's reference kernels have them.

    They round the sums of convolutions twice, those of fully connected layers once.
    """
    pairs = np.array([twice_multiplier(float(ratio)) for ratio in ratios], np.int32).T
    if (largest * 2.0 ** np.maximum(-pairs[1], 0) >= 2**31).any():
        node.refuse("its output has a finer scale than its sums, which may overflow 32 bits")
    if node.kind != "FULLY_CONNECTED":
        # kernels may add half the divisor in 32 bits if all shifts are known to be to the right
        half = 2.0 ** pairs[1]
        to_the_right, spare = (
            bool((pairs[1] > 0).all() and (total + half < 2**31).all())
            for total in (largest, 2 * largest + 2)
        )
        twice = Requantization(
            int(to_the_right), output.zero_point, *bounds, rounding=Rounding.TWICE, own_shifts=True,
            spare_bit=spare,
        )  # fmt: skip
        return np.ascontiguousarray(pairs), twice
    shifts = pairs[1] + 31
    if (shifts == shifts[0]).all():
        return pairs[0].copy(), Requantization(int(shifts[0]), output.zero_point, *bounds)
    once = Requantization(int(shifts.min()), output.zero_point, *bounds, own_shifts=True)
    return np.stack([pairs[0], shifts]).astype(np.int32), once


def _conv2d(importer: Importer, node: Node) -> None:
    options = node.options(Conv2DOptions)
    weight, scales = _weight(node, 0)
    _convolution(importer, node, options, weight.transpose(0, 3, 1, 2), scales, 1)


def _depthwise_conv2d(importer: Importer, node: Node) -> None:
    options = node.options(DepthwiseConv2DOptions)
    weight, scales = _weight(node, 3)
    channels = node.graph.shape(node.inputs[0])[3]
    _convolution(importer, node, options, weight.transpose(3, 0, 1, 2), scales, channels)


def _convolution(
    importer: Importer,
    node: Node,
    options: Conv2DOptions | DepthwiseConv2DOptions,
    weight: np.ndarray,
    scales: np.ndarray,
    groups: int,
) -> None:
    source, padding = _taken_padding(importer, node, options)
    groups = groups if groups > 1 else source.shape[1] // weight.shape[1]
    strides = options.StrideH(), options.StrideW()
    dilation = options.DilationHFactor(), options.DilationWFactor()
    if padding is None:
        padding = window_padding(options.Padding(), source.shape[2:], weight.shape[2:], strides, dilation)
    attributes = Conv2d(strides, padding, dilation, groups)
    output = importer.declared(node.outputs[0])
    bias, multipliers, requantization = _sums(node, source, weight, scales, output, options)
    importer.emit(
        node.outputs[0],
        g.QuantizedConv2d(
            node.layer,
            output,
            source,
            attributes,
            np.ascontiguousarray(weight),
            bias,
            multipliers,
            requantization,
        ),
    )


def _taken_padding(
    importer: Importer, node: Node, options: Conv2DOptions | DepthwiseConv2DOptions
) -> tuple[QuantizedTensor, tuple[int, int, int, int] | None]:
    """What a convolution reads, and the padding that it takes in from an operator before it."""
    pad = importer.padded.get(node.inputs[0])
    if pad is None or options.Padding() != Padding.VALID or any((*pad.before[:2], *pad.after[:2])):
        return importer.source(node), None
    (top, left), (bottom, right) = pad.before[2:], pad.after[2:]
    return pad.source, (top, left, bottom, right)


def _fully_connected(importer: Importer, node: Node) -> None:
    options = node.options(FullyConnectedOptions)
    source, (weight, scales) = importer.source(node), _weight(node, 0)
    output = importer.declared(node.outputs[0])
    features = weight.shape[1]
    rows = int(np.prod(source.shape)) // features
    if source.shape != (rows, features):
        flat = QuantizedTensor(f"{output.name}_input", (rows, features), source.scale, source.zero_point)
        importer.operators.append(g.View(node.layer, flat, source, channels_last=True))
        source = flat
    bias, multipliers, requantization = _sums(node, source, weight, scales, output, options)
    result = output
    if output.shape != (rows, len(weight)):
        result = QuantizedTensor(f"{output.name}_rows", (rows, len(weight)), output.scale, output.zero_point)
    layer = g.QuantizedLinear(node.layer, result, source, weight, bias, multipliers, requantization)
    importer.emit(node.outputs[0], layer)
    if result is not output:
        importer.emit(node.outputs[0], g.View(node.layer, output, result, channels_last=True))


def _weight(node: Node, axis: int) -> tuple[np.ndarray, np.ndarray]:
    """Integers and scales, one for each output channel, of a layer's weight."""
    index, graph = node.inputs[1], node.graph
    weight = graph.integers(index)
    if weight is None or weight.dtype != np.int8:
        node.refuse("its weight is not a constant of int8: convert the model with full integer quantisation")
    scales, zero_points, stored_axis = graph.quantization(index)
    if zero_points.any():
        node.refuse("its weight has a zero point: quantise weights symmetrically")
    channels = weight.shape[axis]
    if len(scales) not in (1, channels) or (len(scales) > 1 and stored_axis != axis):
        node.refuse(f"its weight has {len(scales)} scales for {channels} output channels")
    return weight, np.broadcast_to(scales, channels)


def _sums(
    node: Node,
    source: QuantizedTensor,
    weight: np.ndarray,
    scales: np.ndarray,
    output: QuantizedTensor,
    options: Conv2DOptions | DepthwiseConv2DOptions | FullyConnectedOptions,
) -> tuple[np.ndarray, np.ndarray, Requantization]:
    """Bias, multipliers and requantisation of a layer."""
    index = node.inputs[2] if len(node.inputs) > 2 else -1
    bias = np.zeros(len(weight), np.int32) if index < 0 else node.graph.integers(index)
    if bias is None or bias.dtype != np.int32:
        node.refuse("its bias is not a constant of int32")
    rows = weight.reshape(len(weight), -1).astype(np.int64)
    largest = largest_sums(rows, bias.astype(np.int64), source.zero_point, node.layer)
    ratios = np.float64(source.scale) * scales.astype(np.float64) / output.scale
    bounds = activation_bounds(node, options.FusedActivationFunction(), output)
    return bias, *rescaling(node, ratios, largest, output, bounds)


LAYERS: dict[str, Converter] = {
    "CONV_2D": _conv2d,
    "DEPTHWISE_CONV_2D": _depthwise_conv2d,
    "FULLY_CONNECTED": _fully_connected,
}
