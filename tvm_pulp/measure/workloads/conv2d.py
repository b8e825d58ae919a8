"""Convolutions, depthwise ones included: forward, data gradient, weight gradient."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

import numpy as np

from tvm_pulp.measure.specification import SOURCE, Key, Specification
from tvm_pulp.measure.workloads.matmul import TOLERANCES, make_product
from tvm_pulp.measure.workloads.quantized_conv2d import make_quantized
from tvm_pulp.measure.workloads.workload import DTYPES, STEPS, Cost, Expected, Kind, Workload
from tvm_pulp.passes.lowerings.conv2d import is_pointwise, pointwise_product
from tvm_pulp.passes.operators.conv2d import Conv2d, conv2d
from tvm_pulp.passes.operators.conv2d_data_gradient import conv2d_data_gradient
from tvm_pulp.passes.operators.conv2d_weight_gradient import conv2d_weight_gradient
from tvm_pulp.passes.operators.kernel import Shape
from tvm_pulp.schedules.conv2d_workload import WindowAxis
from tvm_pulp.target.errors import UserError
from tvm_pulp.target.tvm_names import buffer_shape

_MAKERS = {"forward": conv2d, "data-grad": conv2d_data_gradient, "weight-grad": conv2d_weight_gradient}


def _make_conv2d(s: Specification) -> Workload:
    groups = s.number("groups")
    for name in ("cin", "cout"):
        if s.number(name) % groups:
            raise UserError(f"'{s.text}': groups={groups} does not divide {name}={s.number(name)}")
    return _make(s, s.number("cin"), s.number("cout"), groups)


def _make_depthwise(s: Specification) -> Workload:
    channels = s.number("channels")
    return _make(s, channels, channels, channels)


def _make(s: Specification, inputs: int, outputs: int, groups: int) -> Workload:
    taps, stride, pad, dilation = (s.number(name) for name in ("kernel", "stride", "pad", "dilation"))
    data = (s.number("batch"), inputs, s.number("h"), s.number("w"))
    weight = (outputs, inputs // groups, taps, taps)
    attributes = Conv2d((stride, stride), (pad, pad, pad, pad), (dilation, dilation), groups)
    if min(attributes.output_shape(data, weight)) < 1:
        raise UserError(f"'{s.text}': the window of {taps}x{taps} is larger than the image; give more pad")
    step = s.word("step")
    if s.word("dtype") == "int8":
        return make_quantized(s, attributes, data, weight)
    if is_pointwise(attributes, weight):  # a matrix product, as in the compiler
        product = pointwise_product(("data", "weight"), data, weight)
        if step != "forward":
            by_data = (step == "data-grad") == (product.a.name == "data")
            product = product.gradient_a("result") if by_data else product.gradient_b("result")
        return make_product(s, product)
    dtype = s.word("dtype")
    function = _MAKERS[step]("kernel", s.kind, attributes, data, weight, dtype)
    references = {"forward": _forward, "data-grad": _data_gradient, "weight-grad": _weight_gradient}
    reference = references[step](attributes, data, weight, buffer_shape(function.params[2]))
    macs = attributes.macs(data, weight)
    padding = macs - math.prod(weight) * data[0] * _pairs_inside(attributes, data, weight) // taps**2
    return Workload(s, function, reference, Cost(macs, padding_macs=padding), TOLERANCES[dtype])


def _pairs_inside(attributes: Conv2d, data: Shape, weight: Shape) -> int:
    """Return how many pairs of an output position and a tap of its window meet the image, not the padding."""
    top, left, _, _ = attributes.padding
    output = attributes.output_shape(data, weight)
    axes = zip(
        data[2:], output[2:], weight[2:], attributes.strides, (top, left), attributes.dilation, strict=True
    )
    return math.prod(WindowAxis(*axis).pairs_inside for axis in axes)


class _Taps:
    """Taps of a convolution in NumPy: which elements of the padded data each meets the output with."""

    def __init__(self, attributes: Conv2d, data: Shape, weight: Shape) -> None:
        self.attributes, self.data, self.weight = attributes, data, weight
        self.groups = attributes.groups
        self.output = attributes.output_shape(data, weight)
        self.top, self.left, bottom, right = attributes.padding
        self.padded = (*data[:2], data[2] + self.top + bottom, data[3] + self.left + right)

    def pad(self, data: np.ndarray) -> np.ndarray:
        padded = np.zeros(self.padded)
        padded[:, :, self.top : self.top + self.data[2], self.left : self.left + self.data[3]] = data
        return self.split(padded)

    def split(self, array: np.ndarray) -> np.ndarray:
        """Split the channels into groups: ``[batch, groups, channels / groups, height, width]``."""
        batch, channels, *rest = array.shape
        return array.reshape(batch, self.groups, channels // self.groups, *rest)

    def split_weight(self, weight: np.ndarray) -> np.ndarray:
        return weight.reshape(self.groups, self.weight[0] // self.groups, *self.weight[1:])

    def window(self, row: int, column: int) -> tuple[slice, slice]:
        starts = [tap * step for tap, step in zip((row, column), self.attributes.dilation, strict=True)]
        (high, wide), (down, right) = self.output[2:], self.attributes.strides
        return (
            slice(starts[0], starts[0] + (high - 1) * down + 1, down),
            slice(starts[1], starts[1] + (wide - 1) * right + 1, right),
        )

    def __iter__(self) -> Iterator[tuple[int, int]]:
        return iter([(r, c) for r in range(self.weight[2]) for c in range(self.weight[3])])


def _forward(attributes: Conv2d, data: Shape, weight: Shape, shape: Shape) -> Expected:
    taps = _Taps(attributes, data, weight)

    def expected(arrays: list[np.ndarray]) -> Mapping[int, np.ndarray]:
        source, weights = taps.pad(arrays[0]), taps.split_weight(arrays[1].astype(np.float64))
        result = taps.split(np.zeros(taps.output))
        for row, column in taps:
            rows, columns = taps.window(row, column)
            part = source[..., rows, columns]
            result += np.einsum("bgchw,goc->bgohw", part, weights[..., row, column], optimize=True)
        return {2: result.reshape(shape)}

    return expected


def _data_gradient(attributes: Conv2d, data: Shape, weight: Shape, shape: Shape) -> Expected:
    taps = _Taps(attributes, data, weight)

    def expected(arrays: list[np.ndarray]) -> Mapping[int, np.ndarray]:
        gradient = taps.split(arrays[0].astype(np.float64))
        weights = taps.split_weight(arrays[1].astype(np.float64))
        result = taps.split(np.zeros(taps.padded))
        for row, column in taps:
            rows, columns = taps.window(row, column)
            part = np.einsum("bgohw,goc->bgchw", gradient, weights[..., row, column], optimize=True)
            result[..., rows, columns] += part
        result = result.reshape(taps.padded)
        inside = slice(taps.top, taps.top + data[2]), slice(taps.left, taps.left + data[3])
        return {2: result[:, :, inside[0], inside[1]].reshape(shape)}

    return expected


def _weight_gradient(attributes: Conv2d, data: Shape, weight: Shape, shape: Shape) -> Expected:
    """Give the gradient, or its partial sums over sections of images and rows (``[sections, ...]``)."""
    taps = _Taps(attributes, data, weight)
    batch, _, height, _ = taps.output
    sections = shape[0] if len(shape) == 5 else 1
    parts = max(1, sections // batch)  # of an image
    images, high = batch * parts // sections, height // parts

    def expected(arrays: list[np.ndarray]) -> Mapping[int, np.ndarray]:
        gradient, source = taps.split(arrays[0].astype(np.float64)), taps.pad(arrays[1])
        result = np.zeros((sections, taps.groups, weight[0] // taps.groups, *weight[1:]))
        for section in range(sections):
            n, y = section // parts * images, section % parts * high
            some = gradient[n : n + images, ..., y : y + high, :]
            for row, column in taps:
                rows, columns = taps.window(row, column)
                part = source[n : n + images, ..., rows, columns][..., y : y + high, :]
                sums = np.einsum("bgohw,bgchw->goc", some, part, optimize=True)
                result[section, ..., row, column] = sums
        return {2: result.reshape(shape)}

    return expected


_COMMON = [
    Key("h"),
    Key("w"),
    Key("kernel", 3),
    Key("stride", 1),
    Key("pad", 0, least=0),
    Key("dilation", 1),
    Key("batch", 1),
    Key("step", "forward", STEPS),
    Key("dtype", "float32", DTYPES),
    SOURCE,
]

KINDS = {
    "conv2d": Kind([Key("cin"), Key("cout"), *_COMMON, Key("groups", 1)], _make_conv2d),
    "depthwise": Kind([Key("channels"), *_COMMON], _make_depthwise),
}
