"""Gradient of adaptive average pooling whose windows differ in size."""

from __future__ import annotations

from collections.abc import Sequence

from tvm import relax

from tvm_pulp.passes.gradients.rule import Differentiated, gradient_rule
from tvm_pulp.passes.operators.adaptive_avg_pool2d import adaptive_avg_pool2d_gradient
from tvm_pulp.passes.rewrite import static_shape


@gradient_rule("adaptive_avg_pool2d")
def adaptive_avg_pool2d(call: Differentiated) -> Sequence[relax.Var | None]:
    """Share each window's gradient out over its elements."""
    _, _, height, width = static_shape(call.gradient)
    kernel = adaptive_avg_pool2d_gradient(call.layer, "data_gradient", call.shape(0), (height, width))
    return [call.emit(kernel, [call.gradient])]
