"""One spelling of attributes: four paddings, axes counted from the front, no output types."""

from __future__ import annotations

import dataclasses

from tvm import relax

from tvm_pulp.passes.model import Model
from tvm_pulp.passes.rewrite import Emit, operands, operator_name, rewrite
from tvm_pulp.target.errors import UserError


def canonical_attributes(model: Model) -> Model:
    """Spell the attributes of conv2d, matmul, softmax, log_softmax and concat in one way.

    Raises
    ------
    UserError
        For a convolution in another layout than NCHW and OIHW.
    """

    def transform(emit: Emit, name: str, value: relax.Expr) -> relax.Expr | None:
        operator = operator_name(value)
        if operator == "nn.conv2d":
            attributes = value.attrs
            layouts = attributes.data_layout, attributes.kernel_layout, attributes.out_layout
            if layouts != ("NCHW", "OIHW", "NCHW"):
                raise UserError(
                    f"{model.name}: layer '{name}' has the layouts {layouts}: NCHW and OIHW are needed"
                )
            return conv2d_with(value, value.args[0], [int(width) for width in attributes.padding])
        if operator == "matmul":
            return relax.op.matmul(*value.args)
        if operator in ("nn.softmax", "nn.log_softmax"):
            rewritten = relax.op.nn.softmax if operator == "nn.softmax" else relax.op.nn.log_softmax
            return rewritten(value.args[0], int(value.attrs.axis) % value.args[0].ty.ndim)
        if operator == "concat" and value.attrs.axis is not None:
            return relax.op.concat(value.args[0], int(value.attrs.axis) % operands(value)[0].ty.ndim)
        return None

    return dataclasses.replace(model, module=rewrite(model.module, transform))


def conv2d_with(value: relax.Call, data: relax.Expr, padding: list[int]) -> relax.Call:
    """Give a convolution other data and padding (top, left, bottom, right)."""
    return relax.op.nn.conv2d(
        data,
        value.args[1],
        strides=[int(stride) for stride in value.attrs.strides],
        padding=padding,
        dilation=[int(step) for step in value.attrs.dilation],
        groups=int(value.attrs.groups),
    )
