"""Bind dynamic dimensions: the batch to the batch size, others to the user's shapes."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

from tvm import IRModule, relax

from tvm_pulp.passes.model import Model
from tvm_pulp.target.errors import UserError


def check_input_shapes(model: Model, input_shapes: Mapping[str, Sequence[int]] | None) -> None:
    """Raise UserError where the user's shapes name no input or contradict the model's static dimensions.

    Axis 0 is not compared: it is the batch, which may be changed.
    """
    variables = {variable.name: variable for variable in model.input_variables}
    for name, shape in (input_shapes or {}).items():
        if name not in variables:
            raise UserError(
                f"{model.name}: input_shapes names '{name}', but the inputs are: {', '.join(variables)}"
            )
        dimensions = list(variables[name].ty.shape.values)
        if len(shape) != len(dimensions):
            raise UserError(
                f"{model.name}: input_shapes gives {list(shape)} for '{name}', which has {len(dimensions)} "
                "axes"
            )
        for axis, (given, dimension) in enumerate(zip(shape, dimensions, strict=True)):
            if given < 1 or (axis > 0 and is_static(dimension) and int(dimension) != given):
                raise UserError(
                    f"{model.name}: input_shapes gives {list(shape)} for '{name}', whose shape in the model "
                    "is "
                    f"{[int(d) if is_static(d) else '?' for d in dimensions]}"
                )


def is_static(dimension: relax.Expr) -> bool:
    """Tell whether a dimension is a literal number."""
    return hasattr(dimension, "value")


def bind_shapes(model: Model, input_shapes: Mapping[str, Sequence[int]] | None, batch: int) -> Model:
    """Replace symbolic dimensions by numbers: axis 0 of an input by `batch`, others by `input_shapes`.

    Raises
    ------
    UserError
        If a dynamic dimension other than the batch has no number.
    """
    sizes: dict[str, int] = {}
    for variable in model.input_variables:
        given = (input_shapes or {}).get(variable.name)
        dimensions = list(variable.ty.shape.values)
        for axis, dimension in enumerate(dimensions):
            if is_static(dimension):
                continue
            size = batch if axis == 0 else given[axis] if given is not None else None
            if size is None or not isinstance(dimension, relax.Var):
                example = [
                    int(d) if is_static(d) else batch if i == 0 else 32 for i, d in enumerate(dimensions)
                ]
                raise UserError(
                    f"{model.name}: axis {axis} of input '{variable.name}' is dynamic: give its shape by "
                    f"input_shapes, for example {{'{variable.name}': {example}}}"
                )
            if sizes.setdefault(dimension.name, size) != size:
                raise UserError(
                    f"{model.name}: axis {axis} of input '{variable.name}' must be {sizes[dimension.name]} "
                    f"like another axis of the same symbol, but {size} is given"
                )
    if not sizes:
        return model
    function = model.function.bind_symbolic_vars(
        {name: relax.prim_value(size) for name, size in sizes.items()}
    )
    return dataclasses.replace(model, module=IRModule({"main": function}))
