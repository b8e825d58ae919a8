"""Gradient of padding."""

from __future__ import annotations

from collections.abc import Sequence

from tvm import relax

from tvm_pulp.passes.gradients.rule import Differentiated, gradient_rule
from tvm_pulp.passes.operators.movement import part
from tvm_pulp.passes.rewrite import static_shape


@gradient_rule("pad")
def pad(call: Differentiated) -> Sequence[relax.Var | None]:
    """Cut the padding off."""
    kernel = part(
        call.layer, "data_gradient", static_shape(call.gradient), call.parameters["before"], call.shape(0)
    )
    return [call.emit(kernel, [call.gradient])]
