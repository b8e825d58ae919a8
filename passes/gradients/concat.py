"""Gradients of concatenation."""

from __future__ import annotations

from collections.abc import Sequence

from tvm import relax

from tvm_pulp.passes.gradients.rule import Differentiated, gradient_rule
from tvm_pulp.passes.operators.movement import part
from tvm_pulp.passes.rewrite import static_shape


@gradient_rule("concat")
def concat(call: Differentiated) -> Sequence[relax.Var | None]:
    """Cut each tensor's part out of the output's gradient."""
    axis, whole = call.parameters["axis"], static_shape(call.gradient)
    partials: list[relax.Var | None] = []
    position = 0
    for argument, needed in enumerate(call.needed):
        shape = call.shape(argument)
        start = [position if index == axis else 0 for index in range(len(shape))]
        position += shape[axis]
        kernel = part(call.layer, f"data{argument}_gradient", whole, start, shape) if needed else None
        partials.append(None if kernel is None else call.emit(kernel, [call.gradient]))
    return partials
