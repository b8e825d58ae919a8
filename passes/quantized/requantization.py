"""From sums of products to 8 bits: multiply by an integer, shift right, add the zero point, clamp."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from tvm_pulp.target.errors import UserError

MULTIPLIER_BITS = 31
FAST_SHIFT = 33
"""From this shift on the upper half of the product alone decides (`Requantization`)."""
MAXIMUM_SHIFT = 62


@dataclass(frozen=True)
class Requantization:
    """``clip(((sum * multiplier + 2^(shift - 1)) >> shift) + zero_point, minimum, maximum)``.

    The product has 64 bits; the shift rounds half up, as an arithmetic shift does after half a unit is added.
    With a shift of `FAST_SHIFT` or more that is ``(high + 2^(shift - 33)) >> (shift - 32)`` for the upper
    32 bits of the product: what lies below them is less than the unit that is rounded.

    Attributes
    ----------
    multipliers, shifts : ndarray of int32
        A channel each, or one for all. A multiplier is below 2^31, a shift from 1 to 62.
    zero_point : int
        Integer that stands for 0, from 0 to 255.
    minimum, maximum : int
        Bounds of the result, from 0 to 255; they do the work of ReLU and ReLU6.
    """

    multipliers: np.ndarray
    shifts: np.ndarray
    zero_point: int
    minimum: int = 0
    maximum: int = 255

    def __call__(self, sums: np.ndarray) -> np.ndarray:
        """Requantise sums.

        Parameters
        ----------
        sums : ndarray of int64 or int32
            Within 32 bits; `multipliers` broadcasts against it from the last axis.

        Returns
        -------
        ndarray of uint8
        """
        product = sums.astype(np.int64) * self.multipliers.astype(np.int64)
        shifts = self.shifts.astype(np.int64)
        rounded = (product + (np.int64(1) << (shifts - 1))) >> shifts
        return np.clip(rounded + self.zero_point, self.minimum, self.maximum).astype(np.uint8)


def multiplier_and_shift(ratio: float, layer: str) -> tuple[int, int]:
    """Write a positive ratio as ``multiplier / 2^shift`` with as many bits as the multiplier takes.

    Parameters
    ----------
    ratio : float
        Scale of the sums over the scale of the result.
    layer : str
        For the message.

    Returns
    -------
    multiplier, shift : int
        The multiplier has 31 bits, so its relative error is at most 2^-31; one below ``2^(30 - 62)`` is 0.

    Raises
    ------
    UserError
        If the ratio is not finite and positive, or 2^30 or more: the scales are out of proportion.
    """
    if not (math.isfinite(ratio) and ratio > 0):
        raise UserError(f"layer {layer}: its scales give a ratio of {ratio}: calibrate with other data")
    mantissa, exponent = math.frexp(ratio)  # ratio = mantissa * 2^exponent, mantissa in [0.5, 1)
    multiplier, shift = round(mantissa * 2**MULTIPLIER_BITS), MULTIPLIER_BITS - exponent
    if multiplier == 2**MULTIPLIER_BITS:
        multiplier, shift = multiplier // 2, shift - 1
    if shift < 1:
        raise UserError(
            f"layer {layer}: a ratio of scales of {ratio:g} is too large for integers: "
            "calibrate with other data"
        )
    if shift > MAXIMUM_SHIFT:
        multiplier, shift = multiplier >> (shift - MAXIMUM_SHIFT), MAXIMUM_SHIFT
    return multiplier, shift


def requantization(
    ratios: np.ndarray, zero_point: int, minimum: int, maximum: int, layer: str
) -> Requantization:
    """Make the requantisation of a layer.

    Parameters
    ----------
    ratios : ndarray of float64
        Scale of a channel's sums over the scale of the result.
    zero_point, minimum, maximum : int
        See `Requantization`.
    layer : str
        For messages.
    """
    pairs = [multiplier_and_shift(float(ratio), layer) for ratio in np.atleast_1d(ratios)]
    return Requantization(
        np.array([multiplier for multiplier, _ in pairs], np.int32),
        np.array([shift for _, shift in pairs], np.int32),
        zero_point,
        minimum,
        maximum,
    )
