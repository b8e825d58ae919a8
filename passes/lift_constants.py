"""Turn float constants of more than one element into named parameters."""

from __future__ import annotations

import dataclasses
import re

import numpy as np
from tvm import IRModule, relax
from tvm.ir import GenericConst

from tvm_pulp.passes.model import Model, layer_of
from tvm_pulp.passes.rewrite import Emit, is_number, operands, operator_name, rewrite_function

_BATCH_NORM_ARGUMENTS = ("", "weight", "bias", "running_mean", "running_var")


def lift_constants(model: Model) -> Model:
    """Make every float constant of more than one element a parameter that is not trained (a buffer).

    Its name is the layer that reads it followed by `constant`, or by the argument's usual name for a batch
    norm (`weight` and so on): such constants are the scale and offset of a batch norm that has none.
    """
    lifted: dict[str, np.ndarray] = {}
    variables: list[relax.Var] = []

    def lift(constant: GenericConst, name: str) -> relax.Var:
        unique, count = name, 1
        while unique in lifted or unique in model.parameters or unique in model.inputs:
            count += 1
            unique = f"{name}_{count}"
        lifted[unique] = constant.value.numpy().copy()
        variables.append(relax.Var(unique, constant.ty))
        return variables[-1]

    def transform(emit: Emit, name: str, value: relax.Expr) -> relax.Expr | None:
        if not isinstance(value, relax.Call):
            return None
        known = [layer_of(v.name) for v in operands(value) if v.name in model.parameters]
        layer = known[0] if known else name
        is_batch_norm = operator_name(value) == "nn.batch_norm"
        arguments = []
        for index, argument in enumerate(value.args):
            if is_large_constant(argument) or (is_batch_norm and isinstance(argument, GenericConst)):
                suffix = _BATCH_NORM_ARGUMENTS[index] if is_batch_norm else "constant"
                argument = lift(argument, f"{layer}.{suffix}")
            arguments.append(argument)
        return relax.Call(value.op, arguments, value.attrs, value.ty_args)

    function = rewrite_function(model.function, transform)
    if not lifted:
        return model
    body = relax.Function([*function.params, *variables], function.body, function.ret_ty)
    return dataclasses.replace(
        model,
        module=IRModule({"main": body.with_attr("global_symbol", "main")}),
        parameters={**model.parameters, **lifted},
        buffers=model.buffers | set(lifted),
    )


def is_large_constant(expression: relax.Expr) -> bool:
    """Tell whether an expression is a float constant of more than one element."""
    return (
        isinstance(expression, GenericConst)
        and re.match("float", str(expression.ty.dtype)) is not None
        and not is_number(expression)
    )
