"""Average pooling and its gradient."""

from __future__ import annotations

from dataclasses import asdict

from tvm import te

from tvm_pulp.passes.operators.kernel import Scalar, Shape, argument, make_kernel, number, value_if
from tvm_pulp.passes.operators.pooling import Pool2d
from tvm_pulp.target.tvm_names import PrimFunc, tirx


def _share(attributes: Pool2d, shape: Shape, out: tuple[Scalar, Scalar]) -> Scalar:
    """One over the number of elements that count in a window, by PyTorch's rule (ATen's AvgPoolKernel)."""
    count: Scalar = None
    constant = 1
    for axis in range(2):
        stride, before, after = (
            attributes.strides[axis],
            attributes.padding[axis],
            attributes.padding[axis + 2],
        )
        taps, step, extent = attributes.window[axis], attributes.dilation[axis], shape[2 + axis]
        windows = attributes.output_shape(shape)[2 + axis]
        lowest, highest = (0, extent)
        if attributes.count_include_pad:
            lowest, highest = -before, extent + after
        start = out[axis] * stride - before
        skipped_before = -before < lowest
        skipped_after = (windows - 1) * stride - before + (taps - 1) * step + 1 > highest
        if not skipped_before and not skipped_after:
            constant *= taps
            continue
        # taps below the lowest position are skipped, and those from the highest on
        first = (tirx.max(lowest - start, 0) + step - 1) // step if skipped_before else 0
        end = tirx.min((highest - start + step - 1) // step, taps) if skipped_after else taps
        count = (end - first) if count is None else count * (end - first)
    if count is None:
        return number(1.0 / constant)
    return number(1.0) / tirx.Cast("float32", count * constant)


def avg_pool2d(layer: str, work: str, attributes: Pool2d, shape: Shape) -> PrimFunc:
    """Make the forward kernel.

    Returns
    -------
    PrimFunc
        Operator class ``"avg_pool2d"``: data, output.
    """
    data = argument("data", shape)
    taps = attributes.taps()

    def compute(n: Scalar, c: Scalar, h: Scalar, w: Scalar) -> Scalar:
        element, conditions = attributes.element(data, (n, c), (h, w), taps)
        # Each term is scaled, not the sum: so no second tensor of the output's size is needed
        return te.sum(value_if(conditions, element * _share(attributes, shape, (h, w))), axis=taps)

    output = te.compute(attributes.output_shape(shape), compute, name="output")
    return make_kernel(
        [data], [output], operator="avg_pool2d", layer=layer, work=work, details=_details(attributes)
    )


def avg_pool2d_gradient(layer: str, work: str, attributes: Pool2d, shape: Shape) -> PrimFunc:
    """Make the kernel of the data gradient.

    Returns
    -------
    PrimFunc
        Operator class ``"avg_pool2d_gradient"``: output gradient; data gradient.
    """
    gradient = argument("output_gradient", attributes.output_shape(shape))
    rows, columns = attributes.axes(shape)
    row = te.reduce_axis((0, rows.candidates), name="kh")
    column = te.reduce_axis((0, columns.candidates), name="kw")

    def compute(n: Scalar, c: Scalar, h: Scalar, w: Scalar) -> Scalar:
        oh, _, row_conditions = rows.cover(h, row)
        ow, _, column_conditions = columns.cover(w, column)
        value = gradient[n, c, oh, ow] * _share(attributes, shape, (oh, ow))
        return te.sum(value_if(row_conditions + column_conditions, value), axis=[row, column])

    result = te.compute(shape, compute, name="data_gradient")
    return make_kernel(
        [gradient],
        [result],
        operator="avg_pool2d_gradient",
        layer=layer,
        work=work,
        details=_details(attributes),
    )


def _details(attributes: Pool2d) -> dict[str, object]:
    return {"pulp.pool2d": asdict(attributes)}
