"""Gradient of average pooling."""

from __future__ import annotations

from collections.abc import Sequence

from tvm import relax

from tvm_pulp.passes.gradients.rule import Differentiated, gradient_rule
from tvm_pulp.passes.operators.avg_pool2d import avg_pool2d_gradient
from tvm_pulp.passes.operators.pooling import Pool2d


@gradient_rule("avg_pool2d")
def avg_pool2d(call: Differentiated) -> Sequence[relax.Var | None]:
    """Share each window's gradient out over its elements."""
    attributes = Pool2d(**call.parameters["pool2d"])
    kernel = avg_pool2d_gradient(call.layer, "data_gradient", attributes, call.shape(0))
    return [call.emit(kernel, [call.gradient])]
