"""Gradients of division."""

from __future__ import annotations

from collections.abc import Sequence

from tvm import relax

from tvm_pulp.passes.gradients.broadcast import operand_gradient
from tvm_pulp.passes.gradients.rule import Differentiated, gradient_rule
from tvm_pulp.passes.operators.kernel import number


@gradient_rule("divide")
def divide(call: Differentiated) -> Sequence[relax.Var | None]:
    """Numerator: gradient / denominator. Denominator: -gradient * output / denominator."""
    numerator, denominator = call.parameters["constants"]
    if denominator is not None:
        return [operand_gradient(call, 0, (), lambda gradient: gradient / number(denominator))]
    divisor = (call.parameters["names"][-1], call.arguments[-1])
    by_denominator = operand_gradient(
        call,
        len(call.arguments) - 1,
        [("output", call.output), divisor],
        lambda gradient, output, below: -gradient * output / below,
    )
    if numerator is not None:
        return [by_denominator]
    return [operand_gradient(call, 0, [divisor], lambda gradient, below: gradient / below), by_denominator]
