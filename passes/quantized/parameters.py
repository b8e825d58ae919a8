"""Scales and zero points of activations, scales of weights, and integer biases."""

from __future__ import annotations

import math

import numpy as np

from tvm_pulp.passes.quantized.graph import QuantizedTensor, Shape
from tvm_pulp.passes.quantized.no_integer_form import NoIntegerForm
from tvm_pulp.target.errors import UserError

WEIGHT_BITS = (8, 4)
BIAS_LIMIT = 2**30
ACCUMULATOR_LIMIT = 2**31 - 1


def activation(name: str, shape: Shape, low: float, high: float, layer: str) -> QuantizedTensor:
    """Choose scale and zero point of a tensor whose values lie from `low` to `high`.

    The range is widened to hold 0, which a byte then stands for exactly: scale = (high - low) / 255,
    zero point = round(-low / scale).

    Raises
    ------
    UserError
        If the range is not finite, or empty: the tensor was 0 for every sample of the calibration.
    """
    if not (math.isfinite(low) and math.isfinite(high)):
        raise UserError(
            f"layer {layer}: its calibrated range is from {low:g} to {high:g}: the calibration data or the "
            "parameters hold NaN or infinity"
        )
    low, high = min(low, 0.0), max(high, 0.0)
    scale = float(np.float32((high - low) / 255))
    if scale == 0:
        raise UserError(
            f"layer {layer}: it yields 0 for all calibration data, so it has no scale: calibrate with data "
            "like those that the network will see"
        )
    return QuantizedTensor(name, shape, scale, min(max(round(-low / scale), 0), 255))


def quantized_weight(
    weight: np.ndarray,
    bias: np.ndarray,
    source: QuantizedTensor,
    output: QuantizedTensor,
    bits: int,
    layer: str,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Quantise a layer's weight, symmetric a channel, and its bias to the scale of the sums.

    Parameters
    ----------
    weight : ndarray of float32, ``[output channels, ...]``
    bias : ndarray of float32, ``[output channels]``
    source, output : QuantizedTensor
        Of the layer.
    bits : int
        8 or 4: weights lie within +-127 or +-7.
    layer : str
        For messages.

    Returns
    -------
    weight : ndarray of int8
    bias : ndarray of int32
    ratios : ndarray of float64, ``[output channels]``
        Scale of the sums over the scale of the output.
    largest : ndarray of int64, ``[output channels]``
        Bound of the magnitude of the sums.

    Raises
    ------
    UserError
        If weight or bias are not finite, or a sum could leave 32 bits.
    """
    if not (np.isfinite(weight).all() and np.isfinite(bias).all()):
        raise UserError(f"layer {layer}: its weight or bias holds NaN or infinity")
    rows = weight.reshape(len(weight), -1).astype(np.float64)
    scales = np.abs(rows).max(axis=1, initial=0.0) / (2 ** (bits - 1) - 1)
    # A channel of zeros has no scale: the output's own step serves. A bias far larger than the products
    # must still fit: then a coarser scale loses less than a bound on the bias.
    scales[scales == 0] = output.scale / source.scale
    scales = np.maximum(scales, np.abs(bias) / (source.scale * BIAS_LIMIT))
    integers = np.rint(rows / scales[:, None]).astype(np.int64)
    biases = np.rint(bias / (scales * source.scale)).astype(np.int64)
    largest = largest_sums(integers, biases, source.zero_point, layer)
    ratios = scales * source.scale / output.scale
    return integers.astype(np.int8).reshape(weight.shape), biases.astype(np.int32), ratios, largest


def imported_weight(
    weight: np.ndarray,
    scales: np.ndarray,
    bias: np.ndarray,
    source: QuantizedTensor,
    least_unit: float,
    layer: str,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Give the weight and bias of a layer that comes quantised back their integers.

    Parameters
    ----------
    weight : ndarray of float32, ``[output channels, ...]``
        Integers times scales.
    scales : ndarray of float32
        Of the same shape, one value for each output channel.
    bias : ndarray of float32, ``[output channels]``
    source : QuantizedTensor
        Of the layer.
    least_unit : float
        Unit of the bias in channels of zeros, whose scale is 0.
    layer : str
        For messages.

    Returns
    -------
    weight : ndarray of int8
    bias : ndarray of int32
    units : ndarray of float64, ``[output channels]``
        Scale of the sums.
    largest : ndarray of int64, ``[output channels]``
        Bound of the magnitude of the sums.

    Raises
    ------
    NoIntegerForm
        If the weights have scales other than one a channel, or do not fit int8.
    UserError
        If a sum could leave 32 bits.
    """
    rows = scales.reshape(len(weight), -1).astype(np.float64)
    rows = np.where(rows == 0, least_unit / source.scale, rows)
    channels = rows[:, 0]
    if (rows != channels[:, None]).any():
        why = "its weight's scales differ within an output channel"
        raise NoIntegerForm(layer, why, "quantise it by output channel")
    integers = np.rint(weight.reshape(rows.shape) / rows).astype(np.int64)
    if (np.abs(integers + 0.5) > 128).any():
        why = f"its weight less the zero point reaches {int(np.abs(integers).max())}, beyond int8"
        raise NoIntegerForm(layer, why, "quantise weights symmetrically")
    units = channels * source.scale
    biases = np.rint(bias / units)
    if (np.abs(biases) > ACCUMULATOR_LIMIT).any():
        raise UserError(f"layer {layer}: its bias is beyond 32 bits in units of its products")
    biases = biases.astype(np.int64)
    largest = largest_sums(integers, biases, source.zero_point, layer)
    return integers.astype(np.int8).reshape(weight.shape), biases.astype(np.int32), units, largest


def largest_sums(rows: np.ndarray, bias: np.ndarray, zero_point: int, layer: str) -> np.ndarray:
    """Bound the sums of products of all inputs, and prove that they fit 32 bits on the way, too.

    Kernels may take the zero point off each byte or all at once, in the bias: both are bounded.

    Parameters
    ----------
    rows : ndarray of int, ``[output channels, products]``
    bias : ndarray of int, ``[output channels]``
    zero_point : int
        Of the source.
    layer : str
        For the message.

    Returns
    -------
    ndarray of int64, ``[output channels]``
        Bound of the magnitude of a channel's sums.

    Raises
    ------
    UserError
        With the largest sum that may occur.
    """
    ups, downs = np.maximum(rows, 0).sum(axis=1), np.minimum(rows, 0).sum(axis=1)
    constant = bias - zero_point * (ups + downs)
    largest = np.maximum(np.abs(255 * ups + constant), np.abs(255 * downs + constant))
    on_the_way = max(int(np.maximum(largest, np.abs(constant)).max()), int(255 * (ups - downs).max()))
    if on_the_way > ACCUMULATOR_LIMIT:
        raise UserError(
            f"layer {layer}: a sum of {rows.shape[1]} products may reach {on_the_way}, beyond 32 bits: keep "
            "this layer in float by an earlier latent layer"
        )
    return largest
