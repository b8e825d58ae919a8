"""The integer graph in NumPy, bit for bit as the cluster computes it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from tvm_pulp.passes.quantized.graph import (
    Concatenate,
    Lookup,
    Operator,
    Quantize,
    QuantizedAdd,
    QuantizedAveragePool2d,
    QuantizedConv2d,
    QuantizedGraph,
    QuantizedLinear,
    QuantizedMaxPool2d,
    QuantizedTensor,
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
    inputs : mapping of str to ndarray of float32
        By name, ``[batch, ...]``; the batch need not be the graph's.

    Returns
    -------
    dict of str to ndarray of uint8
        By the names of the tensors.
    """
    values: dict[str, np.ndarray] = {}
    for operator in graph.operators:
        if isinstance(operator, Quantize):
            values[operator.output.name] = quantize(inputs[operator.source], operator.output)
        else:
            values[operator.output.name] = _EVALUATE[type(operator)](operator, values)
    return values


def quantize(values: np.ndarray, tensor: QuantizedTensor) -> np.ndarray:
    """Quantise float32 values as `Quantize` says; NaN becomes 0.

    All steps are in float32: a product by the rounded reciprocal, half added, rounded down.
    """
    with np.errstate(over="ignore"):  # what exceeds float32 is far out of bounds
        scaled = values.astype(np.float32) * np.float32(1.0 / tensor.scale)
    bounded = np.clip(np.nan_to_num(scaled, nan=-np.inf), -256, 512).astype(np.float32)
    rounded = np.floor(bounded + np.float32(0.5)).astype(np.int32)
    return np.clip(rounded + tensor.zero_point, 0, 255).astype(np.uint8)


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
    rounded = (total + (1 << (operator.shift - 1))) >> operator.shift
    shifted = rounded + operator.output.zero_point
    return np.clip(shifted, operator.minimum, operator.maximum).astype(np.uint8)


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
    shape = operator.output.shape
    return data.reshape(shape[0] * data.shape[0] // batch, *shape[1:])


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
    QuantizedAveragePool2d: _average_pool2d,
    QuantizedMaxPool2d: _max_pool2d,
    Lookup: lambda operator, values: operator.table[values[operator.source.name]],
    Concatenate: lambda operator, values: np.concatenate(
        [values[source.name] for source in operator.sources], operator.axis
    ),
    Transpose: lambda operator, values: values[operator.source.name].transpose(operator.axes),
    View: _view,
}
