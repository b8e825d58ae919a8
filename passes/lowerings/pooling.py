"""Lowering of pooling and of means."""

from __future__ import annotations

import math
from dataclasses import asdict

from tvm import relax

from tvm_pulp.passes.lowerings.lowering import Lowering
from tvm_pulp.passes.operators.adaptive_avg_pool2d import adaptive_avg_pool2d
from tvm_pulp.passes.operators.avg_pool2d import avg_pool2d
from tvm_pulp.passes.operators.max_pool2d import max_pool2d
from tvm_pulp.passes.operators.pooling import Pool2d
from tvm_pulp.passes.operators.reduction import sum_kernel
from tvm_pulp.passes.rewrite import operator_name, static_shape
from tvm_pulp.target.errors import UserError

KERNELS = {"max_pool2d": max_pool2d, "avg_pool2d": avg_pool2d}


def lower_pool2d(lowering: Lowering, variable: relax.Var, call: relax.Call) -> relax.Var:
    """Emit maximum or average pooling."""
    attributes = Pool2d(
        window=tuple(int(value) for value in call.attrs["pool_size"]),  # type: ignore[arg-type]
        strides=tuple(int(value) for value in call.attrs["strides"]),  # type: ignore[arg-type]
        padding=tuple(int(value) for value in call.attrs["padding"]),  # type: ignore[arg-type]
        dilation=tuple(int(value) for value in call.attrs["dilation"]),  # type: ignore[arg-type]
        ceil_mode=bool(call.attrs["ceil_mode"]),
        count_include_pad=bool(call.attrs["count_include_pad"]),
    )
    data, layer = lowering.tensor(call.args[0]), lowering.names.layer(variable)
    shape = static_shape(data)
    if attributes.output_shape(shape) != static_shape(variable):
        raise UserError(
            f"layer {layer}: with ceil_mode a window would start in the padding at the end, where PyTorch "
            "has none; pool without ceil_mode or pad the data"
        )
    if attributes.output_shape(shape)[2:] == (1, 1) and attributes.window == shape[2:]:
        if operator_name(call) == "nn.avg_pool2d" and not any(attributes.padding):
            return _mean(lowering, variable, data, [2, 3], [0, 1, 2, 3])
    operator = operator_name(call).removeprefix("nn.")
    kernel = KERNELS[operator](layer, lowering.work, attributes, shape)
    return lowering.kernel(kernel, [data], operator, {"pool2d": asdict(attributes)}, variable.name)


def lower_adaptive_avg_pool2d(lowering: Lowering, variable: relax.Var, call: relax.Call) -> relax.Var:
    """Emit adaptive pooling: a mean if global, windows of one size if they divide the data."""
    data, layer = lowering.tensor(call.args[0]), lowering.names.layer(variable)
    shape, size = static_shape(data), static_shape(variable)[2:]
    if size == (1, 1):
        return _mean(lowering, variable, data, [2, 3], [0, 1, 2, 3])
    if shape[2] % size[0] == 0 and shape[3] % size[1] == 0:
        window = (shape[2] // size[0], shape[3] // size[1])
        attributes = Pool2d(window, window)
        kernel = avg_pool2d(layer, lowering.work, attributes, shape)
        return lowering.kernel(kernel, [data], "avg_pool2d", {"pool2d": asdict(attributes)}, variable.name)
    kernel = adaptive_avg_pool2d(layer, lowering.work, shape, (size[0], size[1]))
    return lowering.kernel(kernel, [data], "adaptive_avg_pool2d", name=variable.name)


def lower_mean(lowering: Lowering, variable: relax.Var, call: relax.Call) -> relax.Var:
    """Emit the mean over axes."""
    data = lowering.tensor(call.args[0])
    rank = len(static_shape(data))
    axes = call.attrs["axis"]
    summed = sorted(range(rank) if axes is None else {int(axis) % rank for axis in axes})
    kept = bool(call.attrs["keepdims"])
    result_axes = [axis for axis in range(rank) if kept or axis not in summed]
    return _mean(lowering, variable, data, summed, result_axes)


def _mean(
    lowering: Lowering, variable: relax.Var, data: relax.Var, axes: list[int], result_axes: list[int]
) -> relax.Var:
    shape = static_shape(data)
    count = math.prod(shape[axis] for axis in axes)
    kernel = sum_kernel(
        lowering.names.layer(variable),
        lowering.work,
        [("data", shape)],
        lambda value: value,
        axes,
        result_axes,
        scale=1.0 / count,
    )
    return lowering.kernel(kernel, [data], "mean", {"axes": axes}, variable.name)
