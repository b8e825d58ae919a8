"""What each operator of the canonical forward function is in the integer graph."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from tvm import relax

from tvm_pulp.passes.operators.choose_multipliers import (
    CONVOLUTION,
    DEPTHWISE,
    PRODUCT,
    choose_sum_multipliers,
)
from tvm_pulp.passes.operators.conv2d import Conv2d
from tvm_pulp.passes.operators.requantize import Requantization
from tvm_pulp.passes.quantized import graph
from tvm_pulp.passes.quantized.elementwise_operators import QuantizedMultiply
from tvm_pulp.passes.quantized.graph import QuantizedTensor
from tvm_pulp.passes.quantized.walk import ARITHMETIC, Walk, bounds
from tvm_pulp.passes.rewrite import is_number, number, operands, operator_name, static_shape

Rule = Callable[[Walk, relax.Var, relax.Call], None]


def layer_weight(
    walk: Walk, variable: relax.Var, value: relax.Call, source: QuantizedTensor
) -> tuple[Conv2d | None, np.ndarray, np.ndarray | None]:
    """Read a layer's weight, output channels first, and its scales.

    Returns
    -------
    attributes : Conv2d or None
        None of a matrix product.
    weight : ndarray of float32, ``[output channels, ...]``
    scales : ndarray of float32 or None
        Of the same shape; None where it does not come quantised.
    """
    weight, scales = walk.constants.get(value.args[1]), walk.scales.get(value.args[1])
    if operator_name(value) == "nn.conv2d":
        if weight is None:
            walk.refuse(variable, "a convolution by a computed weight")
        a = value.attrs
        return Conv2d(_ints(a.strides), _ints(a.padding), _ints(a.dilation), int(a.groups)), weight, scales
    if weight is None or weight.ndim != 2 or len(source.shape) != 2:
        walk.refuse(variable, "a matrix product other than of [batch, inputs] by a parameter")
    return None, weight.T, None if scales is None else scales.T


def _layer(walk: Walk, variable: relax.Var, value: relax.Call) -> None:
    source, layer = walk.source(variable, value.args[0]), walk.layer(variable)
    attributes, weight, scales = layer_weight(walk, variable, value, source)
    variable, output, integers, bias, multipliers, scaled = _weighted(walk, variable, source, weight, scales)
    rest = integers, bias, multipliers, scaled, walk.weight_bits
    if attributes is None:
        walk.emit(variable, graph.QuantizedLinear(layer, output, source, *rest))
    else:
        walk.emit(variable, graph.QuantizedConv2d(layer, output, source, attributes, *rest))


def _weighted(
    walk: Walk,
    variable: relax.Var,
    source: QuantizedTensor,
    weight: np.ndarray,
    scales: np.ndarray | None,
) -> tuple[relax.Var, QuantizedTensor, np.ndarray, np.ndarray, np.ndarray, Requantization]:
    """Quantise a layer with a weight, and take in the bias and the activation function that follow it."""
    layer = walk.layer(variable)
    biased, bias = walk.with_bias(variable, len(weight))
    result, output, low, high = walk.with_bounds(biased)
    integers, biases, ratios, largest = walk.quantized_weight(layer, weight, scales, bias, source, output)
    forms = DEPTHWISE if weight.shape[1:2] == (1,) else PRODUCT if weight[0, :1].size == 1 else CONVOLUTION
    multipliers, scaled = walk.arithmetic.requantization(layer, ratios, largest, output, low, high, forms)
    return result, output, integers, biases, multipliers, scaled


def _sum(walk: Walk, variable: relax.Var, value: relax.Call) -> None:
    if any(is_number(argument) for argument in value.args):
        return _lookup(walk, variable, value)
    layer = walk.layer(variable)
    left, right = _operands(walk, variable, value)
    variable, output, low, high = walk.with_bounds(variable)
    ratios = (left.scale / output.scale, right.scale / output.scale)
    subtracts, accuracy = operator_name(value) == "subtract", walk.arithmetic.accuracy
    multipliers, shift = choose_sum_multipliers(layer, ratios, subtracts=subtracts, accuracy=accuracy)
    rounding = walk.arithmetic.rounding
    walk.emit(
        variable, graph.QuantizedAdd(layer, output, left, right, multipliers, shift, low, high, rounding)
    )


def _operands(walk: Walk, variable: relax.Var, value: relax.Call) -> tuple[QuantizedTensor, QuantizedTensor]:
    """Two tensors that broadcast to the result's shape, of its rank."""
    left, right = (walk.source(variable, argument) for argument in value.args)
    if not len(left.shape) == len(right.shape) == len(static_shape(variable)):
        walk.refuse(
            variable, f"{operator_name(value)} of tensors with {len(left.shape)} and {len(right.shape)} axes"
        )
    return left, right


def product(walk: Walk, variable: relax.Var, value: relax.Call) -> None:
    """Multiply two tensors element by element."""
    layer = walk.layer(variable)
    left, right = _operands(walk, variable, value)
    variable, output, low, high = walk.with_bounds(variable)
    ratio, largest = np.array([left.scale * right.scale / output.scale]), np.array([255 * 255])
    multipliers, scaled = walk.arithmetic.requantization(layer, ratio, largest, output, low, high)
    walk.emit(
        variable,
        QuantizedMultiply(layer, output, left, right, int(multipliers[0]), scaled.shift, scaled),
    )


def _lookup(walk: Walk, variable: relax.Var, value: relax.Call) -> None:
    """Tabulate any function of one tensor, element by element."""
    tensors = [argument for argument in value.args if not is_number(argument)]
    if operator_name(value) == "multiply" and len(tensors) > 1:
        return product(walk, variable, value)
    if operator_name(value) in ARITHMETIC and len(tensors) > 1:
        walk.refuse(variable, f"{operator_name(value)} of two tensors")
    source, output = walk.source(variable, tensors[0]), walk.tensor(variable)
    read = [number(a) if is_number(a) else source.values(walk.arithmetic.dtype) for a in value.args]
    table = walk.arithmetic.table(elementwise_values(value, read), output)
    walk.emit(variable, graph.Lookup(walk.layer(variable), output, source, table))
    return None


def elementwise_values(value: relax.Call, operands: Sequence[Any]) -> np.ndarray:
    """Compute an elementwise operator in NumPy, in the type of its operands."""
    operator = operator_name(value)
    if operator in ARITHMETIC:
        return ARITHMETIC[operator](*operands)
    if operator in _FUNCTIONS:
        return _FUNCTIONS[operator](operands[0])
    return np.clip(operands[0], *bounds(value))


def _erf(x: np.ndarray) -> np.ndarray:
    return np.array([math.erf(float(element)) for element in x], x.dtype)


_FUNCTIONS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "sigmoid": lambda x: 1 / (1 + np.exp(-x)),
    "tanh": np.tanh,
    "exp": np.exp,
    "erf": _erf,
    "nn.gelu": lambda x: x * (_erf(x / x.dtype.type(math.sqrt(2))) + 1) / 2,
}


def _max_pool2d(walk: Walk, variable: relax.Var, value: relax.Call) -> None:
    source, a = walk.source(variable, value.args[0]), value.attrs
    pool = graph.QuantizedMaxPool2d(
        walk.layer(variable),
        _alike(variable, source),
        source,
        _ints(a.pool_size),
        _ints(a.strides),
        _ints(a.padding),
        _ints(a.dilation),
    )
    walk.emit(variable, pool)


def _avg_pool2d(walk: Walk, variable: relax.Var, value: relax.Call) -> None:
    a = value.attrs
    window, strides, padding = _ints(a.pool_size), _ints(a.strides), _ints(a.padding)
    _average(walk, variable, value.args[0], window, strides, padding, bool(a.count_include_pad))


def _adaptive_avg_pool2d(walk: Walk, variable: relax.Var, value: relax.Call) -> None:
    extents, results = static_shape(value.args[0])[2:], static_shape(variable)[2:]
    if any(extent % result for extent, result in zip(extents, results, strict=True)):
        walk.refuse(variable, "an adaptive pooling into unequal windows")
    window = (extents[0] // results[0], extents[1] // results[1])
    _average(walk, variable, value.args[0], window, window)


def _mean(walk: Walk, variable: relax.Var, value: relax.Call) -> None:
    shape = static_shape(value.args[0])
    if len(shape) != 4 or sorted(int(axis) % 4 for axis in value.attrs.axis or ()) != [2, 3]:
        walk.refuse(variable, "a mean over other axes than height and width")
    _average(walk, variable, value.args[0], (shape[2], shape[3]), (1, 1))


def _average(
    walk: Walk,
    variable: relax.Var,
    operand: relax.Var,
    window: tuple[int, int],
    strides: tuple[int, int],
    padding: tuple[int, int, int, int] = (0, 0, 0, 0),
    counts_padding: bool = True,
) -> None:
    """Emit an average pooling, and a view if the result has no height and width."""
    layer, source, output = walk.layer(variable), walk.source(variable, operand), walk.tensor(variable)
    divisors = _counts(source.shape[2:], window, strides, padding, counts_padding)
    shape = (*source.shape[:2], *divisors.shape)
    if (divisors == divisors.flat[0]).all():
        divisors = divisors[:1, :1]
    ratios = (source.scale / (output.scale * divisors)).reshape(-1)
    largest = np.full(ratios.size, 255 * window[0] * window[1])
    multipliers, scaled = walk.arithmetic.requantization(layer, ratios, largest, output)
    multipliers = multipliers.reshape(divisors.shape)
    pooled = output
    if output.shape != shape:
        pooled = QuantizedTensor(f"{output.name}_pooled", shape, output.scale, output.zero_point)
    pool = graph.QuantizedAveragePool2d(layer, pooled, source, window, strides, padding, multipliers, scaled)
    walk.emit(variable, pool)
    if pooled is not output:
        walk.emit(variable, graph.View(layer, output, pooled))


def _counts(
    extents: tuple[int, ...],
    window: tuple[int, int],
    strides: tuple[int, int],
    padding: tuple[int, int, int, int],
    counts_padding: bool,
) -> np.ndarray:
    """Elements that count in each window: ``[output height, output width]``."""
    top, left, bottom, right = padding
    ones = np.pad(np.ones(extents), ((top, bottom), (left, right)), constant_values=float(counts_padding))
    windows = np.lib.stride_tricks.sliding_window_view(ones, window)
    return windows[:: strides[0], :: strides[1]].sum(axis=(-2, -1))


def _reshape(walk: Walk, variable: relax.Var, value: relax.Call) -> None:
    source = walk.source(variable, value.args[0])
    walk.emit(variable, graph.View(walk.layer(variable), _alike(variable, source), source))


def _permute_dims(walk: Walk, variable: relax.Var, value: relax.Call) -> None:
    source = walk.source(variable, value.args[0])
    rank = len(source.shape)
    axes = tuple(range(rank))[::-1] if value.attrs.axes is None else _ints(value.attrs.axes)
    walk.emit(variable, graph.Transpose(walk.layer(variable), _alike(variable, source), source, axes))


def _concat(walk: Walk, variable: relax.Var, value: relax.Call) -> None:
    layer, output = walk.layer(variable), walk.tensor(variable)
    sources = []
    for operand in operands(value):
        source = walk.source(variable, operand)
        if (source.scale, source.zero_point) != (output.scale, output.zero_point):
            name = f"{source.name}_for_{output.name}"
            rescaled = QuantizedTensor(name, source.shape, output.scale, output.zero_point)
            table = walk.arithmetic.table(source.values(walk.arithmetic.dtype), output)
            walk.operators.append(graph.Lookup(layer, rescaled, source, table))
            source = rescaled
        sources.append(source)
    axis = int(value.attrs.axis) % len(output.shape)
    walk.emit(variable, graph.Concatenate(layer, output, tuple(sources), axis))


def _alike(variable: relax.Var, source: QuantizedTensor) -> QuantizedTensor:
    """Tensor of a variable with the source's scale."""
    return QuantizedTensor(variable.name, static_shape(variable), source.scale, source.zero_point)


def _ints(values: Any) -> Any:
    return tuple(int(value) for value in values)


RULES: dict[str, Rule] = {
    "nn.conv2d": _layer,
    "matmul": _layer,
    "add": _sum,
    "subtract": _sum,
    "multiply": _lookup,
    "divide": _lookup,
    "nn.relu": _lookup,
    "clip": _lookup,
    "sigmoid": _lookup,
    "tanh": _lookup,
    "nn.max_pool2d": _max_pool2d,
    "nn.avg_pool2d": _avg_pool2d,
    "nn.adaptive_avg_pool2d": _adaptive_avg_pool2d,
    "mean": _mean,
    "reshape": _reshape,
    "permute_dims": _permute_dims,
    "concat": _concat,
}
