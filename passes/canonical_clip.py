"""Write every bound on an activation as `nn.relu` or as `clip` with constant bounds."""

from __future__ import annotations

import dataclasses
import math

from tvm import relax

from tvm_pulp.passes.model import Model
from tvm_pulp.passes.rewrite import Emit, is_number, number, operator_name, rewrite


def canonical_clip(model: Model) -> Model:
    """Turn relu6, clip, and minimum and maximum with a number into `clip` or `nn.relu`; merge nested ones.

    ``clip(x, 0, inf)`` is `nn.relu`; a clip between infinities is dropped. Of nested bounds, as from
    exporters that write ReLU6 as a minimum of a ReLU, one clip is left.
    """
    bounded: dict[str, tuple[relax.Var, float, float]] = {}

    def transform(emit: Emit, name: str, value: relax.Expr) -> relax.Expr | None:
        bounds = _bounds(value)
        if bounds is None:
            return None
        source, low, high = bounds
        if source.name in bounded:
            inner, inner_low, inner_high = bounded[source.name]
            merged = max(low, inner_low), min(high, inner_high)
            if merged[0] < merged[1]:
                source, (low, high) = inner, merged
        if (low, high) == (-math.inf, math.inf):
            return source
        if (low, high) == (0.0, math.inf):
            variable = emit(relax.op.nn.relu(source), name)
        else:
            variable = emit(relax.op.clip(source, low, high), name)
        bounded[variable.name] = (source, low, high)
        return variable

    return dataclasses.replace(model, module=rewrite(model.module, transform))


def _bounds(value: relax.Expr) -> tuple[relax.Var, float, float] | None:
    """(tensor, lower bound, upper bound) of an operator that bounds a tensor, else None."""
    operator = operator_name(value)
    if operator == "nn.relu":
        return value.args[0], 0.0, math.inf
    if operator == "nn.relu6":
        return value.args[0], 0.0, 6.0
    if operator == "clip":
        return value.args[0], float(value.args[1].value), float(value.args[2].value)
    if operator in ("minimum", "maximum"):
        numbers = [argument for argument in value.args if is_number(argument)]
        tensors = [argument for argument in value.args if isinstance(argument, relax.Var)]
        if len(numbers) == len(tensors) == 1:
            bound = number(numbers[0])
            return (tensors[0], bound, math.inf) if operator == "maximum" else (tensors[0], -math.inf, bound)
    return None
