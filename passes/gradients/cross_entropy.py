"""Gradient of the cross-entropy loss."""

from __future__ import annotations

from collections.abc import Sequence

from tvm import relax

from tvm_pulp.passes.gradients.rule import Differentiated, gradient_rule


@gradient_rule("cross_entropy")
def cross_entropy(call: Differentiated) -> Sequence[relax.Var | None]:
    """Give the gradient by the logits, which the kernel of the loss has computed.

    The loss is what is differentiated, its own gradient is 1.
    """
    _, _, gradient = call.arguments
    return [None, gradient, None]
