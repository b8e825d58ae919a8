"""Lowering of element-wise operators of one and two operands."""

from __future__ import annotations

import math
from collections.abc import Callable

from tvm import relax

from tvm_pulp.passes.lowerings.lowering import Lowering
from tvm_pulp.passes.operators.elementwise import elementwise
from tvm_pulp.passes.operators.kernel import Scalar, number
from tvm_pulp.passes.rewrite import operator_name, static_shape
from tvm_pulp.target.tvm_names import tirx

BINARY: dict[str, Callable[[Scalar, Scalar], Scalar]] = {
    "add": lambda left, right: left + right,
    "subtract": lambda left, right: left - right,
    "multiply": lambda left, right: left * right,
    "divide": lambda left, right: left / right,
}


def _clip(lowest: float, highest: float) -> Callable[[Scalar], Scalar]:
    def expression(data: Scalar) -> Scalar:
        if math.isfinite(lowest):
            data = tirx.max(data, number(lowest))
        return tirx.min(data, number(highest)) if math.isfinite(highest) else data

    return expression


def lower_unary(lowering: Lowering, variable: relax.Var, call: relax.Call) -> relax.Var:
    """Emit relu, clip, sigmoid or tanh."""
    data = lowering.tensor(call.args[0])
    operator = operator_name(call).removeprefix("nn.")
    parameters: dict[str, object] = {"names": ("data",)}
    if operator == "clip":
        bounds = float(call.args[1].value), float(call.args[2].value)
        parameters |= {"lowest": bounds[0], "highest": bounds[1]}
        expression = _clip(*bounds)
    else:
        expression = {
            "relu": lambda value: tirx.max(value, number(0.0)),
            "sigmoid": tirx.sigmoid,
            "tanh": tirx.tanh,
        }[operator]
    kernel = elementwise(
        lowering.names.layer(variable), lowering.work, [("data", static_shape(data))], expression
    )
    return lowering.kernel(kernel, [data], operator, parameters, variable.name)


def lower_binary(lowering: Lowering, variable: relax.Var, call: relax.Call) -> relax.Var:
    """Emit add, subtract, multiply or divide, with broadcasting; constants are in the code."""
    operator = operator_name(call)
    combine = BINARY[operator]
    operands = [lowering.operand(argument) for argument in call.args]
    constants = [operand if isinstance(operand, float) else None for operand in operands]
    names = lowering.names.operands(*call.args)
    named = [(name, new) for name, new in zip(names, operands, strict=True) if isinstance(new, relax.Var)]

    def expression(*values: Scalar) -> Scalar:
        remaining = iter(values)
        left, right = (next(remaining) if value is None else number(value) for value in constants)
        return combine(left, right)

    layer = lowering.names.layer(variable)
    parameter = next(
        (lowering.names.operand(old, "") for old in call.args if lowering.names.operand(old, "")), ""
    )
    work = f"{parameter}_{lowering.work}" if parameter else lowering.work
    kernel = elementwise(
        layer,
        work,
        [(name, static_shape(value)) for name, value in named],
        expression,
        static_shape(variable),
    )
    parameters = {"names": [name for name, _ in named], "constants": constants}
    return lowering.kernel(kernel, [value for _, value in named], operator, parameters, variable.name)
