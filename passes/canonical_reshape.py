"""Turn flatten, squeeze, expand_dims and transposes that move no data into `reshape`."""

from __future__ import annotations

import dataclasses

from tvm import relax

from tvm_pulp.passes.model import Model
from tvm_pulp.passes.rewrite import Emit, inferred, operator_name, rewrite, static_shape

_RESHAPES = {"reshape", "flatten", "squeeze", "expand_dims"}


def canonical_reshape(model: Model) -> Model:
    """Write every view of a tensor as one `reshape` to a literal shape.

    A transpose of an activation that only moves axes of extent 1 (as before the flattening of a pooled map)
    is a reshape too; transposes of parameters stay, since they tell the layout of a matmul. Reshapes of
    reshapes become one. Assumes static shapes.
    """
    sources: dict[str, relax.Var] = {}
    parameters = set(model.parameters)

    def transform(emit: Emit, name: str, value: relax.Expr) -> relax.Expr | None:
        operator = operator_name(value)
        is_view = operator in _RESHAPES
        if operator == "permute_dims" and value.args[0].name not in parameters:
            is_view = _moves_only_unit_axes(value)
        if not is_view:
            return None
        shape = static_shape(inferred(value))
        source = sources.get(value.args[0].name, value.args[0])
        if shape == static_shape(source):
            return source
        variable = emit(relax.op.reshape(source, shape), name)
        sources[variable.name] = source
        return variable

    return dataclasses.replace(model, module=rewrite(model.module, transform))


def _moves_only_unit_axes(value: relax.Expr) -> bool:
    shape = static_shape(value.args[0])
    axes = value.attrs.axes
    axes = list(range(len(shape)))[::-1] if axes is None else [int(axis) for axis in axes]
    kept = [axis for axis in axes if shape[axis] != 1]
    return kept == sorted(kept)
