"""Common ground of all operator classes: tensors of arguments, index checks and the finished PrimFunc."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from tvm import te

from tvm_pulp.target.tvm_names import IntImm, PrimFunc, buffer_shape, const, tirx

Shape = tuple[int, ...]
Scalar = Any
"""A scalar expression of TIR."""


def symbol(layer: str, work: str) -> str:
    """Name of a kernel as a C identifier, e.g. ``conv1_weight_gradient``."""
    name = re.sub(r"\W+", "_", f"{layer}_{work}", flags=re.ASCII).strip("_")
    return f"_{name}" if name[:1].isdigit() else name


def argument(name: str, shape: Sequence[int], dtype: str = "float32") -> te.Tensor:
    """Make an argument of a kernel."""
    return te.placeholder(tuple(shape), dtype=dtype, name=re.sub(r"\W+", "_", name, flags=re.ASCII))


def shape_of(tensor: te.Tensor) -> Shape:
    """Shape of a tensor as Python integers."""
    return tuple(int(extent) for extent in tensor.shape)


def broadcast_element(tensor: te.Tensor, indices: Sequence[Scalar]) -> Scalar:
    """Element of a tensor that NumPy's broadcasting reads for an element of the result."""
    extents = shape_of(tensor)
    own = indices[len(indices) - len(extents) :]
    return tensor(*(0 if extent == 1 else index for extent, index in zip(extents, own, strict=True)))


def widened(value: Scalar) -> Scalar:
    """Return a float16 value as float32; others as they are."""
    return value.astype("float32") if str(value.ty.dtype) == "float16" else value


def rounded(result: te.Tensor, dtype: str) -> te.Tensor:
    """Return a float32 result in another type, by the name that it had."""
    if dtype == "float32":
        return result
    return te.compute(result.shape, lambda *i: result(*i).astype(dtype), name=f"{result.op.name}_{dtype}")


def number(value: float) -> Scalar:
    """Make a float32 constant."""
    return const(value, "float32")


def within(position: Scalar, lowest: int, highest: int, extent: int) -> list[Scalar]:
    """Conditions for ``0 <= position < extent``, less those that cannot fail.

    Parameters
    ----------
    position
        Index expression that takes values from `lowest` to `highest`.
    extent
        Extent of the axis.
    """
    conditions = []
    if lowest < 0:
        conditions.append(position >= 0)
    if highest >= extent:
        conditions.append(position < extent)
    return conditions


def value_if(conditions: Sequence[Scalar], value: Scalar, otherwise: Scalar | None = None) -> Scalar:
    """Value where all conditions hold, else `otherwise` (0 by default); what does not count is not read."""
    if not conditions:
        return value
    return tirx.if_then_else(
        tirx.all(*conditions) if len(conditions) > 1 else conditions[0],
        value,
        number(0.0) if otherwise is None else otherwise,
    )


def make_kernel(
    arguments: Sequence[te.Tensor],
    outputs: Sequence[te.Tensor],
    *,
    operator: str,
    layer: str,
    work: str,
    macs: int = 0,
    details: Mapping[str, Any] | None = None,
    in_place: Mapping[int, int] | None = None,
) -> PrimFunc:
    """Make the PrimFunc of a kernel from its tensor expressions.

    Parameters
    ----------
    arguments, outputs
        In the order of the PrimFunc's buffers.
    operator
        Operator class, e.g. ``"conv2d"``.
    layer, work
        Where the kernel comes from in the model and what it does there; they make its name.
    macs
        Multiply-accumulates of a call.
    details
        Further attributes, e.g. ``{"pulp.conv2d": {...}}``.
    in_place
        Index of an output → index of the argument that it overwrites; such outputs have no buffer of their
        own. The computation must read an element of that argument for no other element of the output.

    Returns
    -------
    PrimFunc
        With blocks, unscheduled, named by its ``"global_symbol"``; attributes as in docs/architecture.md,
        section 2.
    """
    function = te.create_prim_func([*arguments, *outputs])
    if in_place:
        parameters = list(function.params)
        first = len(arguments)
        function = function.specialize(
            {parameters[first + output]: parameters[source] for output, source in in_place.items()}
        )
    attributes = {
        "global_symbol": symbol(layer, work),
        "pulp.operator": operator,
        "pulp.layer": layer,
        "pulp.macs": macs,
        **(details or {}),
    }
    return function.with_attrs(attributes)


def plain(value: Any) -> Any:
    """Turn an attribute's value, a TVM container or number, into Python's own."""
    if isinstance(value, IntImm):
        return int(value.value)
    if isinstance(value, Mapping) or hasattr(value, "items"):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return tuple(plain(item) for item in value)
    return str(value) if isinstance(value, str) else value


def argument_shapes(function: PrimFunc) -> list[tuple[Shape, str]]:
    """Shape and dtype of each buffer of a kernel, in order."""
    return [(buffer_shape(buffer), str(buffer.ty.dtype)) for buffer in function.params]
