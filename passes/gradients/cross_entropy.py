"""Gradient of the cross-entropy loss."""

from __future__ import annotations

from collections.abc import Sequence

from tvm import relax

from tvm_pulp.passes.gradients.rule import Differentiated, gradient_rule
from tvm_pulp.passes.operators.cross_entropy import cross_entropy_gradient


@gradient_rule("cross_entropy")
def cross_entropy(call: Differentiated) -> Sequence[relax.Var | None]:
    """Give the gradient by the logits; the loss is what is differentiated, its own gradient is 1."""
    kernel = cross_entropy_gradient(call.layer, "gradient", call.shape(0), call.parameters["scale"])
    return [call.emit(kernel, call.arguments), None]
