"""The passes that bring every imported model to the canonical form, in order."""

from __future__ import annotations

from collections.abc import Callable

from tvm_pulp.passes.canonical_attributes import canonical_attributes
from tvm_pulp.passes.canonical_batch_norm import canonical_batch_norm
from tvm_pulp.passes.canonical_clip import canonical_clip
from tvm_pulp.passes.canonical_elementwise import canonical_elementwise
from tvm_pulp.passes.canonical_pool import canonical_pool
from tvm_pulp.passes.canonical_reshape import canonical_reshape
from tvm_pulp.passes.check_operators import check_operators
from tvm_pulp.passes.check_parameters import check_parameters
from tvm_pulp.passes.fold_constants import fold_constants
from tvm_pulp.passes.fold_padding import fold_padding
from tvm_pulp.passes.lift_constants import lift_constants
from tvm_pulp.passes.model import Model, with_batch
from tvm_pulp.passes.nhwc_to_nchw import nhwc_to_nchw
from tvm_pulp.passes.remove_identity import remove_identity

PASSES: tuple[Callable[[Model], Model], ...] = (
    fold_constants,
    remove_identity,
    lift_constants,
    nhwc_to_nchw,
    canonical_attributes,
    canonical_elementwise,
    canonical_clip,
    canonical_pool,
    canonical_reshape,
    canonical_batch_norm,
    fold_padding,
)
CHECKS: tuple[Callable[[Model], Model], ...] = (check_operators, check_parameters)


def clean_up(model: Model, batch: int, quantized: bool = False) -> Model:
    """Bring a model of static shapes to the canonical form and to a batch size.

    A model that is `quantized` will not be trained, and its operators are checked by whoever reads it.

    Raises
    ------
    UserError
        If it cannot be trained; the line names the layer or parameter.
    """
    for run in PASSES if quantized else (*PASSES, *CHECKS):
        model = run(model)
    return with_batch(model, batch)
