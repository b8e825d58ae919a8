"""Gradient of the mean squared error."""

from __future__ import annotations

from collections.abc import Sequence

from tvm import relax

from tvm_pulp.passes.gradients.rule import Differentiated, gradient_rule
from tvm_pulp.passes.operators.mse import mse_gradient


@gradient_rule("mse")
def mse(call: Differentiated) -> Sequence[relax.Var | None]:
    """Give the gradient by the output; the loss is what is differentiated, its own gradient is 1."""
    kernel = mse_gradient(call.layer, "gradient", call.shape(0), call.parameters["scale"])
    return [call.emit(kernel, call.arguments), None]
