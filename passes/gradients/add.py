"""Gradients of addition and subtraction."""

from __future__ import annotations

from collections.abc import Sequence

from tvm import relax

from tvm_pulp.passes.gradients.broadcast import operand_gradient
from tvm_pulp.passes.gradients.rule import Differentiated, gradient_rule


@gradient_rule("add")
def add(call: Differentiated) -> Sequence[relax.Var | None]:
    """Pass the output's gradient on to each operand."""
    return [operand_gradient(call, argument) for argument in range(len(call.arguments))]


@gradient_rule("subtract")
def subtract(call: Differentiated) -> Sequence[relax.Var | None]:
    """Pass the output's gradient on to the first operand, negated to the second."""
    sides = [side for side, constant in enumerate(call.parameters["constants"]) if constant is None]
    return [
        operand_gradient(call, argument, (), (lambda gradient: -gradient) if side else None)
        for argument, side in enumerate(sides)
    ]
