"""UINT-Q: unsigned integers of Q bits, 8 to 1, for the latents that are kept for replay.

Format
------
A value x is kept as ``q = clip(floor(x / S + 1/2) + Z, 0, 2^Q - 1)`` and read as ``(q - Z) * S``. After a
ReLU Z is 0 and S is ``a / (2^Q - 1)`` for the calibrated range ``[0, a]``; a range with negatives has a zero
point Z, so that 0 is kept exactly.

Division is dear on the cluster, and all its workers share one divider: ``x / S`` is computed as x times the
float32 nearest to ``1 / S``. Product and sum are *exact*; only the floor is taken, as float64 does it in
NumPy, and rounding down step by step on the cluster. Halves round up, as they do in the requantisation of the
frozen stage. What is beyond the range saturates, infinities included; what becomes of NaN is not defined.

Reading rounds once, too: the float32 nearest to the exact ``(q - Z) * S``.

Packing
-------
Integers lie densely: n of a sample take ``ceil(n Q / 8)`` bytes. Their order, in groups that fill whole
words, is that of `tvm_pulp.schedules.microkernels.latent_layout`; what is left of the last byte is 0.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from tvm_pulp.target.errors import UserError

MOST_BITS = 8
"""A latent fits a byte."""

SMALLEST_SCALE, LARGEST_SCALE = 2.0**-100, 2.0**100
"""Scales that float32 can compute with at all steps."""

_MULTIPLIER_BITS = 22
_LONGEST_SHIFT = 30


@dataclass(frozen=True)
class UintQ:
    """How latents are kept.

    Attributes
    ----------
    bits : int
        Q, 1 to 8.
    scale : float
        S, a value of float32.
    zero_point : int
        Z, the integer of 0; 0 after a ReLU.
    """

    bits: int
    scale: float
    zero_point: int = 0

    def __post_init__(self) -> None:
        """Refuse what cannot be computed with."""
        check_bits(self.bits)
        if not SMALLEST_SCALE <= self.scale <= LARGEST_SCALE:  # NaN, too
            raise UserError(
                f"latents have a scale of {self.scale:g}: calibrate with samples whose values differ and are "
                "finite"
            )
        object.__setattr__(self, "scale", float(np.float32(self.scale)))
        if not 0 <= self.zero_point <= self.largest:
            raise UserError(
                f"latents of {self.bits} bits have a zero point of {self.zero_point}: it must be 0 to "
                f"{self.largest}"
            )

    @staticmethod
    def from_range(low: float, high: float, bits: int) -> UintQ:
        """Return the format for a calibrated range.

        Parameters
        ----------
        low, high
            Smallest and largest value that must be kept. Without negatives the range starts at 0.
        bits
            Q, 1 to 8.

        Raises
        ------
        UserError
            Where the bits are no 1 to 8, or the range is empty, not finite, or 0 alone.
        """
        check_bits(bits)
        if not (math.isfinite(low) and math.isfinite(high)) or low > high:
            raise UserError(f"the calibrated range of the latents is {low:g} to {high:g}: it must be finite")
        low, high = min(low, 0.0), max(high, 0.0)
        if low == high:
            raise UserError(
                "the latents are 0 in all calibration samples: calibrate with samples that activate the "
                "layer, or choose another latent layer"
            )
        largest = 2**bits - 1
        scale = (high - low) / largest
        return UintQ(bits, scale, min(round(-low / scale), largest) if low < 0.0 else 0)

    @property
    def largest(self) -> int:
        """The largest integer, ``2^Q - 1``."""
        return 2**self.bits - 1

    @property
    def reciprocal(self) -> float:
        """The float32 nearest to ``1 / S``."""
        return float(np.float32(1.0 / self.scale))

    def packed_bytes(self, elements: int) -> int:
        """Return the bytes of a sample of that many elements."""
        return packed_bytes(elements, self.bits)


@dataclass(frozen=True)
class UintQRequantization:
    """The way from a frozen stage's 8-bit integers u to UINT-Q, in integers only.

    ``q = clip(((u - source_zero_point) * multiplier + 2^(shift - 1)) >> shift + zero_point, 0, 2^bits - 1)``
    in int32, which the product cannot leave; halves round up.

    Attributes
    ----------
    bits : int
        Q of the result.
    multiplier, shift : int
        ``multiplier / 2^shift`` is the ratio of the scales; at most 2^22, and 1 to 30.
    source_zero_point, zero_point : int
        The integers of 0 before and after.
    """

    bits: int
    multiplier: int
    shift: int
    source_zero_point: int
    zero_point: int

    @staticmethod
    def of(scale: float, zero_point: int, target: UintQ) -> UintQRequantization:
        """Return the multiplier and shift for a tensor of the frozen stage.

        Parameters
        ----------
        scale, zero_point
            The tensor's: its value is ``(u - zero_point) * scale``; u and the zero point are -128 to 255.
        target
            How to keep it.

        Raises
        ------
        UserError
            Where the zero point is out of range, the scale no positive number, or the scales are so far apart
            that nothing would be left.
        """
        if not -128 <= zero_point <= 255:
            raise UserError(f"the latents' tensor has a zero point of {zero_point}: it must be -128 to 255")
        if not SMALLEST_SCALE <= scale <= LARGEST_SCALE:
            raise UserError(f"the latents' tensor has a scale of {scale:g}: it must be positive and finite")
        ratio = scale / target.scale
        shift = min(_MULTIPLIER_BITS - math.frexp(ratio)[1], _LONGEST_SHIFT)
        multiplier = round(math.ldexp(ratio, shift)) if shift > 0 else 0
        if not multiplier:
            raise UserError(
                f"the latents' tensor has a scale of {scale:g}, and they are to be kept with one of "
                f"{target.scale:g}: calibrate both with the same samples"
            )
        return UintQRequantization(target.bits, multiplier, shift, zero_point, target.zero_point)


def packed_bytes(elements: int, bits: int) -> int:
    """Return the bytes that the integers of a sample take."""
    return -(-elements * bits // 8)


def check_bits(bits: int) -> None:
    """Refuse a number of bits that a latent cannot have.

    Raises
    ------
    UserError
        Where it is no 1 to 8.
    """
    if not 1 <= bits <= MOST_BITS:
        raise UserError(f"latents of {bits} bits: choose 1 to {MOST_BITS} bits")
