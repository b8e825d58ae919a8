"""Gradient of the rectifier."""

from __future__ import annotations

from collections.abc import Sequence

from tvm import relax

from tvm_pulp.passes.gradients.broadcast import operand_gradient
from tvm_pulp.passes.gradients.rule import Differentiated, gradient_rule
from tvm_pulp.passes.operators.kernel import number
from tvm_pulp.target.tvm_names import Select


@gradient_rule("relu")
def relu(call: Differentiated) -> Sequence[relax.Var | None]:
    """Let the gradient through where the output is above 0."""
    return [
        operand_gradient(
            call,
            0,
            [("output", call.output)],
            lambda gradient, output: Select(output > number(0.0), gradient, number(0.0)),
        )
    ]
