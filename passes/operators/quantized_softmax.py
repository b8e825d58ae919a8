"""Softmax of bytes: the exponentials stand in a table."""

from __future__ import annotations

from tvm import te

from tvm_pulp.passes.operators.kernel import Scalar, Shape, argument, make_kernel, number
from tvm_pulp.target.tvm_names import PrimFunc, const, tirx


def quantized_softmax(layer: str, work: str, shape: Shape, scale: float, zero_point: int) -> PrimFunc:
    """Make the kernel of a softmax along the last axis, see `QuantizedSoftmax`.

    Parameters
    ----------
    layer, work
        See `make_kernel`.
    shape
        Of data and result.
    scale, zero_point
        Of the result.

    Returns
    -------
    PrimFunc
        Operator class ``"quantized_softmax"``: data uint8, table float32 [256], result uint8.
    """
    data, table = argument("data", shape, "uint8"), argument("table", (256,))
    n = te.reduce_axis((0, shape[-1]), name="n")
    k = te.reduce_axis((0, shape[-1]), name="k")

    def byte(value: Scalar) -> Scalar:
        return tirx.min(tirx.max(tirx.Cast("int32", value), const(0, "int32")), const(255, "int32"))

    largest = te.compute(
        shape[:-1], lambda *i: te.max(tirx.Cast("int32", data(*i, n)), axis=[n]), name="largest"
    )

    def exponential(row: tuple[Scalar, ...], at: Scalar) -> Scalar:
        return table(byte(const(255, "int32") - largest(*row) + tirx.Cast("int32", data(*row, at))))

    total = te.compute(shape[:-1], lambda *i: te.sum(exponential(i, k), axis=[k]), name="total")
    inverse = te.compute(shape[:-1], lambda *i: number(1.0) / (total(*i) * number(scale)), name="inverse")

    def compute(*indices: Scalar) -> Scalar:
        *row, at = indices
        scaled = tirx.min(exponential(tuple(row), at) * inverse(*row), number(512.0))
        rounded = tirx.Cast("int32", tirx.round(scaled)) + const(zero_point, "int32")
        return tirx.Cast("uint8", byte(rounded))

    result = te.compute(shape, compute, name="result")
    return make_kernel([data, table], [result], operator="quantized_softmax", layer=layer, work=work)
