"""Assembly from float32 values to bytes: ``clip(floor(x * r + 1/2) + Z, 0, 2^Q - 1)``, rounded once.

With rounding down, a fused multiply-add makes ``32 * (x * r + 1/2 + Z) + b`` of x, and the conversion to half
precision, whose numbers from 2^15 on are 32 apart, takes two of these to two integers at once: the floor of a
floor is the floor. The integer is the low byte of a half.

Of fewer than 8 bits, the base b makes the largest integer the largest half, so that what is beyond saturates.
(It becomes infinite on PULP's simulators, and stays the largest half where rounding down is what IEEE 754
says; a minimum of signed bytes makes the same of both.) The bits above the integer are ones then. Of 8 bits
there is room for a minimum of halves only.
"""

from __future__ import annotations

from dataclasses import dataclass

from tvm_pulp.schedules.microkernels.assembly import float_bits
from tvm_pulp.schedules.microkernels.latent_block import BlockCode

ROUNDING_DOWN = "csrwi frm, 2", "csrwi frm, 0"
"""Instructions in front of the loop, and behind it."""

_HALF_STEP = 32
"""From a half to the next, from 2^15 on."""
_HALF_BASE = 0x7800
"""The bits of 2^15 in half precision."""
_MANTISSA = 1024

_LOW_BYTES = 0x06040200
"""Selectors of the low bytes of the halves of two registers."""


@dataclass(frozen=True)
class ByteConversion:
    """The instructions for four values.

    Attributes
    ----------
    bits : int
        Q.
    zero_point : int
        Z.
    factor : float
        r, a float32.
    non_negative : bool
        Whether no value is below 0: then nothing is clipped from below.
    """

    bits: int
    zero_point: int
    factor: float
    non_negative: bool = False

    def bytes(self, code: BlockCode, registers: list[str]) -> None:
        """Append the way of the values in four registers to the bytes of the first one."""
        word, second, third, fourth = registers
        self._halves(code, word, second)
        self._halves(code, third, fourth)
        code.add("PV_SHUFFLE2_B", word, third, code.constant(_LOW_BYTES), accumulates=True)
        if self.bits < 8:
            code.add("PV_MIN_MINUS_ONE_B", word, word)

    def _halves(self, code: BlockCode, low: str, high: str) -> None:
        """Append the way of two values to the halves of the first one's register."""
        above = 0 if self.bits == 8 else _MANTISSA - 2**self.bits
        addend = code.constant(float_bits(_HALF_STEP * (_MANTISSA + above + self.zero_point + 0.5)))
        factor = code.constant(float_bits(_HALF_STEP * self.factor))
        for register in (low, high):
            code.add("fmadd.s", register, register, factor, addend)
        code.add("VFCPKA_H_S", low, low, high)
        if not self.non_negative:
            code.add("PV_MAX_SC_H", low, low, code.constant(_HALF_BASE + above))
        if self.bits == 8:
            code.add("PV_MIN_SC_H", low, low, code.constant(_HALF_BASE + 255))
