"""Gradient of the mean over axes, global average pooling among them."""

from __future__ import annotations

import math
from collections.abc import Sequence

from tvm import relax

from tvm_pulp.passes.gradients.rule import Differentiated, gradient_rule
from tvm_pulp.passes.operators.elementwise import elementwise
from tvm_pulp.passes.operators.kernel import number
from tvm_pulp.passes.rewrite import static_shape


@gradient_rule("mean")
def mean(call: Differentiated) -> Sequence[relax.Var | None]:
    """Share the output's gradient out over the elements of the mean."""
    shape, axes = call.shape(0), call.parameters["axes"]
    kept = tuple(1 if axis in axes else extent for axis, extent in enumerate(shape))
    share = number(1.0 / math.prod(shape[axis] for axis in axes))
    gradient = call.gradient
    if static_shape(gradient) != kept:
        gradient = call.builder.emit(relax.op.reshape(gradient, kept))
    kernel = elementwise(
        call.layer, "data_gradient", [("output_gradient", kept)], lambda value: value * share, shape
    )
    return [call.emit(kernel, [gradient])]
