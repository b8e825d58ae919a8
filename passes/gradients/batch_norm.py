"""Gradients of batch normalisation in training mode."""

from __future__ import annotations

from collections.abc import Sequence

from tvm import relax

from tvm_pulp.passes.gradients.rule import Differentiated, gradient_rule
from tvm_pulp.passes.operators.batch_norm_gradient import batch_norm_gradient, batch_norm_parameter_gradients


@gradient_rule("batch_norm")
def batch_norm(call: Differentiated) -> Sequence[relax.Var | None]:
    """Give the gradients by data, scale and offset.

    Those by data take into account that mean and deviation depend on it, so that these have no gradient.
    """
    data, mean, inverse, scale, _ = call.arguments
    shape = call.shape(0)
    kernel = batch_norm_parameter_gradients(call.layer, "parameter_gradients", shape)
    gradients = call.emit(kernel, [call.gradient, data, mean, inverse])
    by_scale = call.builder.emit(relax.TupleGetItem(gradients, 0))
    by_offset = call.builder.emit(relax.TupleGetItem(gradients, 1))
    by_data = None
    if call.needed[0]:
        by_data = call.emit(
            batch_norm_gradient(call.layer, "data_gradient", shape),
            [call.gradient, data, mean, inverse, scale, by_scale, by_offset],
        )
    return [by_data, None, None, by_scale if call.needed[3] else None, by_offset if call.needed[4] else None]
