"""Take zero padding into the convolution that reads it."""

from __future__ import annotations

import dataclasses

from tvm import relax

from tvm_pulp.passes.canonical_attributes import conv2d_with
from tvm_pulp.passes.model import Model
from tvm_pulp.passes.rewrite import Emit, operator_name, rewrite


def fold_padding(model: Model) -> Model:
    """Add the widths of an `nn.pad` of zeros to the padding of each `nn.conv2d` that reads it.

    Assumes canonical attributes. A padded tensor that others read too stays for those.
    """
    padded: dict[str, tuple[relax.Var, list[int]]] = {}

    def transform(emit: Emit, name: str, value: relax.Expr) -> relax.Expr | None:
        operator = operator_name(value)
        if operator == "nn.pad":
            widths = [int(width) for width in value.attrs.pad_width]
            is_zero = value.attrs.pad_mode == "constant" and float(value.attrs.pad_value) == 0.0
            variable = emit(value, name)
            if is_zero and len(widths) == 8 and not any(widths[:4]) and min(widths) >= 0:
                padded[variable.name] = (value.args[0], widths)
            return variable
        if operator != "nn.conv2d":
            return None
        data = value.args[0]
        if data.name not in padded:
            return None
        source, (_, _, _, _, top, bottom, left, right) = padded[data.name]
        padding = [int(width) for width in value.attrs.padding]
        padding = [old + new for old, new in zip(padding, (top, left, bottom, right), strict=True)]
        return conv2d_with(value, source, padding)

    return dataclasses.replace(model, module=rewrite(model.module, transform))
