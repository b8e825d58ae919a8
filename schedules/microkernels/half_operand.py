"""Loads of an operand of a half-precision panel: each register gets two terms of a row (or column)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from tvm_pulp.schedules.microkernels.assembly import LARGEST_IMMEDIATE

ITEM = 2
"""Bytes of a float16."""


class HalfOperand(Protocol):
    """One operand: its rows are loaded in two groups in order, the second one (if there is one) moves on."""

    interleaves: bool
    """Whether the register of selectors is used."""

    @property
    def start(self) -> int:
        """Bytes from the first row to where the pointer stands."""
        ...

    @property
    def prepare(self) -> list[str]:
        """What is to be done before the blocks, once."""
        ...

    def pairs(self, group: range) -> list[str]:
        """Return the loads of two terms of some rows."""
        ...

    def singles(self) -> list[str]:
        """Return the loads of one term of all rows, the other half of the registers zero; nothing moves."""
        ...


def make_operand(
    pointer: str, registers: tuple[str, ...], far: str, scratch: tuple[str, str], distance: int, step: int
) -> HalfOperand:
    """Return the operand with the given distances, see the classes for the arguments."""
    if step == 1:
        return AlongSum(pointer, registers, far, ITEM * distance)
    if distance != 1:
        raise ValueError("the rows or the sum must be contiguous")
    return AcrossSum(pointer, registers, far, *scratch, ITEM * step)


@dataclass
class AlongSum:
    """Rows that run along the sum: a word is a pair of terms.

    Attributes
    ----------
    pointer
        Stands on the last row while an offset reaches the first one; else moves from row to row.
    registers
        One for each row.
    far
        Register for a distance of rows that no immediate operand can hold.
    distance
        Bytes from a row to the next.
    """

    pointer: str
    registers: tuple[str, ...]
    far: str
    distance: int
    interleaves = False

    @property
    def _back(self) -> int:
        return (len(self.registers) - 1) * self.distance

    @property
    def _is_chained(self) -> bool:
        return self._back > LARGEST_IMMEDIATE

    @property
    def _is_far(self) -> bool:
        return self._is_chained and self.distance > LARGEST_IMMEDIATE

    @property
    def start(self) -> int:
        """Bytes from the first row to where the pointer stands."""
        return 0 if self._is_chained else self._back

    @property
    def prepare(self) -> list[str]:
        """What is to be done before the blocks, once."""
        return [f"li {self.far}, {self.distance}"] if self._is_far else []

    def pairs(self, group: range) -> list[str]:
        """Return the loads of two terms of some rows."""
        lines, p = [], self.pointer
        for r in group:
            register, is_last = self.registers[r], r == len(self.registers) - 1
            if self._is_chained:
                if is_last:
                    lines += [f"lw {register}, 0({p})", *self._return(2 * ITEM)]
                elif self._is_far:
                    lines.append(f"P_LWR({register}, {self.far}, {p})")
                else:
                    lines.append(f"P_LW({register}, {self.distance}, {p})")
            elif is_last:
                lines.append(f"P_LW({register}, {2 * ITEM}, {p})")
            else:
                lines.append(f"lw {register}, {r * self.distance - self._back}({p})")
        return lines

    def singles(self) -> list[str]:
        """Return the loads of one term of all rows."""
        p, last = self.pointer, len(self.registers) - 1
        if not self._is_chained:
            return [f"lhu {a}, {r * self.distance - self._back}({p})" for r, a in enumerate(self.registers)]
        lines = []
        for r, register in enumerate(self.registers):
            lines.append(f"lhu {register}, 0({p})")
            if r < last:
                move = f"add {p}, {p}, {self.far}" if self._is_far else f"addi {p}, {p}, {self.distance}"
                lines.append(move)
        return [*lines, *self._return(0)]

    def _return(self, advance: int) -> list[str]:
        """Return the moves from the last row to the first one, and on."""
        rows = len(self.registers) - 1
        if self._is_far:
            moves = [f"sub {self.pointer}, {self.pointer}, {self.far}"] * rows
        else:
            moves = [f"addi {self.pointer}, {self.pointer}, {-self.distance}"] * rows
        if self._back - advance <= LARGEST_IMMEDIATE + 1:
            moves, advance = [], advance - self._back
        return [*moves, *([f"addi {self.pointer}, {self.pointer}, {advance}"] if advance else [])]


@dataclass
class AcrossSum:
    """Rows that lie beside one another, ``[k][row]``: words of two terms are interleaved.

    Attributes
    ----------
    pointer
        Stands on the last word of a term's rows.
    registers
        One for each row.
    far
        Register for a move that no immediate operand can hold.
    scratch, selectors
        For a word; with the selectors of the high halves.
    pitch
        Bytes from a term to the next.
    """

    pointer: str
    registers: tuple[str, ...]
    far: str
    scratch: str
    selectors: str
    pitch: int
    interleaves = True

    @property
    def _is_far(self) -> bool:
        return self.pitch > LARGEST_IMMEDIATE

    @property
    def start(self) -> int:
        """Bytes from the first row to where the pointer stands."""
        return 2 * ITEM * ((len(self.registers) - 1) // 2)

    @property
    def prepare(self) -> list[str]:
        """What is to be done before the blocks, once."""
        if self._is_far:
            return [f"li {self.far}, {self.pitch}"]
        return [f"li {self.far}, {2 * self.pitch}"] if 2 * self.pitch > LARGEST_IMMEDIATE else []

    def pairs(self, group: range) -> list[str]:
        """Return the loads of two terms of two rows (or the last one), and their interleaving."""
        if not group:
            return []
        if len(group) > 2:
            return [*self.pairs(group[:2]), *self.pairs(group[2:])]
        p, scratch, low = self.pointer, self.scratch, self.registers[group[0]]
        offset, whole = ITEM * group[0] - self.start, len(group) == 2
        other = self.registers[group[1]] if whole else low
        load = "lw" if whole else "lhu"
        moves = group[-1] == len(self.registers) - 1
        if self._is_far:
            lines = self._far_loads(load, other, offset, moves)
        elif moves and whole and 2 * self.pitch <= LARGEST_IMMEDIATE:
            lines = [f"lw {other}, {self.pitch}({p})", f"P_LW({scratch}, {2 * self.pitch}, {p})"]
        elif moves and whole:
            lines = [f"lw {other}, {self.pitch}({p})", f"P_LWR({scratch}, {self.far}, {p})"]
        else:
            lines = [f"{load} {other}, {offset + self.pitch}({p})", f"{load} {scratch}, {offset}({p})"]
            lines += self._move() if moves else []
        if not whole:
            return [*lines, f"PV_PACK_H({low}, {other}, {scratch})"]
        # the word of the second term is in `other`, that of the first one in `scratch`
        lines.append(f"PV_PACK_H({low}, {other}, {scratch})")
        return [*lines, f"PV_SHUFFLE2_H({other}, {scratch}, {self.selectors})"]

    def _move(self) -> list[str]:
        if 2 * self.pitch <= LARGEST_IMMEDIATE:
            return [f"addi {self.pointer}, {self.pointer}, {2 * self.pitch}"]
        return [f"add {self.pointer}, {self.pointer}, {self.far}"]

    def _far_loads(self, load: str, other: str, offset: int, moves: bool) -> list[str]:
        """Return the loads where a term is out of an offset's reach of the one before."""
        p, onward = self.pointer, f"add {self.pointer}, {self.pointer}, {self.far}"
        lines = [f"{load} {self.scratch}, {offset}({p})", onward, f"{load} {other}, {offset}({p})"]
        return [*lines, onward] if moves else [*lines, f"sub {p}, {p}, {self.far}"]

    def singles(self) -> list[str]:
        """Return the loads of one term of all rows."""
        lines = []
        for r in range(0, len(self.registers), 2):
            offset = ITEM * r - self.start
            if r + 1 == len(self.registers):
                lines.append(f"lhu {self.registers[r]}, {offset}({self.pointer})")
                continue
            low, high = self.registers[r : r + 2]
            lines.append(f"lw {self.scratch}, {offset}({self.pointer})")
            lines += [f"PV_PACK_H({low}, zero, {self.scratch})", f"srli {high}, {self.scratch}, 16"]
        return lines
