"""Gradient of clipping to a range, such as ReLU6."""

from __future__ import annotations

from collections.abc import Sequence

from tvm import relax

from tvm_pulp.passes.gradients.broadcast import operand_gradient
from tvm_pulp.passes.gradients.rule import Differentiated, gradient_rule
from tvm_pulp.passes.operators.kernel import number
from tvm_pulp.target.tvm_names import Select, tirx


@gradient_rule("clip")
def clip(call: Differentiated) -> Sequence[relax.Var | None]:
    """Let the gradient through where the output is strictly inside the range, as PyTorch's ReLU6 does."""
    lowest, highest = call.parameters["lowest"], call.parameters["highest"]
    return [
        operand_gradient(
            call,
            0,
            [("output", call.output)],
            lambda gradient, output: Select(
                tirx.all(output > number(lowest), output < number(highest)), gradient, number(0.0)
            ),
        )
    ]
