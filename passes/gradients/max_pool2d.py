"""Gradient of maximum pooling."""

from __future__ import annotations

from collections.abc import Sequence

from tvm import relax

from tvm_pulp.passes.gradients.rule import Differentiated, gradient_rule
from tvm_pulp.passes.operators.max_pool2d import max_pool2d_gradient, max_pool2d_indices
from tvm_pulp.passes.operators.pooling import Pool2d


@gradient_rule("max_pool2d")
def max_pool2d(call: Differentiated) -> Sequence[relax.Var | None]:
    """Give each window's gradient to its first maximum, found anew: that saves memory between the passes."""
    attributes, shape = Pool2d(**call.parameters["pool2d"]), call.shape(0)
    indices = call.emit(
        max_pool2d_indices(call.layer, "indices", attributes, shape), [call.arguments[0], call.output]
    )
    kernel = max_pool2d_gradient(call.layer, "data_gradient", attributes, shape)
    return [call.emit(kernel, [call.gradient, indices])]
