"""Kernels that pick bytes: strided slices, and images of another size by their nearest rows and columns."""

from __future__ import annotations

from collections.abc import Sequence

from tvm import te

from tvm_pulp.passes.operators.kernel import Scalar, Shape, argument, make_kernel
from tvm_pulp.target.tvm_names import PrimFunc, const, tirx


def strided_slice(
    layer: str, work: str, shape: Shape, start: Sequence[int], strides: Sequence[int], extents: Sequence[int]
) -> PrimFunc:
    """Make the kernel that picks every so many elements of each axis from a start on.

    Returns
    -------
    PrimFunc
        Operator class ``"strided_slice"``: data uint8, output uint8 of `extents`.
    """
    data = argument("data", shape, "uint8")

    def compute(*indices: Scalar) -> Scalar:
        steps = zip(indices, start, strides, strict=True)
        return data(*(index * stride + first for index, first, stride in steps))

    output = te.compute(tuple(extents), compute, name="output")
    return make_kernel([data], [output], operator="strided_slice", layer=layer, work=work)


def resize_nearest(
    layer: str,
    work: str,
    shape: Shape,
    size: tuple[int, int],
    rows: tuple[int, int, int],
    columns: tuple[int, int, int],
) -> PrimFunc:
    """Make the kernel of an image of another size, its channels innermost.

    Parameters
    ----------
    layer, work
        See `make_kernel`.
    shape
        [images, rows, columns, channels].
    size
        Rows and columns of the result.
    rows, columns
        a, b and c: row y is row ``(y * a + b) // c`` of the data.

    Returns
    -------
    PrimFunc
        Operator class ``"resize_nearest"``: data uint8, output uint8.
    """
    data = argument("data", shape, "uint8")

    def place(index: Scalar, terms: tuple[int, int, int]) -> Scalar:
        a, b, c = (const(term, "int32") for term in terms)
        return tirx.floordiv(index * a + b, c)

    output = te.compute(
        (shape[0], *size, shape[3]),
        lambda n, y, x, channel: data(n, place(y, rows), place(x, columns), channel),
        name="output",
    )
    return make_kernel([data], [output], operator="resize_nearest", layer=layer, work=work)
