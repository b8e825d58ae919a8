"""Quantised depthwise convolutions: a window for each channel, channels innermost (NHWC)."""

from __future__ import annotations

import numpy as np
from tvm import te

from tvm_pulp.passes.operators.kernel import Shape, argument, make_kernel
from tvm_pulp.passes.operators.packed_weights import weight_argument
from tvm_pulp.passes.operators.quantized_conv2d import QuantizedConv2d, row_bytes
from tvm_pulp.passes.operators.quantized_sums import with_requantization
from tvm_pulp.passes.operators.requantize import Requantization
from tvm_pulp.target.tvm_names import PrimFunc, tirx


def pack_depthwise_weight(weight: np.ndarray) -> np.ndarray:
    """Turn weights as models have them, int8 [channels, 1, rows, columns], into the kernel's.

    Returns
    -------
    ndarray
        int8 [channels, rows, columns in whole words]: zeros behind each row.
    """
    channels, _, rows, columns = weight.shape
    packed = np.zeros((channels, rows, row_bytes(columns, 1)), np.int8)
    packed[:, :, :columns] = weight[:, 0]
    return packed


def quantized_depthwise(
    layer: str,
    work: str,
    geometry: QuantizedConv2d,
    data_shape: Shape,
    requantization: Requantization | None,
    weight_bits: int = 8,
) -> PrimFunc:
    """Make the kernel of a quantised depthwise convolution with one result channel for each of the data's.

    Parameters
    ----------
    layer, work
        See `make_kernel`.
    geometry
        Window, strides and padding.
    data_shape
        [images, rows, columns, channels].
    requantization
        From the sums to bytes; None for the sums themselves, int32, without a bias.
    weight_bits
        8, or 4 for a weight of `pack_halves`.

    Returns
    -------
    PrimFunc
        Operator class ``"quantized_depthwise"``: data uint8, weight int8 as by `pack_depthwise_weight`,
        requantization int32 [vectors, channels] (see `Requantization.terms`), result uint8
        [images, rows, columns, channels].
    """
    images, height, width, channels = data_shape
    shape = (images, *geometry.output_size(height, width), channels)
    kernel_rows, kernel_columns = geometry.kernel
    data = argument("data", data_shape, "uint8")
    packed_shape = (channels, kernel_rows, row_bytes(kernel_columns, 1))
    weight, weight_element = weight_argument(packed_shape, weight_bits)
    ky = te.reduce_axis((0, kernel_rows), name="ky")
    kx = te.reduce_axis((0, kernel_columns), name="kx")
    total = te.compute(
        shape,
        lambda b, y, x, c: te.sum(
            geometry.element(data, b, y, x, ky, kx, c) * tirx.Cast("int32", weight_element(c, ky, kx)),
            axis=[ky, kx],
        ),
        name="total",
    )
    arguments, result, details = with_requantization([data, weight], total, requantization)
    return make_kernel(
        arguments,
        [result],
        operator="quantized_depthwise",
        layer=layer,
        work=work,
        macs=int(np.prod(shape)) * kernel_rows * kernel_columns,
        details={
            "pulp.quantized_depthwise": {**geometry.attributes(), **details, "weight_bits": weight_bits},
        },
    )
