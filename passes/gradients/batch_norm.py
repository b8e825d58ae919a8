"""Gradients of batch normalisation in training mode."""

from __future__ import annotations

import math
from collections.abc import Sequence

from tvm import relax

from tvm_pulp.passes.gradients.rule import Differentiated, gradient_rule
from tvm_pulp.passes.operators.batch_norm import Activation
from tvm_pulp.passes.operators.batch_norm_gradient import batch_norm_gradient


@gradient_rule("batch_norm")
def batch_norm(call: Differentiated) -> Sequence[relax.Var | None]:
    """Give the gradients by data, scale, offset and bias.

    Those by data take into account that mean and deviation depend on it, so that these have no gradient.
    """
    _, data, mean, inverse, scale, offset, *bias = call.arguments
    limit = call.parameters["limit"]
    activation = Activation(bool(call.parameters["rectifies"]), math.inf if limit is None else float(limit))
    kernel = batch_norm_gradient(
        call.layer, "gradient", call.shape(1), activation, bool(bias), data_gradient=call.needed[1]
    )
    results = call.emit(kernel, [call.gradient, data, mean, inverse, scale, offset])
    by_data, found = None, int(call.needed[1])
    if call.needed[1]:
        by_data = call.builder.emit(relax.TupleGetItem(results, 0))
    partials: list[relax.Var | None] = [None, by_data, None, None]
    for argument in range(4, len(call.arguments)):
        wanted = call.needed[argument]
        partials.append(
            call.builder.emit(relax.TupleGetItem(results, found + argument - 4)) if wanted else None
        )
    return partials
