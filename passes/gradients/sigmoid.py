"""Gradient of the logistic function."""

from __future__ import annotations

from collections.abc import Sequence

from tvm import relax

from tvm_pulp.passes.gradients.broadcast import operand_gradient
from tvm_pulp.passes.gradients.rule import Differentiated, gradient_rule
from tvm_pulp.passes.operators.kernel import number


@gradient_rule("sigmoid")
def sigmoid(call: Differentiated) -> Sequence[relax.Var | None]:
    """Give ``gradient * output * (1 - output)``."""
    return [
        operand_gradient(
            call,
            0,
            [("output", call.output)],
            lambda gradient, output: gradient * (output * (number(1.0) - output)),
        )
    ]
