"""Adaptive average pooling to an output that does not divide the data, and its gradient.

Output position i averages the data from ``floor(i * extent / outputs)`` to below ``ceil((i + 1) * extent /
outputs)`` on each axis (PyTorch's rule; windows may overlap).
"""

from __future__ import annotations

from tvm import te

from tvm_pulp.passes.operators.kernel import Scalar, Shape, argument, make_kernel, number, value_if
from tvm_pulp.target.tvm_names import PrimFunc, tirx


def _window(out: Scalar, extent: int, outputs: int) -> tuple[Scalar, Scalar]:
    """First position and position after the last of an output's window."""
    return out * extent // outputs, ((out + 1) * extent + outputs - 1) // outputs


def _longest(extent: int, outputs: int) -> int:
    """Elements of the longest window."""
    windows = (_window(i, extent, outputs) for i in range(outputs))
    return max(end - start for start, end in windows)


def adaptive_avg_pool2d(layer: str, work: str, shape: Shape, output_size: tuple[int, int]) -> PrimFunc:
    """Make the forward kernel.

    Parameters
    ----------
    layer, work
        See `make_kernel`.
    shape
        Of the data, NCHW.
    output_size
        Height and width of the result.

    Returns
    -------
    PrimFunc
        Operator class ``"adaptive_avg_pool2d"``: data, output.
    """
    data = argument("data", shape)
    extents = [_longest(extent, outputs) for extent, outputs in zip(shape[2:], output_size, strict=True)]
    row, column = te.reduce_axis((0, extents[0]), name="kh"), te.reduce_axis((0, extents[1]), name="kw")

    def compute(n: Scalar, c: Scalar, h: Scalar, w: Scalar) -> Scalar:
        top, bottom = _window(h, shape[2], output_size[0])
        left, right = _window(w, shape[3], output_size[1])
        conditions = [top + row < bottom, left + column < right]
        element = data[n, c, top + row, left + column] * _share(shape, output_size, (h, w))
        return te.sum(value_if(conditions, element), axis=[row, column])

    output = te.compute((*shape[:2], *output_size), compute, name="output")
    return make_kernel([data], [output], operator="adaptive_avg_pool2d", layer=layer, work=work)


def adaptive_avg_pool2d_gradient(
    layer: str, work: str, shape: Shape, output_size: tuple[int, int]
) -> PrimFunc:
    """Make the kernel of the data gradient.

    Returns
    -------
    PrimFunc
        Operator class ``"adaptive_avg_pool2d_gradient"``: output gradient; data gradient.
    """
    gradient = argument("output_gradient", (*shape[:2], *output_size))
    row = te.reduce_axis((0, output_size[0]), name="oh")
    column = te.reduce_axis((0, output_size[1]), name="ow")

    def compute(n: Scalar, c: Scalar, h: Scalar, w: Scalar) -> Scalar:
        top, bottom = _window(row, shape[2], output_size[0])
        left, right = _window(column, shape[3], output_size[1])
        conditions = [top <= h, h < bottom, left <= w, w < right]
        value = gradient[n, c, row, column] * _share(shape, output_size, (row, column))
        return te.sum(value_if(conditions, value), axis=[row, column])

    result = te.compute(shape, compute, name="data_gradient")
    return make_kernel([gradient], [result], operator="adaptive_avg_pool2d_gradient", layer=layer, work=work)


def _share(shape: Shape, output_size: tuple[int, int], out: tuple[Scalar, Scalar]) -> Scalar:
    top, bottom = _window(out[0], shape[2], output_size[0])
    left, right = _window(out[1], shape[3], output_size[1])
    return number(1.0) / tirx.Cast("float32", (bottom - top) * (right - left))
