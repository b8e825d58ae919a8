"""From integer sums to bytes: how quantised operators end."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np

from tvm_pulp.passes.operators.kernel import Scalar
from tvm_pulp.target.errors import UserError
from tvm_pulp.target.tvm_names import call_pure_extern, const, tirx

NARROW_BITS = 30
"""Products of `Requantization.narrow` are less than two to this power, so that the rest fits 32 bits too."""

SHORT_BITS = 15
"""Multipliers of `Requantization.short` are less than two to this power."""


@dataclass(frozen=True)
class Requantization:
    """``clip((sum * multiplier + 2^(shift-1) >> shift) + zero_point, low, high)``, in 64 bits, as uint8.

    Attributes
    ----------
    shift : int
        1 to 62. Kernels take 33 to 54 (1 to 22 if `narrow`, 17 to 47 if `short`); other shifts are slow.
    zero_point : int
        Of the result.
    low, high : int
        Its range within 0 to 255; a ReLU has ``low = zero_point``.
    narrow : bool
        States that ``|sum * multiplier| < 2^30`` for all sums that can occur, so that 32 bits will do.
    short : bool
        States that all multipliers are positive and less than 2^15, so that two products of 16 bits will do.
    """

    shift: int
    zero_point: int = 0
    low: int = 0
    high: int = 255
    narrow: bool = False
    short: bool = False

    def __post_init__(self) -> None:
        if not 1 <= self.shift <= 62:
            raise UserError(f"requantisation by a shift of {self.shift}: it must be 1 to 62")
        if not 0 <= self.low <= self.high <= 255 or not 0 <= self.zero_point <= 255:
            raise UserError(
                f"requantisation to {self.low}..{self.high} with zero point {self.zero_point}: "
                "all must be within 0..255"
            )

    def attributes(self) -> dict[str, int]:
        """Return the fields as a kernel's attributes."""
        return {name: int(value) for name, value in asdict(self).items()}

    def apply(self, total: Scalar, multiplier: Scalar) -> Scalar:
        """Return the expression of a result: it calls ``pulp_math.h``, as TIR here has 32 bits."""
        shift = const(self.shift, "int32")
        value = call_pure_extern("int32", "pulp_requantize", total, multiplier, shift)
        if self.zero_point:
            value = value + const(self.zero_point, "int32")
        low, high = const(self.low, "int32"), const(self.high, "int32")
        return tirx.Cast("uint8", tirx.min(tirx.max(value, low), high))

    def reference(self, total: np.ndarray, multiplier: np.ndarray | int) -> np.ndarray:
        """Return the results for int32 sums by NumPy; `multiplier` is broadcast."""
        product = total.astype(np.int64) * np.asarray(multiplier, np.int64)
        value = ((product + (1 << (self.shift - 1))) >> self.shift).astype(np.int32) + self.zero_point
        return np.clip(value, self.low, self.high).astype(np.uint8)


def choose_multipliers(
    scales: Sequence[float] | np.ndarray,
    largest_sums: Sequence[float] | np.ndarray,
    *,
    zero_point: int = 0,
    low: int = 0,
    high: int = 255,
    accuracy: float = 1 / 16,
    prefer: str = "short",
) -> tuple[np.ndarray, Requantization]:
    """Choose integer multipliers, one for each channel, and a shift for all.

    The faster forms, of 32-bit products (`narrow`) or of multipliers of 15 bits (`short`), are taken where
    their multipliers move no result by more than `accuracy`; else that of 64-bit products with as many bits
    as int32 multipliers have.

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
    prefer
        The form to try first: ``"short"``, which is the faster one for sums that start from their bias, or
        ``"narrow"``, for those that do not (depthwise convolutions).

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

    def is_accurate(shift: int, multipliers: np.ndarray) -> bool:
        # results beyond the range are clamped whatever their error
        error = np.abs(multipliers / 2.0**shift - scale) * np.minimum(sums, 256 / scale)
        return bool((error <= accuracy).all())

    def is_narrow(multipliers: np.ndarray) -> bool:
        return bool((multipliers * np.maximum(sums, 1) < 2**NARROW_BITS).all())

    def is_short(multipliers: np.ndarray) -> bool:
        return bool(multipliers.max() < 2**SHORT_BITS)

    forms = {"short": (range(47, 16, -1), is_short), "narrow": (range(22, 0, -1), is_narrow)}
    for form in sorted(forms, key=lambda name: name != prefer):
        shifts, fits = forms[form]
        for shift in shifts:
            multipliers = np.rint(scale * 2.0**shift)
            if fits(multipliers):
                if is_accurate(shift, multipliers):
                    chosen = Requantization(shift, zero_point, low, high, form == "narrow", form == "short")
                    return multipliers.astype(np.int32), chosen
                break
    shift = min(54, int(np.floor(31 - np.log2(scale.max()))))
    while np.rint(scale.max() * 2.0**shift) >= 2**31:
        shift -= 1
    if shift < 1:
        raise UserError(f"requantisation by a factor of {scale.max():.3g}: no shift serves")
    return np.rint(scale * 2.0**shift).astype(np.int32), Requantization(shift, zero_point, low, high)
