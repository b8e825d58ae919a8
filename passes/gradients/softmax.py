"""Gradients of softmax and log-softmax."""

from __future__ import annotations

from collections.abc import Sequence

from tvm import relax

from tvm_pulp.passes.gradients.rule import Differentiated, gradient_rule
from tvm_pulp.passes.operators.softmax import softmax_gradient


@gradient_rule("softmax")
def softmax(call: Differentiated) -> Sequence[relax.Var | None]:
    """Give the data gradient from the output and its gradient."""
    axis, logarithm = call.parameters["axis"], call.parameters["logarithm"]
    kernel = softmax_gradient(call.layer, "data_gradient", call.shape(0), axis, logarithm)
    return [call.emit(kernel, [call.gradient, call.output])]
