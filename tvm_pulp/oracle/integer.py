"""The integer graph in NumPy, bit for bit as the cluster computes it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from tvm_pulp.oracle.integer_layers import (
    Values,
    centred,
    dequantize,
    layer_sums,
    run_float_operator,
    windows,
)
from tvm_pulp.passes.operators.quantized_add import rounded_sums
from tvm_pulp.passes.operators.requantize import Rounding, round_half_away
from tvm_pulp.passes.operators.rescaled_add import rescaled_sums
from tvm_pulp.passes.quantized.elementwise_operators import ChannelLookup, Constant, QuantizedMultiply
from tvm_pulp.passes.quantized.graph import (
    Concatenate,
    FloatOperator,
    FloatTensor,
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
from tvm_pulp.passes.quantized.movement_operators import ResizeNearest, Slice


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
    dict of str to ndarray of uint8, or float32 of a `FloatTensor`
        By the names of the tensors. PyTorch computes `FloatLayers`.
    """
    values: dict[str, np.ndarray] = {}
    floats: dict[str, np.ndarray] = dict(inputs)
    for operator in graph.operators:
        if isinstance(operator, FloatOperator):
            floats[operator.output.name] = run_float_operator(operator, values, floats)
            continue
        if isinstance(operator, Quantize | QuantizedInput):
            value = floats[operator.source]
            value = value if operator.axes is None else value.transpose(operator.axes)
            if isinstance(operator, Quantize):
                found = quantize(value, operator.output, operator.rounding, operator.divides)
            else:
                found = (value.astype(np.int32) + 128 * (operator.dtype == "int8")).astype(np.uint8)
        else:
            found = run_operator(operator, values)
        values[operator.output.name] = found
    return values | {
        o.output.name: floats[o.output.name] for o in graph.operators if isinstance(o, FloatOperator)
    }


def run_operator(operator: Operator, values: Values) -> np.ndarray:
    """Compute an operator other than an input from its operands' bytes, by their names."""
    return _EVALUATE[type(operator)](operator, values)


def integer_output(graph: QuantizedGraph, inputs: Mapping[str, np.ndarray]) -> np.ndarray:
    """Compute what an integer graph yields, in its output's type; see `run_integer`."""
    found = run_integer(graph, inputs)[graph.output.name]
    if isinstance(graph.output, FloatTensor):
        return found
    if graph.output_dtype == "float32":
        return dequantize(found, graph.output)
    return (found.astype(np.int32) - 128 * (graph.output_dtype == "int8")).astype(graph.output_dtype)


def quantize(
    values: np.ndarray,
    tensor: QuantizedTensor,
    rounding: Rounding = Rounding.HALF_UP,
    divides: bool = False,
) -> np.ndarray:
    """Quantise float32 values as `Quantize` says.

    Products by the float32 nearest to the reciprocal scale are rounded once, halves up, as UINT-Q rounds; NaN
    becomes 255. All other steps are in float32, a quotient, and its rounding; there NaN becomes 0.
    """
    values, scale = values.astype(np.float32), np.float32(tensor.scale)
    if rounding is Rounding.HALF_UP and not divides:
        known = np.where(np.isnan(values), np.inf, values.astype(np.float64))
        product = known * np.float32(1.0 / tensor.scale)
        return np.clip(np.floor(product + 0.5) + tensor.zero_point, 0, 255).astype(np.uint8)
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


def _layer(operator: QuantizedConv2d | QuantizedLinear, values: Values) -> np.ndarray:
    bytes_ = operator.requantization.reference(layer_sums(operator, values), operator.multipliers)
    return bytes_.transpose(0, 3, 1, 2) if bytes_.ndim == 4 else bytes_


def _add(operator: QuantizedAdd, values: Values) -> np.ndarray:
    return rounded_sums(
        centred(operator.left, values),
        centred(operator.right, values),
        operator.multipliers,
        operator.shift,
        operator.output.zero_point,
        (operator.minimum, operator.maximum),
        operator.rounding,
    )


def _rescaled_add(operator: RescaledAdd, values: Values) -> np.ndarray:
    return rescaled_sums(
        centred(operator.left, values),
        centred(operator.right, values),
        operator.multipliers,
        operator.output.zero_point,
        (operator.minimum, operator.maximum),
        operator.subtracts,
    )


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
    data = centred(operator.source, values)
    found = windows(data, operator.window, operator.strides, operator.padding, (1, 1), 0)
    return operator.requantization.reference(found.sum(axis=(-2, -1)), operator.multipliers)


def _max_pool2d(operator: QuantizedMaxPool2d, values: Values) -> np.ndarray:
    data = values[operator.source.name]
    found = windows(data, operator.window, operator.strides, operator.padding, operator.dilation, 0)
    return found.max(axis=(-2, -1))


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


def _slice(operator: Slice, values: Values) -> np.ndarray:
    ranges = zip(operator.start, operator.strides, operator.output.shape, strict=True)
    places = tuple(slice(first, first + (count - 1) * step + 1, step) for first, step, count in ranges)
    return values[operator.source.name][(slice(None), *places[1:])]


def _resize_nearest(operator: ResizeNearest, values: Values) -> np.ndarray:
    rows, columns = (
        (np.arange(extent) * a + b) // c
        for extent, (a, b, c) in zip(
            operator.output.shape[2:], (operator.rows, operator.columns), strict=True
        )
    )
    return values[operator.source.name][:, :, rows[:, None], columns]


def _channel_lookup(operator: ChannelLookup, values: Values) -> np.ndarray:
    data = values[operator.source.name]
    channel_axis = 1 if data.ndim == 4 else data.ndim - 1
    shape = [-1 if axis == channel_axis else 1 for axis in range(data.ndim)]
    return operator.tables[np.arange(len(operator.tables)).reshape(shape), data]


def _multiply(operator: QuantizedMultiply, values: Values) -> np.ndarray:
    products = centred(operator.left, values) * centred(operator.right, values)
    own = operator.requantization.own_shifts
    multiplier = np.array([operator.multiplier, operator.shift] if own else operator.multiplier)
    return operator.requantization.reference(products, multiplier)


_EVALUATE: dict[type[Operator], Callable[[Any, Values], np.ndarray]] = {
    QuantizedConv2d: _layer,
    QuantizedLinear: _layer,
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
    Slice: _slice,
    ResizeNearest: _resize_nearest,
    Constant: lambda operator, values: operator.value,
    ChannelLookup: _channel_lookup,
    QuantizedMultiply: _multiply,
}
