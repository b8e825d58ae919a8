"""Softmax and log-softmax over one axis, and their gradients; stable as the largest element is subtracted."""

from __future__ import annotations

from tvm import te

from tvm_pulp.passes.operators.kernel import Scalar, Shape, argument, make_kernel
from tvm_pulp.target.tvm_names import PrimFunc, tirx


def softmax(layer: str, work: str, shape: Shape, axis: int, logarithm: bool) -> PrimFunc:
    """Make the forward kernel.

    Parameters
    ----------
    layer, work
        See `make_kernel`.
    shape
        Of the data.
    axis
        To normalise over.
    logarithm
        Give the logarithm of the softmax.

    Returns
    -------
    PrimFunc
        Operator class ``"softmax"`` or ``"log_softmax"``: data, output.
    """
    data = argument("data", shape)
    largest = _row_reduction(te.max, shape, axis, "largest", lambda *i: data(*i))
    total = _row_reduction(
        te.sum, shape, axis, "total", lambda *i: tirx.exp(data(*i) - largest(*_row(i, axis)))
    )

    def compute(*indices: Scalar) -> Scalar:
        row = _row(indices, axis)
        shifted = data(*indices) - largest(*row)
        return shifted - tirx.log(total(*row)) if logarithm else tirx.exp(shifted) / total(*row)

    output = te.compute(shape, compute, name="output")
    operator = "log_softmax" if logarithm else "softmax"
    return make_kernel([data], [output], operator=operator, layer=layer, work=work)


def softmax_gradient(layer: str, work: str, shape: Shape, axis: int, logarithm: bool) -> PrimFunc:
    """Make the kernel of the data gradient, from the output y and its gradient g.

    Softmax: ``y * (g - Σ g*y)``; log-softmax: ``g - exp(y) * Σ g``.

    Returns
    -------
    PrimFunc
        Operator class ``"softmax_gradient"`` or ``"log_softmax_gradient"``: output gradient, output; data
        gradient.
    """
    gradient, output = argument("output_gradient", shape), argument("output", shape)

    def term(*indices: Scalar) -> Scalar:
        return gradient(*indices) if logarithm else gradient(*indices) * output(*indices)

    total = _row_reduction(te.sum, shape, axis, "total", term)

    def compute(*indices: Scalar) -> Scalar:
        row = total(*_row(indices, axis))
        if logarithm:
            return gradient(*indices) - tirx.exp(output(*indices)) * row
        return output(*indices) * (gradient(*indices) - row)

    result = te.compute(shape, compute, name="data_gradient")
    operator = "log_softmax_gradient" if logarithm else "softmax_gradient"
    return make_kernel([gradient, output], [result], operator=operator, layer=layer, work=work)


def _row(indices: tuple[Scalar, ...], axis: int) -> tuple[Scalar, ...]:
    return (*indices[:axis], *indices[axis + 1 :])


def _row_reduction(reduce: object, shape: Shape, axis: int, name: str, term: object) -> te.Tensor:
    along = te.reduce_axis((0, shape[axis]), name="along")
    return te.compute(
        _row(shape, axis),
        lambda *i: reduce(term(*i[:axis], along, *i[axis:]), axis=along),  # type: ignore[operator]
        name=name,
    )
