"""Gradient of a convolution by its data, gathered directly: no dilated or padded copy of anything."""

from __future__ import annotations

from dataclasses import dataclass

from tvm import te

from tvm_pulp.passes.operators.conv2d import Conv2d
from tvm_pulp.passes.operators.kernel import (
    Scalar,
    Shape,
    argument,
    make_kernel,
    rounded,
    value_if,
    widened,
    within,
)
from tvm_pulp.target.tvm_names import PrimFunc


@dataclass(frozen=True)
class WindowAxis:
    """One spatial axis of a window that slides over data: which windows cover a position of the data.

    A window at output position `out` covers ``out * stride + tap * dilation - before`` for its taps. Of a
    stride above 1 only every stride-th tap of a position counts: with dilation 1 those are enumerated as they
    are (``ceil(taps / stride)`` of them, none wasted), else all taps are tried.

    Attributes
    ----------
    extent : int
        Of the data.
    windows : int
        Extent of the output.
    taps, stride, dilation, before : int
        Of the window; `before` is the padding at the start.
    """

    extent: int
    windows: int
    taps: int
    stride: int
    dilation: int
    before: int

    @property
    def candidates(self) -> int:
        """Extent of the axis to reduce over."""
        return -(-self.taps // self.stride) if self._enumerated else self.taps

    @property
    def _enumerated(self) -> bool:
        return self.stride > 1 and self.dilation == 1

    def cover(self, position: Scalar, candidate: Scalar) -> tuple[Scalar, Scalar, list[Scalar]]:
        """Window and tap of a candidate for a position of the data, and the conditions that it is one.

        Returns
        -------
        window, tap
            Index expressions.
        conditions
            To be met all; empty if the candidate always counts.
        """
        if self.stride == 1:
            window = position + self.before - candidate * self.dilation
            lowest = self.before - (self.taps - 1) * self.dilation
            return window, candidate, within(window, lowest, self.extent - 1 + self.before, self.windows)
        if self._enumerated:
            shifted = position + self.before if self.before else position
            tap = shifted % self.stride + candidate * self.stride
            window = shifted // self.stride - candidate
            lowest = self.before // self.stride - (self.candidates - 1)
            highest = (self.extent - 1 + self.before) // self.stride
            conditions = within(tap, 0, self.candidates * self.stride - 1, self.taps)
            return window, tap, conditions + within(window, lowest, highest, self.windows)
        distance = position + self.before - candidate * self.dilation
        lowest = self.before - (self.taps - 1) * self.dilation
        highest = self.extent - 1 + self.before
        conditions = [distance % self.stride == 0]
        conditions += within(distance, lowest, highest, (self.windows - 1) * self.stride + 1)
        return distance // self.stride, candidate, conditions


def conv2d_data_gradient(
    layer: str,
    work: str,
    attributes: Conv2d,
    data_shape: Shape,
    weight_shape: Shape,
    dtype: str = "float32",
) -> PrimFunc:
    """Make the kernel of the data gradient.

    Parameters
    ----------
    layer, work
        See `make_kernel`.
    attributes
        Of the forward convolution.
    data_shape, weight_shape
        Of the forward convolution.
    dtype
        See `conv2d.conv2d`.

    Returns
    -------
    PrimFunc
        Operator class ``"conv2d_data_gradient"``: output gradient, weight, data gradient.
    """
    output_shape = attributes.output_shape(data_shape, weight_shape)
    gradient = argument("output_gradient", output_shape, dtype)
    weight = argument("weight", weight_shape, dtype)
    outputs, inputs = weight_shape[0] // attributes.groups, weight_shape[1]
    axes = [
        WindowAxis(
            extent=data_shape[2 + axis],
            windows=output_shape[2 + axis],
            taps=weight_shape[2 + axis],
            stride=attributes.strides[axis],
            dilation=attributes.dilation[axis],
            before=attributes.padding[axis],
        )
        for axis in range(2)
    ]
    out = te.reduce_axis((0, outputs), name="output_channel")
    row = te.reduce_axis((0, axes[0].candidates), name="kh")
    column = te.reduce_axis((0, axes[1].candidates), name="kw")

    def compute(n: Scalar, c: Scalar, h: Scalar, w: Scalar) -> Scalar:
        source, channel = out, c
        if attributes.groups > 1:
            group, channel = (c, 0) if inputs == 1 else (c // inputs, c % inputs)
            source = group if outputs == 1 else group * outputs + out
        oh, kh, row_conditions = axes[0].cover(h, row)
        ow, kw, column_conditions = axes[1].cover(w, column)
        product = widened(gradient(n, source, oh, ow)) * widened(weight(source, channel, kh, kw))
        return te.sum(value_if(row_conditions + column_conditions, product), axis=[out, row, column])

    result = te.compute(data_shape, compute, name="data_gradient")
    return make_kernel(
        [gradient, weight],
        [rounded(result, dtype)],
        operator="conv2d_data_gradient",
        layer=layer,
        work=work,
        macs=attributes.macs(data_shape, weight_shape),
        details=attributes.details(),
    )
