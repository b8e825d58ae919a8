"""Gradient of maximum pooling."""

from __future__ import annotations

import math
from collections.abc import Sequence

from tvm import relax

from tvm_pulp.passes.gradients.rule import Differentiated, gradient_rule
from tvm_pulp.passes.operators.max_pool2d import (
    max_pool2d_data_gradient,
    max_pool2d_gradient,
    max_pool2d_indices,
)
from tvm_pulp.passes.operators.pooling import Pool2d
from tvm_pulp.passes.rewrite import static_shape
from tvm_pulp.schedules.max_pool import MaxPoolTemplate

LARGEST_IMAGE = 16384
"""Bytes of a channel's data, result and their gradients that any L1 holds."""


@gradient_rule("max_pool2d")
def max_pool2d(call: Differentiated) -> Sequence[relax.Var | None]:
    """Give each window's gradient to its first maximum, found anew: that saves memory between the passes.

    Small images are done by one kernel where there is a template for it, others by two, whose intermediate
    result is in L2.
    """
    attributes, shape = Pool2d(**call.parameters["pool2d"]), call.shape(0)
    elements = math.prod(shape[2:]) + math.prod(static_shape(call.output)[2:])
    both = max_pool2d_data_gradient(call.layer, "data_gradient", attributes, shape)
    if 2 * 4 * elements <= LARGEST_IMAGE and MaxPoolTemplate().match(both) is not None:
        return [call.emit(both, [call.arguments[0], call.gradient])]
    indices = call.emit(
        max_pool2d_indices(call.layer, "indices", attributes, shape), [call.arguments[0], call.output]
    )
    kernel = max_pool2d_gradient(call.layer, "data_gradient", attributes, shape)
    return [call.emit(kernel, [call.gradient, indices])]
