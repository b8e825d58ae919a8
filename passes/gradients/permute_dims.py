"""Gradient of a transpose."""

from __future__ import annotations

from collections.abc import Sequence

from tvm import relax

from tvm_pulp.passes.gradients.rule import Differentiated, gradient_rule
from tvm_pulp.passes.operators.movement import permute_dims as permute_dims_kernel
from tvm_pulp.passes.rewrite import static_shape


@gradient_rule("permute_dims")
def permute_dims(call: Differentiated) -> Sequence[relax.Var | None]:
    """Transpose the output's gradient back."""
    axes = call.parameters["axes"]
    back = [axes.index(axis) for axis in range(len(axes))]
    kernel = permute_dims_kernel(call.layer, "data_gradient", static_shape(call.gradient), back)
    return [call.emit(kernel, [call.gradient])]
