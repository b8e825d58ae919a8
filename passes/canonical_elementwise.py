"""Canonical elementwise arithmetic: scalars last, activations first, composite ones written out."""

from __future__ import annotations

import dataclasses

import numpy as np
from tvm import relax

from tvm_pulp.passes.model import Model
from tvm_pulp.passes.rewrite import Emit, is_number, number, operands, operator_name, rewrite, static_shape

_ARITHMETIC = {"add", "subtract", "multiply", "divide"}
_COMMUTATIVE = {"add", "multiply"}


def canonical_elementwise(model: Model) -> Model:
    """Write elementwise operators in terms of add, subtract, multiply, divide, sigmoid and tanh.

    - A constant of one element is a scalar, and the right operand where the operator is commutative.
    - Of an activation and a parameter, the activation is the left operand where the operator is commutative.
    - silu, negative, square, leaky ReLU and parametric ReLU are written out.
    """
    from_inputs = set(model.inputs)

    def transform(emit: Emit, name: str, value: relax.Expr) -> relax.Expr | None:
        depends = any(variable.name in from_inputs for variable in operands(value))
        new = _leaky(emit, name, value)
        new = _canonical(value, from_inputs) if new is None else new
        if depends and not isinstance(value, relax.Tuple | relax.Var):
            variable = emit(value if new is None else new, name)
            from_inputs.add(variable.name)
            return variable
        return new

    return dataclasses.replace(model, module=rewrite(model.module, transform))


def _canonical(value: relax.Expr, from_inputs: set[str]) -> relax.Expr | None:
    operator = operator_name(value)
    if operator == "nn.silu":
        return relax.op.multiply(value.args[0], relax.op.sigmoid(value.args[0]))
    if operator == "negative":
        return relax.op.multiply(value.args[0], relax.const(np.float32(-1), "float32"))
    if operator == "square":
        return relax.op.multiply(value.args[0], value.args[0])
    if operator in _ARITHMETIC:
        left, right = (_scalar(value, argument) for argument in value.args)
        if operator in _COMMUTATIVE and _order(left, from_inputs) > _order(right, from_inputs):
            left, right = right, left
        return relax.Call(value.op, [left, right], value.attrs)
    return None


def _leaky(emit: Emit, name: str, value: relax.Expr) -> relax.Expr | None:
    """Write ``relu(x) + slope * (x - relu(x))``, which rounds once: one of the terms is 0."""
    operator = operator_name(value)
    if operator not in ("nn.leakyrelu", "nn.prelu"):
        return None
    data = value.args[0]
    if operator == "nn.leakyrelu":
        slope: relax.Expr = relax.const(np.float32(value.attrs.alpha), "float32")
    else:
        slope, axis = value.args[1], int(value.attrs.axis) % data.ty.ndim
        following = (1,) * (data.ty.ndim - 1 - axis)
        slope = relax.op.reshape(slope, (*static_shape(slope), *following)) if following else slope
    positive = emit(relax.op.nn.relu(data), f"{name}.relu")
    return relax.op.add(positive, relax.op.multiply(relax.op.subtract(data, positive), slope))


def _order(operand: relax.Expr, from_inputs: set[str]) -> int:
    if is_number(operand):
        return 2
    return 0 if operand.name in from_inputs else 1


def _scalar(value: relax.Expr, operand: relax.Expr) -> relax.Expr:
    """Drop the axes of a constant of one element where the other operand has at least as many."""
    if is_number(operand) and operand.ty.ndim > 0:
        others = [argument for argument in value.args if not argument.same_as(operand)]
        if others and others[0].ty.ndim >= operand.ty.ndim:
            return relax.const(np.float32(number(operand)), "float32")
    return operand
