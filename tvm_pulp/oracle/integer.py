"""The integer graph in NumPy, bit for bit as the cluster computes it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from tvm_pulp.passes.operators.requantize import (
    Rounding,
    round_half_away,
    round_twice,
    shift_half_even,
)
from tvm_pulp.passes.quantized.graph import (
    Concatenate,
    Lookup,
    Operator,
    Pad,
    Quantize,
    QuantizedAdd,
    QuantizedAveragePool2d,
    QuantizedConv2d,
    QuantizedGraph,
    QuantizedInput,
    QuantizedLinear,
    QuantizedMaxPool2d,
    QuantizedSoftmax,
    QuantizedTensor,
    RescaledAdd,
    Transpose,
    View,
)

Values = Mapping[str, np.ndarray]


def run_integer(graph: QuantizedGraph, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Compute every tensor of an integer graph.

    Parameters
    ----------
    graph : QuantizedGraph
        For any batch size.
    inputs : mapping of str to ndarray
        float32 or the type of the `QuantizedInput`, by name, ``[batch, ...]``; the batch need not be the
        graph's.

    Returns
    -------
    dict of str to ndarray of uint8
        By the names of the tensors.
    """
    values: dict[str, np.ndarray] = {}
    for operator in graph.operators:
        if isinstance(operator, Quantize | QuantizedInput):
            value = inputs[operator.source]
            value = value if operator.axes is None else value.transpose(operator.axes)
            if isinstance(operator, Quantize):
                found = quantize(value, operator.output, operator.rounding, operator.divides)
            else:
                found = (value.astype(np.int32) + 128 * (operator.dtype == "int8")).astype(np.uint8)
        else:
            found = run_operator(operator, values)
        values[operator.output.name] = found
    return values


def run_operator(operator: Operator, values: Values) -> np.ndarray:
    """Compute an operator other than an input from its operands' bytes, by their names."""
    return _EVALUATE[type(operator)](operator, values)


def integer_output(graph: QuantizedGraph, inputs: Mapping[str, np.ndarray]) -> np.ndarray:
    """Compute what an integer graph yields, in its output's type; see `run_integer`."""
    found = run_integer(graph, inputs)[graph.output.name]
    if graph.output_dtype == "float32":
        return dequantize(found, graph.output)
    return (found.astype(np.int32) - 128 * (graph.output_dtype == "int8")).astype(graph.output_dtype)


def quantize(
    values: np.ndarray,
    tensor: QuantizedTensor,
    rounding: Rounding = Rounding.HALF_UP,
    divides: bool = False,
) -> np.ndarray:
    """Quantise float32 values as `Quantize` says; NaN becomes 0.

    All steps are in float32: a product by the rounded reciprocal (or a quotient), and the rounding.
    """
    values, scale = values.astype(np.float32), np.float32(tensor.scale)
    with np.errstate(over="ignore"):  # what exceeds float32 is far out of bounds
        scaled = values / scale if divides else values * np.float32(1.0 / tensor.scale)
    bounded = np.clip(np.nan_to_num(scaled, nan=-np.inf), -256, 512).astype(np.float32)
    if rounding is Rounding.HALF_EVEN:
        rounded = np.rint(bounded)
    elif rounding is Rounding.HALF_AWAY:
        rounded = round_half_away(bounded)
    else:
        rounded = np.floor(bounded + np.float32(0.5))
    return np.clip(rounded.astype(np.int32) + tensor.zero_point, 0, 255).astype(np.uint8)


def dequantize(values: np.ndarray, tensor: QuantizedTensor) -> np.ndarray:
    """Give the float32 numbers that bytes stand for."""
    return (values.astype(np.int32) - tensor.zero_point).astype(np.float32) * np.float32(tensor.scale)


def _conv2d(operator: QuantizedConv2d, values: Values) -> np.ndarray:
    attributes, weight = operator.attributes, operator.weight.astype(np.float64)
    data = _centred(operator.source, values).astype(np.float64)  # sums below 2^53 are exact, and fast by BLAS
    windows = _windows(data, weight.shape[2:], attributes.strides, attributes.padding, attributes.dilation, 0)
    batch, _, height, width = windows.shape[:4]
    groups = attributes.groups
    grouped = windows.reshape(batch, groups, weight.shape[1], height, width, *weight.shape[2:])
    kernels = weight.reshape(groups, -1, *weight.shape[1:])
    sums = np.einsum("bgchwij,gocij->bhwgo", grouped, kernels, optimize=True)
    sums = sums.reshape(batch, height, width, -1).astype(np.int64) + operator.bias
    return operator.requantization.reference(sums, operator.multipliers).transpose(0, 3, 1, 2)


def _linear(operator: QuantizedLinear, values: Values) -> np.ndarray:
    data = _centred(operator.source, values).astype(np.float64)
    sums = (data @ operator.weight.astype(np.float64).T).astype(np.int64) + operator.bias
    return operator.requantization.reference(sums, operator.multipliers)


def _add(operator: QuantizedAdd, values: Values) -> np.ndarray:
    left, right = _centred(operator.left, values), _centred(operator.right, values)
    total = operator.multipliers[0] * left + operator.multipliers[1] * right
    if operator.rounding is Rounding.HALF_EVEN:
        rounded = shift_half_even(total, operator.shift)
    else:
        rounded = (total + (1 << (operator.shift - 1))) >> operator.shift
    shifted = rounded + operator.output.zero_point
    return np.clip(shifted, operator.minimum, operator.maximum).astype(np.uint8)


def _rescaled_add(operator: RescaledAdd, values: Values) -> np.ndarray:
    left, right = (
        round_twice(_centred(tensor, values) << 20, *multiplier)
        for tensor, multiplier in zip((operator.left, operator.right), operator.multipliers, strict=False)
    )
    total = left - right if operator.subtracts else left + right
    shifted = round_twice(total, *operator.multipliers[2]) + operator.output.zero_point
    return np.clip(shifted, operator.minimum, operator.maximum).astype(np.uint8)


def _softmax(operator: QuantizedSoftmax, values: Values) -> np.ndarray:
    data, output = values[operator.source.name].astype(np.int32), operator.output
    terms = operator.table[255 - data.max(axis=-1, keepdims=True) + data]
    total = np.zeros((*data.shape[:-1], 1), np.float32)
    for index in range(data.shape[-1]):  # one after the other, as float sums depend on their order
        total += terms[..., index : index + 1]
    scaled = terms * (np.float32(1) / (total * np.float32(output.scale)))
    rounded = round_half_away(np.minimum(scaled, np.float32(512))).astype(np.int32)
    return np.clip(rounded + output.zero_point, 0, 255).astype(np.uint8)


def _average_pool2d(operator: QuantizedAveragePool2d, values: Values) -> np.ndarray:
    data = _centred(operator.source, values)
    windows = _windows(data, operator.window, operator.strides, operator.padding, (1, 1), 0)
    return operator.requantization.reference(windows.sum(axis=(-2, -1)), operator.multipliers)


def _max_pool2d(operator: QuantizedMaxPool2d, values: Values) -> np.ndarray:
    data = values[operator.source.name]
    windows = _windows(data, operator.window, operator.strides, operator.padding, operator.dilation, 0)
    return windows.max(axis=(-2, -1))


def _view(operator: View, values: Values) -> np.ndarray:
    data = values[operator.source.name]
    batch = operator.source.shape[0]
    shape = (operator.output.shape[0] * data.shape[0] // batch, *operator.output.shape[1:])
    if not operator.channels_last:
        return data.reshape(shape)
    data = data.transpose(_channels_last(data.ndim))
    order = _channels_last(len(shape))
    return data.reshape([shape[axis] for axis in order]).transpose(np.argsort(order))


def _channels_last(rank: int) -> tuple[int, ...]:
    return (0, 2, 3, 1) if rank == 4 else tuple(range(rank))


def _pad(operator: Pad, values: Values) -> np.ndarray:
    widths = list(zip(operator.before, operator.after, strict=True))
    return np.pad(values[operator.source.name], widths, constant_values=operator.source.zero_point)


def _centred(tensor: QuantizedTensor, values: Values) -> np.ndarray:
    return values[tensor.name].astype(np.int64) - tensor.zero_point


def _windows(
    data: np.ndarray,
    window: Any,
    strides: tuple[int, int],
    padding: tuple[int, int, int, int],
    dilation: tuple[int, int],
    value: int,
) -> np.ndarray:
    """Windows of NCHW data: ``[batch, channels, height, width, kh, kw]``."""
    top, left, bottom, right = padding
    data = np.pad(data, ((0, 0), (0, 0), (top, bottom), (left, right)), constant_values=value)
    extents = tuple(step * (taps - 1) + 1 for taps, step in zip(window, dilation, strict=True))
    found = sliding_window_view(data, extents, axis=(2, 3))
    return found[:, :, :: strides[0], :: strides[1], :: dilation[0], :: dilation[1]]


_EVALUATE: dict[type[Operator], Callable[[Any, Values], np.ndarray]] = {
    QuantizedConv2d: _conv2d,
    QuantizedLinear: _linear,
    QuantizedAdd: _add,
    RescaledAdd: _rescaled_add,
    QuantizedSoftmax: _softmax,
    QuantizedAveragePool2d: _average_pool2d,
    QuantizedMaxPool2d: _max_pool2d,
    Lookup: lambda operator, values: operator.table[values[operator.source.name]],
    Concatenate: lambda operator, values: np.concatenate(
        [values[source.name] for source in operator.sources], operator.axis
    ),
    Transpose: lambda operator, values: values[operator.source.name].transpose(operator.axes),
    View: _view,
    Pad: _pad,
}
