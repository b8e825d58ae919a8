"""Bind dynamic dimensions: the batch to the batch size, others to the user's shapes."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

from tvm import IRModule, relax

from tvm_pulp.passes.model import Model
from tvm_pulp.target.errors import UserError

Dimension = int | str | None  # a number, the name of a symbol, or something that only the exporter knows


def resolve_shapes(
    model_name: str,
    dimensions: Mapping[str, Sequence[Dimension]],
    input_shapes: Mapping[str, Sequence[int]] | None,
    batch: int,
) -> dict[str, list[int]]:
    """Find numbers for all dimensions of all inputs.

    Parameters
    ----------
    model_name : str
        For messages.
    dimensions : mapping of str to sequence
        Dimensions in the model by input name.
    input_shapes : mapping, optional
        The user's shapes. Axis 0 of theirs is not read: it is the batch, which is given apart.
    batch : int
        Number for a dynamic axis 0.

    Returns
    -------
    dict of str to list of int
        A shape for each input.

    Raises
    ------
    UserError
        If the user's shapes name no input or contradict the model, or a dynamic dimension beside the batch
        has no number.
    """
    for name, given in (input_shapes or {}).items():
        if name not in dimensions:
            inputs = ", ".join(dimensions)
            raise UserError(f"{model_name}: input_shapes names '{name}', but the inputs are: {inputs}")
        _check_given(model_name, name, given, dimensions[name])
    shapes: dict[str, list[int]] = {}
    symbols: dict[str, int] = {}
    for name, extents in dimensions.items():
        given = (input_shapes or {}).get(name, ())
        shapes[name] = []
        for axis, extent in enumerate(extents):
            size = extent if isinstance(extent, int) else batch if axis == 0 else None
            if size is None and axis < len(given):
                size = given[axis]
            if size is None:
                example = [
                    e if isinstance(e, int) else batch if i == 0 else 32 for i, e in enumerate(extents)
                ]
                raise UserError(
                    f"{model_name}: axis {axis} of input '{name}' is dynamic: give its shape by "
                    "input_shapes, "
                    f"for example {{'{name}': {example}}}"
                )
            if isinstance(extent, str) and symbols.setdefault(extent, size) != size:
                raise UserError(
                    f"{model_name}: axis {axis} of input '{name}' must be {symbols[extent]} like another "
                    "axis "
                    f"of the symbol {extent}, but {size} is given"
                )
            shapes[name].append(size)
    return shapes


def _check_given(model_name: str, name: str, given: Sequence[int], extents: Sequence[Dimension]) -> None:
    if len(given) != len(extents):
        raise UserError(
            f"{model_name}: input_shapes gives {list(given)} for '{name}', which has {len(extents)} axes"
        )
    for axis, (size, extent) in enumerate(zip(given, extents, strict=True)):
        if size < 1 or (axis > 0 and isinstance(extent, int) and extent != size):
            shape = [e if isinstance(e, int) else "?" for e in extents]
            raise UserError(
                f"{model_name}: input_shapes gives {list(given)} for '{name}', whose shape in the model is "
                f"{shape}"
            )


def bind_shapes(model: Model, input_shapes: Mapping[str, Sequence[int]] | None, batch: int) -> Model:
    """Replace the symbolic dimensions of a Relax function by numbers (see `resolve_shapes`)."""
    dimensions = {v.name: [_dimension(d) for d in v.ty.shape.values] for v in model.input_variables}
    shapes = resolve_shapes(model.name, dimensions, input_shapes, batch)
    sizes = {
        extent: relax.prim_value(size)
        for name, extents in dimensions.items()
        for extent, size in zip(extents, shapes[name], strict=True)
        if isinstance(extent, str)
    }
    if not sizes:
        return model
    return dataclasses.replace(model, module=IRModule({"main": model.function.bind_symbolic_vars(sizes)}))


def _dimension(dimension: relax.Expr) -> Dimension:
    if hasattr(dimension, "value"):
        return int(dimension)
    return str(dimension.name) if isinstance(dimension, relax.Var) else None
