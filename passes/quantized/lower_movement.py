"""Kernels of an integer graph's operators that move bytes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tvm import relax

from tvm_pulp.passes.operators.kernel import Shape
from tvm_pulp.passes.operators.movement import concat, pad
from tvm_pulp.passes.operators.picked_bytes import resize_nearest, strided_slice
from tvm_pulp.passes.quantized import graph as g
from tvm_pulp.passes.quantized.lower_elementwise import Lowering
from tvm_pulp.passes.quantized.lower_ends import inverse, physical, physical_axes
from tvm_pulp.passes.quantized.movement_operators import ResizeNearest, Slice


def _concatenate(lowering: Lowering, operator: g.Concatenate) -> relax.Var:
    shapes = [physical(source.shape) for source in operator.sources]
    axis = physical_axes(len(shapes[0])).index(operator.axis)
    kernel = concat(operator.layer, "concat", shapes, axis, "uint8")
    return lowering.call(kernel, *(lowering.value(source) for source in operator.sources))


def _view(lowering: Lowering, operator: g.View) -> relax.Var:
    source, output = operator.source.shape, operator.output.shape
    value = lowering.value(operator.source)
    if source == output:
        return value
    if operator.channels_last:
        return lowering.view(value, physical(output))
    if _moves(source):
        value = lowering.permuted(operator, value, physical(source), inverse(physical_axes(4)))
    if not _moves(output):
        return lowering.view(value, physical(output))
    return lowering.permuted(operator, lowering.view(value, output), output, physical_axes(4))


def _pad(lowering: Lowering, operator: g.Pad) -> relax.Var:
    source = operator.source
    shape, before, after = physical(source.shape), physical(operator.before), physical(operator.after)
    kernel = pad(operator.layer, "pad", shape, before, after, source.zero_point, "uint8")
    return lowering.call(kernel, lowering.value(source))


def _transpose(lowering: Lowering, operator: g.Transpose) -> relax.Var:
    order = physical_axes(len(operator.axes))
    axes = tuple(inverse(order)[operator.axes[axis]] for axis in order)
    return lowering.permuted(operator, lowering.value(operator.source), physical(operator.source.shape), axes)


def _slice(lowering: Lowering, operator: Slice) -> relax.Var:
    shapes = operator.source.shape, operator.start, operator.strides, operator.output.shape
    kernel = strided_slice(operator.layer, "slice", *(physical(shape) for shape in shapes))
    return lowering.call(kernel, lowering.value(operator.source))


def _resize_nearest(lowering: Lowering, operator: ResizeNearest) -> relax.Var:
    size = operator.output.shape[2], operator.output.shape[3]
    shape = physical(operator.source.shape)
    kernel = resize_nearest(operator.layer, "resize", shape, size, operator.rows, operator.columns)
    return lowering.call(kernel, lowering.value(operator.source))


def _moves(shape: Shape) -> bool:
    """Whether the order in memory differs from that of the axes."""
    return len(shape) == 4 and shape[1] > 1 and shape[2] * shape[3] > 1


MOVEMENT: dict[type[g.Operator], Callable[[Lowering, Any], relax.Var]] = {
    g.Concatenate: _concatenate,
    g.View: _view,
    g.Pad: _pad,
    g.Transpose: _transpose,
    Slice: _slice,
    ResizeNearest: _resize_nearest,
}
