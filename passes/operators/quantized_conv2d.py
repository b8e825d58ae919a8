"""Convolutions of bytes, quantised: images with their channels innermost (NHWC)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from tvm import te

from tvm_pulp.passes.operators.kernel import Scalar, Shape, argument, make_kernel, value_if, within
from tvm_pulp.passes.operators.packed_weights import weight_argument
from tvm_pulp.passes.operators.quantized_sums import with_requantization
from tvm_pulp.passes.operators.requantize import Requantization
from tvm_pulp.target.tvm_names import PrimFunc, const, tirx


@dataclass(frozen=True)
class QuantizedConv2d:
    """Geometry of a quantised convolution, and what its padding is filled with.

    Attributes
    ----------
    kernel, strides, dilation : pair of int
        Of rows and columns.
    padding : four int
        Top, left, bottom, right.
    zero_point : int
        The data's; the padding has this value.
    """

    kernel: tuple[int, int]
    strides: tuple[int, int] = (1, 1)
    padding: tuple[int, int, int, int] = (0, 0, 0, 0)
    dilation: tuple[int, int] = (1, 1)
    zero_point: int = 0

    def output_size(self, height: int, width: int) -> tuple[int, int]:
        """Return rows and columns of the result."""
        top, left, bottom, right = self.padding
        rows = (height + top + bottom - self.dilation[0] * (self.kernel[0] - 1) - 1) // self.strides[0] + 1
        columns = (width + left + right - self.dilation[1] * (self.kernel[1] - 1) - 1) // self.strides[1] + 1
        return rows, columns

    def attributes(self) -> dict[str, object]:
        """Return the geometry as a kernel's attributes."""
        return {
            "kernel": self.kernel,
            "strides": self.strides,
            "padding": self.padding,
            "dilation": self.dilation,
            "data_zero_point": self.zero_point,
        }

    def element(
        self, data: te.Tensor, b: Scalar, y: Scalar, x: Scalar, ky: Scalar, kx: Scalar, c: Scalar
    ) -> Scalar:
        """Return the int32 value of the padded image at a tap of a window."""
        conditions, place = [], []
        for axis, (position, tap) in enumerate(((y, ky), (x, kx))):
            stride, dilation, before = self.strides[axis], self.dilation[axis], self.padding[axis]
            extent = int(data.shape[1 + axis])
            windows = self.output_size(int(data.shape[1]), int(data.shape[2]))[axis]
            index = position * stride + tap * dilation - before
            highest = (windows - 1) * stride + (self.kernel[axis] - 1) * dilation - before
            conditions += within(index, -before, highest, extent)
            place.append(index)
        value = tirx.Cast("int32", data(b, *place, c))
        return value_if(conditions, value, const(self.zero_point, "int32"))


def row_bytes(kernel_width: int, channels: int) -> int:
    """Return the bytes of a row of a packed weight's window: its taps' channels, padded to whole words."""
    return -(-kernel_width * channels // 4) * 4


def pack_weight(weight: np.ndarray) -> np.ndarray:
    """Turn weights as models have them, int8 [outputs, inputs, rows, columns], into the kernel's.

    Returns
    -------
    ndarray
        int8 [outputs, rows, row_bytes]: the taps of a row with their channels innermost, zeros behind.
    """
    outputs, inputs, rows, columns = weight.shape
    packed = np.zeros((outputs, rows, row_bytes(columns, inputs)), np.int8)
    packed[:, :, : columns * inputs] = weight.transpose(0, 2, 3, 1).reshape(outputs, rows, columns * inputs)
    return packed


def in_whole_words(channels: int, outputs: int, groups: int) -> bool:
    """Tell whether groups have whole words of channels and outputs, so that a kernel can work group by group.

    Others are better computed as one convolution with zeros between the groups.
    """
    return channels // groups % 4 == 0 and outputs // groups % 4 == 0


def quantized_conv2d(
    layer: str,
    work: str,
    geometry: QuantizedConv2d,
    data_shape: Shape,
    outputs: int,
    requantization: Requantization | None,
    groups: int = 1,
    weight_bits: int = 8,
) -> PrimFunc:
    """Make the kernel of a quantised convolution.

    The data's zero point belongs in the bias, as minus itself times the sum of a channel's weights: the
    padding has that value too.

    Parameters
    ----------
    layer, work
        See `make_kernel`.
    geometry
        Window, strides and padding.
    data_shape
        [images, rows, columns, channels].
    outputs
        Channels of the result.
    requantization
        From the sums to bytes; None for the sums themselves, int32, without a bias.
    groups
        Of the channels of data and result, equal ones.
    weight_bits
        8, or 4 for a weight of `pack_halves`.

    Returns
    -------
    PrimFunc
        Operator class ``"quantized_conv2d"``: data uint8, weight int8 as by `pack_weight`,
        requantization int32 [vectors, outputs] (see `Requantization.terms`), result uint8
        [images, rows, columns, outputs].
    """
    images, height, width, channels = data_shape
    rows, columns = geometry.output_size(height, width)
    inputs, of_group = channels // groups, outputs // groups
    data = argument("data", data_shape, "uint8")
    packed_shape = (outputs, geometry.kernel[0], row_bytes(geometry.kernel[1], inputs))
    weight, weight_element = weight_argument(packed_shape, weight_bits)
    ky = te.reduce_axis((0, geometry.kernel[0]), name="ky")
    kx = te.reduce_axis((0, geometry.kernel[1]), name="kx")
    c = te.reduce_axis((0, inputs), name="c")
    shape = (images, rows, columns, outputs)

    def product(b: Scalar, y: Scalar, x: Scalar, o: Scalar) -> Scalar:
        channel = c if groups == 1 else tirx.floordiv(o, of_group) * inputs + c
        value = geometry.element(data, b, y, x, ky, kx, channel)
        return value * tirx.Cast("int32", weight_element(o, ky, kx * inputs + c))

    total = te.compute(shape, lambda *place: te.sum(product(*place), axis=[ky, kx, c]), name="total")
    arguments, result, details = with_requantization([data, weight], total, requantization)
    return make_kernel(
        arguments,
        [result],
        operator="quantized_conv2d",
        layer=layer,
        work=work,
        macs=images * rows * columns * outputs * inputs * geometry.kernel[0] * geometry.kernel[1],
        details={
            "pulp.quantized_conv2d": {
                **geometry.attributes(),
                "groups": groups,
                **details,
                "weight_bits": weight_bits,
            }
        },
    )
