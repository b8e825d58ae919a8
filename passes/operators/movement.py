"""Kernels that move elements and compute nothing: transposes, padding, concatenation and their gradients."""

from __future__ import annotations

from collections.abc import Sequence

from tvm import te

from tvm_pulp.passes.operators.kernel import Scalar, Shape, argument, make_kernel, value_if, within
from tvm_pulp.target.tvm_names import PrimFunc, const, tirx


def permute_dims(
    layer: str, work: str, shape: Shape, axes: Sequence[int], dtype: str = "float32"
) -> PrimFunc:
    """Make the kernel of a transpose: axis i of the result is axis ``axes[i]`` of the data.

    Returns
    -------
    PrimFunc
        Operator class ``"permute_dims"``: data, output.
    """
    data = argument("data", shape, dtype)

    def compute(*indices: Scalar) -> Scalar:
        return data(*(indices[axes.index(axis)] for axis in range(len(shape))))

    output = te.compute(tuple(shape[axis] for axis in axes), compute, name="output")
    return make_kernel([data], [output], operator="permute_dims", layer=layer, work=work)


def pad(
    layer: str,
    work: str,
    shape: Shape,
    before: Sequence[int],
    after: Sequence[int],
    value: float,
    dtype: str = "float32",
) -> PrimFunc:
    """Make the kernel that surrounds the data by a constant.

    Parameters
    ----------
    layer, work
        See `make_kernel`.
    shape
        Of the data.
    before, after
        Elements to add to each axis.
    value
        The constant.
    dtype
        Of the data.

    Returns
    -------
    PrimFunc
        Operator class ``"pad"``: data, output.
    """
    data = argument("data", shape, dtype)
    result = tuple(b + extent + a for b, extent, a in zip(before, shape, after, strict=True))

    def compute(*indices: Scalar) -> Scalar:
        position = [index - b if b else index for index, b in zip(indices, before, strict=True)]
        conditions = [
            condition
            for at, b, extent, a in zip(position, before, shape, after, strict=True)
            for condition in within(at, -b, extent - 1 + a, extent)
        ]
        return value_if(conditions, data(*position), const(value, dtype))

    output = te.compute(result, compute, name="output")
    details = _moves([((0,) * len(shape), before, shape)], value)
    return make_kernel([data], [output], operator="pad", layer=layer, work=work, details=details)


def part(layer: str, work: str, shape: Shape, start: Sequence[int], extents: Sequence[int]) -> PrimFunc:
    """Make the kernel that copies a box out of the data: the gradient of `pad` and of `concat`.

    Returns
    -------
    PrimFunc
        Operator class ``"slice"``: data, output.
    """
    data = argument("data", shape)
    output = te.compute(
        tuple(extents),
        lambda *i: data(*(index + s if s else index for index, s in zip(i, start, strict=True))),
        name="output",
    )
    details = _moves([(start, (0,) * len(shape), extents)])
    return make_kernel([data], [output], operator="slice", layer=layer, work=work, details=details)


def concat(layer: str, work: str, shapes: Sequence[Shape], axis: int, dtype: str = "float32") -> PrimFunc:
    """Make the kernel that joins tensors along an axis.

    Returns
    -------
    PrimFunc
        Operator class ``"concat"``: the tensors, output.
    """
    tensors = [argument(f"data{position}", shape, dtype) for position, shape in enumerate(shapes)]
    starts = [sum(shape[axis] for shape in shapes[:position]) for position in range(len(shapes))]

    def compute(*indices: Scalar) -> Scalar:
        value: Scalar = None
        for tensor, start in reversed(list(zip(tensors, starts, strict=True))):
            where = list(indices)
            where[axis] = indices[axis] - start if start else indices[axis]
            element = tensor(*where)
            following = start + int(tensor.shape[axis])
            value = element if value is None else tirx.if_then_else(indices[axis] < following, element, value)
        return value

    total = sum(shape[axis] for shape in shapes)
    output = te.compute((*shapes[0][:axis], total, *shapes[0][axis + 1 :]), compute, name="output")
    zero = (0,) * len(shapes[0])
    places = [(*zero[:axis], start, *zero[axis + 1 :]) for start in starts]
    details = _moves([(zero, place, shape) for place, shape in zip(places, shapes, strict=True)])
    return make_kernel(tensors, [output], operator="concat", layer=layer, work=work, details=details)


def _moves(
    boxes: Sequence[tuple[Sequence[int], Sequence[int], Sequence[int]]], value: float = 0.0
) -> dict[str, object]:
    """Attribute that tells what is moved: for each argument where a box starts, in it and in the result, and
    its extents; the rest of the result is `value`.
    """
    keys = ("source", "result", "extents")
    pieces = [dict(zip(keys, map(list, box), strict=True)) for box in boxes]
    return {"pulp.movement": {"pieces": pieces, "value": float(value)}}
