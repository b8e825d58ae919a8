"""From integer sums to bytes: how quantised operators end."""

from __future__ import annotations

import enum
import math
from dataclasses import asdict, dataclass

import numpy as np
from tvm import te

from tvm_pulp.passes.operators.kernel import Scalar
from tvm_pulp.target.errors import UserError
from tvm_pulp.target.tvm_names import call_pure_extern, const, tirx


class Rounding(enum.IntEnum):
    """How a scaled sum becomes an integer.

    `HALF_UP` is the fastest, and what networks that are quantised here use. `HALF_EVEN` is ONNX's and
    PyTorch's. `TWICE` is TFLite's: to 31 bits first, halves up, then to an integer, halves away from zero
    (``SaturatingRoundingDoublingHighMul`` and ``RoundingDivideByPOT`` of gemmlowp, ``fixedpoint.h``).
    `HALF_AWAY` rounds halves away from zero, as TFLite's averages do.
    """

    HALF_UP = 0
    HALF_EVEN = 1
    TWICE = 2
    HALF_AWAY = 3


_FUNCTIONS = {
    Rounding.HALF_UP: "pulp_requantize",
    Rounding.HALF_EVEN: "pulp_requantize_even",
    Rounding.TWICE: "pulp_requantize_twice",
    Rounding.HALF_AWAY: "pulp_requantize_away",
}


@dataclass(frozen=True)
class Requantization:
    """``clip(round(sum * multiplier / 2^shift) + zero_point, low, high)``, in 64 bits, as uint8.

    Attributes
    ----------
    shift : int
        1 to 62. Kernels take 33 to 54 (1 to 22 if `narrow`, 17 to 47 if `short`, 1 to 31 if `halfword`);
        other shifts are slow.
    zero_point : int
        Of the result.
    low, high : int
        Its range within 0 to 255; a ReLU has ``low = zero_point``.
    narrow : bool
        States that ``|sum * multiplier| < 2^30`` for all sums that can occur, so that 32 bits will do.
    short : bool
        States that all multipliers are positive and less than 2^15, so that two products of 16 bits will do.
    rounding : Rounding
        With `TWICE`, shifts are those of the second rounding, 31 less than the whole.
    spare_bit : bool
        States, of `TWICE` with shifts to the right only, that twice a sum and 2^shift together fit 32 bits.
    own_shifts : bool
        States that each channel has a shift of its own: the kernels read an array ``[2, channels]`` of
        multipliers and shifts, none of them less than `shift`.
    halfword : bool
        States that sums after the first shift are less than 2^15 in magnitude and multipliers positive and
        less than 2^15, so that one product of 16 bits will do.
    first_shift : int
        By which sums are shifted first, halves up, with `halfword`: ``sum`` above stands for
        ``sum + 2^(first_shift-1) >> first_shift`` then.
    """

    shift: int
    zero_point: int = 0
    low: int = 0
    high: int = 255
    narrow: bool = False
    short: bool = False
    rounding: Rounding = Rounding.HALF_UP
    own_shifts: bool = False
    halfword: bool = False
    first_shift: int = 0
    spare_bit: bool = False

    def __post_init__(self) -> None:
        if not (0 if self.own_shifts else 1) <= self.shift <= 62:
            raise UserError(f"requantisation by a shift of {self.shift}: it must be 1 to 62")
        if not 0 <= self.low <= self.high <= 255 or not 0 <= self.zero_point <= 255:
            raise UserError(
                f"requantisation to {self.low}..{self.high} with zero point {self.zero_point}: "
                "all must be within 0..255"
            )

    def attributes(self) -> dict[str, int]:
        """Return the fields as a kernel's attributes."""
        return {name: int(value) for name, value in asdict(self).items()}

    def multiplier_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """Return the shape of the array of multipliers for results that share one by `shape`."""
        return (2, *shape) if self.own_shifts else shape

    @property
    def vectors(self) -> int:
        """Numbers of each channel that the kernels of layers read, see `terms`."""
        return 3 if self.own_shifts else 2

    def terms(self, bias: np.ndarray, multiplier: np.ndarray) -> np.ndarray:
        """Return what the kernels of layers read, in one array so that it moves as one.

        Parameters
        ----------
        bias
            int32 ``[channels]``.
        multiplier
            int32 ``[channels]``, with `own_shifts` ``[2, channels]``.

        Returns
        -------
        ndarray
            int32 ``[vectors, channels]``: biases, multipliers, and shifts if channels have their own.
        """
        return np.vstack([bias, multiplier])

    def apply(self, total: Scalar, multiplier: te.Tensor, *place: Scalar) -> Scalar:
        """Return the expression of a result, by the multiplier at `place` of an array.

        It calls ``pulp_math.h``, as TIR here has 32 bits.
        """
        if self.own_shifts:
            return self.apply_to(total, multiplier(0, *place), multiplier(1, *place))
        return self.apply_to(total, multiplier(*place), const(self.shift, "int32"))

    def apply_to(self, total: Scalar, multiplier: Scalar, shift: Scalar) -> Scalar:
        """Return the expression of a result, by scalars."""
        if self.first_shift:
            half = const(1 << (self.first_shift - 1), "int32")
            total = tirx.shift_right(total + half, const(self.first_shift, "int32"))
        value = call_pure_extern("int32", _FUNCTIONS[self.rounding], total, multiplier, shift)
        if self.zero_point:
            value = value + const(self.zero_point, "int32")
        low, high = const(self.low, "int32"), const(self.high, "int32")
        return tirx.Cast("uint8", tirx.min(tirx.max(value, low), high))

    def reference(self, total: np.ndarray, multiplier: np.ndarray) -> np.ndarray:
        """Return the results for int32 sums by NumPy; `multiplier` is broadcast."""
        total = total.astype(np.int64)
        if self.first_shift:
            total = (total + (1 << (self.first_shift - 1))) >> self.first_shift
        factor, shift = multiplier if self.own_shifts else (multiplier, self.shift)
        if self.rounding is Rounding.TWICE:
            value = round_twice(total, factor, shift)
        elif self.rounding is Rounding.HALF_EVEN:
            value = shift_half_even(total * np.asarray(factor, np.int64), shift)
        else:
            product = total * np.asarray(factor, np.int64)
            away = (product < 0) & (self.rounding is Rounding.HALF_AWAY)
            value = (product + (np.int64(1) << np.asarray(shift - 1, np.int64)) - away) >> shift
        return np.clip(value.astype(np.int32) + self.zero_point, self.low, self.high).astype(np.uint8)


def shift_half_even(value: np.ndarray, shift: np.ndarray | int) -> np.ndarray:
    """Divide int64 values by 2^shift, rounding to the nearest, halves to even."""
    return (value + ((np.int64(1) << np.asarray(shift - 1, np.int64)) - 1) + ((value >> shift) & 1)) >> shift


def round_half_away(value: np.ndarray) -> np.ndarray:
    """Round floats to integers, halves away from zero, in their type."""
    whole = np.trunc(value)
    return whole + np.copysign(np.abs(value - whole) >= 0.5, value)


def round_twice(total: np.ndarray, multiplier: np.ndarray | int, shift: np.ndarray | int) -> np.ndarray:
    """Multiply int32 values, as int64, by ``multiplier / 2^(31 + shift)`` as TFLite rounds.

    Parameters
    ----------
    total : ndarray of int64
    multiplier : ndarray or int
        0, or 2^30 to 2^31 - 1.
    shift : ndarray or int
        -30 to 31; negative ones multiply before the first rounding.
    """
    shift = np.asarray(shift, np.int64)
    product = (total << np.maximum(-shift, 0)) * np.asarray(multiplier, np.int64)
    high = (product + (1 << 30)) >> 31
    right = np.maximum(shift, 0)
    half = (np.int64(1) << right) >> 1
    return (high + half - ((high < 0) & (right > 0))) >> right


def twice_multiplier(scale: float) -> tuple[int, int]:
    """Write a scale as ``multiplier / 2^(31 + shift)`` as TFLite does (``QuantizeMultiplier``).

    Returns
    -------
    multiplier : int
        2^30 to 2^31 - 1, or 0.
    shift : int
        For `round_twice`.
    """
    if scale == 0:
        return 0, 0
    fraction, exponent = math.frexp(scale)
    multiplier = math.floor(fraction * 2**31 + 0.5)
    if multiplier == 2**31:
        multiplier, exponent = 2**30, exponent + 1
    if exponent < -31:
        return 0, 0
    return (2**31 - 1, -30) if exponent > 30 else (multiplier, -exponent)
