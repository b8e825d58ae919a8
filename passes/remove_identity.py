"""Remove operators that change nothing: dropout, casts to the same type, reshapes to the same shape."""

from __future__ import annotations

import dataclasses

from tvm import relax

from tvm_pulp.passes.model import Model
from tvm_pulp.passes.rewrite import Emit, inferred, is_number, number, operator_name, rewrite, static_shape

_SAME_IF_SAME_TYPE = {
    "astype",
    "reshape",
    "flatten",
    "squeeze",
    "expand_dims",
    "broadcast_to",
    "strided_slice",
}
_NEUTRAL = {"add": 0.0, "subtract": 0.0, "multiply": 1.0, "divide": 1.0}


def remove_identity(model: Model) -> Model:
    """Replace operators whose result equals their first argument by that argument.

    Dropout counts among them: training here is compared with PyTorch step by step, which a random mask would
    forbid, and nets that are trained further on a device leave it out. Assumes static shapes.
    """

    def transform(emit: Emit, name: str, value: relax.Expr) -> relax.Expr | None:
        operator = operator_name(value)
        if operator == "nn.dropout":
            # the mask, which nothing reads, is given a value so that the tuple can be taken apart
            return relax.Tuple([value.args[0], value.args[0]])
        if operator in _SAME_IF_SAME_TYPE and _same_type(inferred(value), value.args[0]):
            return value.args[0]
        if operator == "permute_dims":
            axes = value.attrs.axes
            if axes is not None and [int(axis) for axis in axes] == list(range(len(axes))):
                return value.args[0]
        if operator == "nn.pad" and not any(int(width) for width in value.attrs.pad_width):
            return value.args[0]
        if operator in _NEUTRAL:
            left, right = value.args
            if is_number(right) and number(right) == _NEUTRAL[operator] and _same_type(inferred(value), left):
                return left
        return None

    return dataclasses.replace(model, module=rewrite(model.module, transform))


def _same_type(new: relax.Expr, old: relax.Expr) -> bool:
    return static_shape(new) == static_shape(old) and str(new.ty.dtype) == str(old.ty.dtype)
