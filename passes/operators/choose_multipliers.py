"""The choice of integer multipliers for a requantisation, and for sums of bytes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from tvm_pulp.passes.operators.requantize import Requantization, Rounding
from tvm_pulp.target.errors import UserError

NARROW_BITS = 30
"""Products of `Requantization.narrow` are less than two to this power, so that the rest fits 32 bits too."""

SHORT_BITS = 15
"""Multipliers of `Requantization.short` and `Requantization.halfword` are less than two to this power."""

_MOST_SUM_BITS = 21

CONVOLUTION = ("short", "narrow")
PRODUCT = ("halfword", *CONVOLUTION)
DEPTHWISE = ("halfword", "narrow", "short")
"""Forms in the order of the kernels' speed: sums of convolutions start from their biases, others do not."""

_SHIFTS = {"short": range(47, 16, -1), "narrow": range(22, 0, -1), "halfword": range(30, 0, -1)}
"""Shifts that the kernels' instructions take, the most exact first."""


def choose_multipliers(
    scales: Sequence[float] | np.ndarray,
    largest_sums: Sequence[float] | np.ndarray,
    *,
    zero_point: int = 0,
    low: int = 0,
    high: int = 255,
    accuracy: float = 1 / 16,
    forms: Sequence[str] = CONVOLUTION,
    rounding: Rounding = Rounding.HALF_UP,
) -> tuple[np.ndarray, Requantization]:
    """Choose integer multipliers, one for each channel, and a shift for all.

    The faster forms, of 32-bit products (`narrow`), of multipliers of 15 bits (`short`) or of sums shifted to
    16 bits (`halfword`), are taken where they move no result by more than `accuracy`; else that of 64-bit
    products with as many bits as int32 multipliers have.

    Parameters
    ----------
    scales
        What each channel's sums are multiplied by, ``s_data * s_weight[c] / s_result``; positive.
    largest_sums
        Bound of the magnitude of each channel's sums, bias included.
    zero_point, low, high
        See `Requantization`.
    accuracy
        Largest error of a result, in units of its last place, that a faster form may add.
    forms
        The faster forms, in the order in which they are tried.
    rounding
        `HALF_UP`, or `HALF_EVEN`, which is made `HALF_UP` where no result lies halfway between integers; else
        the form is `narrow` if that is accurate enough, the only one of which kernels round so.

    Returns
    -------
    multipliers : ndarray of int32
    requantization : Requantization

    Raises
    ------
    UserError
        Where a scale is not positive or is so large that no shift serves.
    """
    scale, sums = np.asarray(scales, np.float64), np.asarray(largest_sums, np.float64)
    if not (np.isfinite(scale).all() and (scale > 0).all()):
        raise UserError("requantisation needs finite scales above 0: a channel is constant or not calibrated")
    even = rounding is Rounding.HALF_EVEN
    forms = [form for form in forms if not (even and form == "halfword")]
    multipliers, requantization = _choose(scale, sums, zero_point, low, high, accuracy, forms)
    if even and _has_halves(multipliers, sums, requantization.shift):
        multipliers, requantization = _choose(scale, sums, zero_point, low, high, accuracy, ("narrow",))
        if _has_halves(multipliers, sums, requantization.shift):
            requantization = replace(requantization, rounding=rounding)
    return multipliers, requantization


def choose_sum_multipliers(
    layer: str, ratios: tuple[float, float], *, subtracts: bool = False, accuracy: float = 1 / 16
) -> tuple[tuple[int, int], int]:
    """Choose the multipliers of the sum or difference of two tensors of bytes, and a shift for both.

    Parameters
    ----------
    layer
        For messages.
    ratios
        Scale of each operand by that of the result; positive.
    subtracts
        Whether the right operand is subtracted: its multiplier is negative then.
    accuracy
        Largest error of a result, in units of its last place, of multipliers of 16 bits, with signs where one
        is negative. Where they have a larger one, they get 21 bits: products with bytes and their rounding
        just fit 32.

    Raises
    ------
    UserError
        Where the result's scale is so much finer than an operand's that no shift serves.
    """
    sign = -1 if subtracts else 1
    for bits in (16 - subtracts, _MOST_SUM_BITS):
        shift = min(math.floor(math.log2((2**bits - 1) / max(ratios))), 30)
        if shift < 1:
            raise UserError(f"layer {layer}: the scales of its operands are too far from that of its result")
        multipliers = round(ratios[0] * 2**shift), sign * round(ratios[1] * 2**shift)
        errors = (abs(abs(m) / 2**shift - ratio) for m, ratio in zip(multipliers, ratios, strict=True))
        if 255 * sum(errors) <= accuracy:
            break
    return multipliers, shift


def _has_halves(multipliers: np.ndarray, sums: np.ndarray, shift: int) -> bool:
    """Whether a sum times its multiplier may be an odd multiple of 2^(shift-1)."""
    powers = multipliers.astype(np.int64) & -multipliers.astype(np.int64)
    return bool((powers * sums >= 2.0 ** (shift - 1)).any())


def _choose(
    scale: np.ndarray,
    sums: np.ndarray,
    zero_point: int,
    low: int,
    high: int,
    accuracy: float,
    forms: Sequence[str],
) -> tuple[np.ndarray, Requantization]:
    """Return the multipliers of the first of some forms that is accurate enough, else 64-bit products."""
    bounds = (zero_point, low, high)
    for form in forms:
        first = _first_shift(sums) if form == "halfword" else 0
        # results beyond the range are clamped whatever their error
        reach, rounded = np.minimum(sums, 256 / scale), scale * (2.0**first / 2 if first else 0.0)
        for shift in _SHIFTS[form]:
            multipliers = np.rint(scale * 2.0 ** (shift + first))
            largest = multipliers * np.maximum(sums, 1) if form == "narrow" else multipliers
            if largest.max() < 2 ** (NARROW_BITS if form == "narrow" else SHORT_BITS):
                error = np.abs(multipliers / 2.0 ** (shift + first) - scale) * reach + rounded
                if multipliers.max() > 0 and (error <= accuracy).all():
                    chosen = Requantization(
                        shift, *bounds, narrow=form == "narrow", short=form == "short",
                        halfword=form == "halfword", first_shift=first,
                    )  # fmt: skip
                    return multipliers.astype(np.int32), chosen
                break
    shift = min(54, int(np.floor(31 - np.log2(scale.max()))))
    while np.rint(scale.max() * 2.0**shift) >= 2**31:
        shift -= 1
    if shift < 1:
        raise UserError(f"requantisation by a factor of {scale.max():.3g}: no shift serves")
    return np.rint(scale * 2.0**shift).astype(np.int32), Requantization(shift, *bounds)


def _first_shift(sums: np.ndarray) -> int:
    """Return the least shift after which sums are half words with signs."""
    return max(0, int(np.ceil(np.log2(max(float(sums.max()), 1.0) / (2**15 - 1)))))
