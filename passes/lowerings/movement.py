"""Lowering of operators that move elements: reshape, transpose, padding, concatenation."""

from __future__ import annotations

from tvm import relax

from tvm_pulp.passes.lowerings.lowering import Lowering, Transposed
from tvm_pulp.passes.operators.movement import concat, pad
from tvm_pulp.passes.rewrite import static_shape


def lower_reshape(lowering: Lowering, variable: relax.Var, call: relax.Call) -> relax.Var:
    """Emit a view."""
    return lowering.view(lowering.tensor(call.args[0]), static_shape(variable), variable.name)


def lower_permute_dims(lowering: Lowering, variable: relax.Var, call: relax.Call) -> Transposed:
    """Put a transpose off until something other than a matrix product reads it."""
    rank = len(static_shape(variable))
    axes = call.attrs["axes"]
    order = tuple(range(rank))[::-1] if axes is None else tuple(int(axis) % rank for axis in axes)
    return Transposed(lowering.tensor(call.args[0]), order, lowering.names.layer(variable))


def lower_pad(lowering: Lowering, variable: relax.Var, call: relax.Call) -> relax.Var:
    """Emit padding by a constant."""
    data = lowering.tensor(call.args[0])
    widths = [int(width) for width in call.attrs["pad_width"]]
    before, after = widths[::2], widths[1::2]
    layer, value = lowering.names.layer(variable), float(call.attrs["pad_value"])
    kernel = pad(layer, lowering.work, static_shape(data), before, after, value)
    return lowering.kernel(kernel, [data], "pad", {"before": before}, variable.name)


def lower_concat(lowering: Lowering, variable: relax.Var, call: relax.Call) -> relax.Var:
    """Emit a concatenation."""
    source = call.args[0]
    found = source.fields if isinstance(source, relax.Tuple) else lowering.peek(source)
    tensors = [lowering.tensor(field) for field in found] if isinstance(source, relax.Tuple) else list(found)
    axis = int(call.attrs["axis"] or 0) % len(static_shape(variable))
    shapes = [static_shape(tensor) for tensor in tensors]
    kernel = concat(lowering.names.layer(variable), lowering.work, shapes, axis)
    return lowering.kernel(kernel, tensors, "concat", {"axis": axis}, variable.name)
