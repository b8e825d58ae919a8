"""Canonical batch normalisation: axis 1, inference attribute, running statistics known as buffers."""

from __future__ import annotations

import dataclasses

from tvm import relax

from tvm_pulp.passes.model import Model
from tvm_pulp.passes.rewrite import Emit, operator_name, rewrite
from tvm_pulp.target.errors import UserError


def canonical_batch_norm(model: Model) -> Model:
    """Give every `nn.batch_norm` the same attributes and declare what is not trained in it as buffers.

    `momentum` is PyTorch's: the weight of the new statistics. The attribute `training` is False throughout,
    since whether a batch norm trains depends on what the user trains (`trained_part.training_batch_norms`).
    The scale or offset of a batch norm without one (`scale` or `center` False) is a buffer.
    Assumes that constants are lifted to parameters.
    """
    buffers = set(model.buffers)

    def transform(emit: Emit, name: str, value: relax.Expr) -> relax.Expr | None:
        if operator_name(value) != "nn.batch_norm":
            return None
        attributes = value.attrs
        data = value.args[0]
        for argument in value.args[1:]:
            if argument.name not in model.parameters:
                raise UserError(
                    f"{model.name}: batch norm '{name}' computes its scale, offset or statistics from "
                    "others, "
                    "which is not supported: they must be parameters of the model"
                )
        if int(attributes.axis) % data.ty.ndim != 1:
            raise UserError(
                f"{model.name}: batch norm '{name}' works on axis {attributes.axis}: only 1 is supported"
            )
        buffers.update(argument.name for argument in value.args[3:])
        buffers.update(
            argument.name
            for argument, trains in zip(value.args[1:3], (attributes.scale, attributes.center), strict=True)
            if not trains
        )
        return relax.op.nn.batch_norm(
            *value.args,
            axis=1,
            epsilon=float(attributes.epsilon),
            center=bool(attributes.center),
            scale=bool(attributes.scale),
            momentum=float(attributes.momentum),
            training=False,
        )

    module = rewrite(model.module, transform)
    return dataclasses.replace(model, module=module, buffers=frozenset(buffers))
