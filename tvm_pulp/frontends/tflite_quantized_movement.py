"""Operators of int8 TFLite models that move bytes."""

from __future__ import annotations

import math

from tflite.ConcatenationOptions import ConcatenationOptions
from tflite.ResizeNearestNeighborOptions import ResizeNearestNeighborOptions
from tflite.StridedSliceOptions import StridedSliceOptions

from tvm_pulp.frontends.tflite_quantized_importer import TO_NCHW, Converter, Importer, Node
from tvm_pulp.passes.quantized import graph as g
from tvm_pulp.passes.quantized.movement_operators import ResizeNearest, Slice


def _pad(importer: Importer, node: Node) -> None:
    source, output = importer.source(node), importer.declared(node.outputs[0])
    widths = node.graph.integers(node.inputs[1])
    if widths is None:
        node.refuse("its widths are computed at run time: make them constant")
    if len(node.inputs) > 2:
        value = node.graph.integers(node.inputs[2])
        signed = node.graph.dtype(node.inputs[2]) == "INT8"
        if value is None or int(value.reshape(())) + 128 * signed != source.zero_point:
            node.refuse("it pads by another value than 0")
    pairs = widths.astype(int)
    if len(source.shape) == 4:
        pairs = pairs[list(TO_NCHW)]
    before, after = (tuple(int(width) for width in pairs[:, side]) for side in (0, 1))
    importer.padded[node.outputs[0]] = g.Pad(node.layer, output, source, before, after)


def _view(importer: Importer, node: Node) -> None:
    source, output = importer.source(node), importer.declared(node.outputs[0])
    importer.emit(node.outputs[0], g.View(node.layer, output, source, channels_last=True))


def _concatenation(importer: Importer, node: Node) -> None:
    output = importer.declared(node.outputs[0])
    sources = tuple(importer.source(node, position) for position in range(len(node.inputs)))
    if any((s.scale, s.zero_point) != (output.scale, output.zero_point) for s in sources):
        node.refuse("its operands have other scales than its result")
    axis = node.options(ConcatenationOptions).Axis() % len(output.shape)
    if len(output.shape) == 4:
        axis = TO_NCHW.index(axis)
    importer.emit(node.outputs[0], g.Concatenate(node.layer, output, sources, axis))


def _transpose(importer: Importer, node: Node) -> None:
    source, output = importer.source(node), importer.declared(node.outputs[0])
    axes = node.constant(1, "its axes")
    if axes[0] != 0:
        node.refuse("it moves the axis of the batch")
    if len(axes) == 4:
        axes = [TO_NCHW.index(axes[axis]) for axis in TO_NCHW]
    importer.emit(node.outputs[0], g.Transpose(node.layer, output, source, tuple(axes)))


def _strided_slice(importer: Importer, node: Node) -> None:
    """Formula: TFLite's `internal/strided_slice_logic.h`."""
    options, shape = node.options(StridedSliceOptions), node.graph.shape(node.inputs[0])
    begin, end, strides = (node.constant(index, "its bounds") for index in (1, 2, 3))
    if options.EllipsisMask() or options.NewAxisMask() or min(strides) < 1:
        node.refuse("ellipses, new axes and steps backwards have no integer form: slice forwards")
    starts, extents = [], []
    for axis, extent in enumerate(shape):
        start, stop = (
            min(max(bound[axis] + extent * (bound[axis] < 0), 0), extent) for bound in (begin, end)
        )
        start = 0 if options.BeginMask() >> axis & 1 else start
        stop = extent if options.EndMask() >> axis & 1 else stop
        if options.ShrinkAxisMask() >> axis & 1:
            stop = start + 1
        starts.append(start)
        extents.append(-(-(stop - start) // strides[axis]))
    _emit_slice(importer, node, 0, starts, strides, extents)


def _slice(importer: Importer, node: Node) -> None:
    shape = node.graph.shape(node.inputs[0])
    begin, size = node.constant(1, "its begin"), node.constant(2, "its size")
    extents = [
        extent - first if count < 0 else count
        for extent, first, count in zip(shape, begin, size, strict=True)
    ]
    _emit_slice(importer, node, 0, begin, [1] * len(shape), extents)


def _split(importer: Importer, node: Node) -> None:
    shape = list(node.graph.shape(node.inputs[1]))
    (axis,) = (axis % len(shape) for axis in node.constant(0, "its axis"))
    shape[axis] //= len(node.outputs)
    for position in range(len(node.outputs)):
        starts = [0] * len(shape)
        starts[axis] = position * shape[axis]
        _emit_slice(importer, node, position, starts, [1] * len(shape), shape, source=1)


def _emit_slice(
    importer: Importer,
    node: Node,
    position: int,
    starts: list[int],
    strides: list[int],
    extents: list[int],
    source: int = 0,
) -> None:
    """Emit a slice in the order of the file's axes, and a view where axes of one element are dropped."""
    if starts[0] != 0 or strides[0] != 1 or extents[0] != node.graph.shape(node.inputs[source])[0]:
        node.refuse("it slices the axis of the batch")
    extents = [importer.shape(node.inputs[source])[0], *extents[1:]]
    data, output = importer.source(node, source), importer.declared(node.outputs[position])
    order = TO_NCHW if len(extents) == 4 else tuple(range(len(extents)))
    start, steps, shape = (tuple(values[axis] for axis in order) for values in (starts, strides, extents))
    result = output
    if len(extents) != len(importer.shape(node.outputs[position])):
        result = g.QuantizedTensor(f"{output.name}_slice", shape, output.scale, output.zero_point)
    importer.emit(node.outputs[position], Slice(node.layer, result, data, start, steps))
    if result is not output:
        importer.emit(node.outputs[position], g.View(node.layer, output, result, channels_last=True))


def _resize_nearest(importer: Importer, node: Node) -> None:
    """Formula: TFLite's `internal/reference/resize_nearest_neighbor.h`."""
    source, output = importer.source(node), importer.declared(node.outputs[0])
    options = node.options(ResizeNearestNeighborOptions)
    terms = []
    for extent, size in zip(source.shape[2:], output.shape[2:], strict=True):
        a, b, c = extent, 0, size
        if options.AlignCorners() and size > 1:
            # halves go up: row y is floor(y * (extent - 1) / (size - 1) + 1 / 2)
            a, b, c = 2 * (extent - 1), size - 1, 2 * (size - 1)
        elif options.HalfPixelCenters():
            a, b, c = 2 * extent, extent, 2 * size
        divisor = math.gcd(a, b, c)
        terms.append((a // divisor, b // divisor, c // divisor))
    resized = ResizeNearest(node.layer, output, source, terms[0], terms[1])
    importer.emit(node.outputs[0], resized)


MOVEMENT: dict[str, Converter] = {
    "PAD": _pad,
    "PADV2": _pad,
    "RESHAPE": _view,
    "SQUEEZE": _view,
    "EXPAND_DIMS": _view,
    "CONCATENATION": _concatenation,
    "TRANSPOSE": _transpose,
    "STRIDED_SLICE": _strided_slice,
    "SLICE": _slice,
    "SPLIT": _split,
    "RESIZE_NEAREST_NEIGHBOR": _resize_nearest,
}
