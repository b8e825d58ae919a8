"""Gradients of multiplication."""

from __future__ import annotations

from collections.abc import Sequence

from tvm import relax

from tvm_pulp.passes.gradients.broadcast import operand_gradient
from tvm_pulp.passes.gradients.rule import Differentiated, gradient_rule
from tvm_pulp.passes.operators.kernel import number


@gradient_rule("multiply")
def multiply(call: Differentiated) -> Sequence[relax.Var | None]:
    """Multiply the output's gradient by the other operand."""
    constant = next((value for value in call.parameters["constants"] if value is not None), None)
    if constant is not None:
        return [operand_gradient(call, 0, (), lambda gradient: gradient * number(constant))]
    return [
        operand_gradient(
            call,
            argument,
            [(call.parameters["names"][1 - argument], call.arguments[1 - argument])],
            lambda gradient, other: gradient * other,
        )
        for argument in range(2)
    ]
