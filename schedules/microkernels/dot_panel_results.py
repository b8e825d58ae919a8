"""What follows a block's sums in a panel of packed dot products: their requantisation and their stores."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from tvm_pulp.schedules.microkernels.assembly import (
    LARGEST_IMMEDIATE,
    AssemblyText,
    add_constant,
    code_words,
    copies,
)
from tvm_pulp.schedules.microkernels.requantize_even import HALF_EVEN, even_constant, round_half_even
from tvm_pulp.schedules.microkernels.requantize_own_shifts import requantize_own_shifts
from tvm_pulp.schedules.microkernels.shared_columns import words_at_once

if TYPE_CHECKING:
    from tvm_pulp.schedules.microkernels.dot_panel import DotDistances, Epilogue

ACCUMULATORS = "s0 s1 s2 s3 s4 s5 s6 s7 s8 s9 s10 s11 a4 a5 a6 a7 tp gp a3 t6".split()
A_REGISTERS = ("a0", "a1")
B_REGISTERS = ("t3", "t4", "t5", "a2")
C, C_ROW = "ra", "t2"
"""Where a sum has segments, their loop needs these registers."""
FRAME = 96
C_START, SETTINGS, C_END, BIAS, ROW, C_NEXT, ZERO, LINES, TURNS = range(60, 96, 4)
"""Places on the stack, behind the registers that are saved."""
_LEAST_RESULTS_IN_HALVES = 12


def keeps_multipliers(rows: int, columns: int, d: DotDistances, e: Epilogue) -> bool:
    """Tell whether a panel has registers for the multipliers of a run of blocks along the rows."""
    free = len(ACCUMULATORS) - rows * columns
    return e.requantize and e.halfword and d.segments == 1 and d.along_rows and columns <= free


def ends_in_halves(rows: int, columns: int, d: DotDistances, e: Epilogue) -> bool:
    """Tell whether the same code finishes one half of a block's rows after the other.

    So more of a block stays in the instruction cache, for a copy of each sum.
    """
    many = rows % 2 == 0 and rows * columns >= _LEAST_RESULTS_IN_HALVES
    return d.taps > 1 and e.requantize and (e.short or e.halfword) and columns <= 2 and many


class PanelResults:
    """The registers of a panel's sums, and the text that its blocks end with.

    Parameters
    ----------
    rows, columns
        Of the register block.
    d, e
        See `dot_panel_source`.
    """

    def __init__(self, rows: int, columns: int, d: DotDistances, e: Epilogue) -> None:
        self.rows, self.columns, self.d, self.e = rows, columns, d, e
        self.text = AssemblyText()
        self.sums = ACCUMULATORS[: rows * columns]
        self.multipliers: list[str] = []  # of blocks that follow one another along the rows
        if keeps_multipliers(rows, columns, d, e):
            self.multipliers = ACCUMULATORS[-columns:]  # not those in front, which count the blocks at first
        spare = list(ACCUMULATORS[rows * columns :])
        # what a step has for words; within the loop over segments that loop's registers are free
        self.words = [*A_REGISTERS, *B_REGISTERS, C, C_ROW]
        if d.taps > 1:
            more = max(0, words_at_once(columns, d) - len(self.words))
            self.words, spare = self.words + spare[:more], spare[more:]
        # what lies on the stack if no register is left
        places = (C_START, BIAS, ROW, C_END) if d.segments > 1 else ()
        self.kept = dict(zip(places, reversed(spare), strict=False))

    def fetch(self, place: int, register: str) -> str:
        """Return the register that holds what is kept at a place, loaded to `register` if none does."""
        if place not in self.kept:
            self.text.add(f"lw {register}, {place}(sp)")
        return self.kept.get(place, register)

    def keep(self, place: int, register: str) -> None:
        """Write what `register` holds to a place."""
        kept = self.kept.get(place)
        if kept != register:
            self.text.add(f"sw {register}, {place}(sp)" if kept is None else f"mv {kept}, {register}")

    def sum(self, r: int, c: int) -> str:
        """Return the register of a sum."""
        return self.sums[r * self.columns + c]

    @property
    def shift(self) -> int:
        """By which the registers are shifted after the multiplication."""
        if self.e.own_shifts:
            return 0
        return self.e.shift - (0 if self.e.narrow else 16 if self.e.short else 32)

    @property
    def constant(self) -> int:
        """What is added before the shift."""
        if self.e.rounding == HALF_EVEN:
            return even_constant(self.e.shift, self.e.zero_point)
        return 0 if self.e.short or self.e.halfword else self.e.zero_point << self.shift

    def finish(self) -> None:
        """Write the requantisation of a block's sums and the stores; the words' registers are free by now."""
        if ends_in_halves(self.rows, self.columns, self.d, self.e):
            self._finish_in_halves()
            return
        if self.e.requantize:
            self._requantize()
        self._store()

    def _finish_in_halves(self) -> None:
        """Write a loop over the halves of a block: its body finishes the first one, then moves the second."""
        text, half, columns = self.text, self.rows // 2, range(self.columns)
        some = range(half)
        self._load_terms(columns)
        row, start = self.fetch(ROW, C_ROW), self.fetch(C_START, C)
        text.add(*([] if start == C else [f"mv {C}, {start}"]))
        text.add("li a0, 2", ".option rvc", ".balign 4", ".option norvc")
        begin = len(text.lines)
        self._scale(some, columns)
        self._limit(some)
        self._store_rows(some, row, C)
        moves = [(self.sum(r, c), self.sum(r + half, c)) for r in some for c in columns]
        text.add(*copies(moves[:-1]))
        length = code_words(text.lines[begin:]) + 1
        text.add("9:", "mv {}, {}".format(*moves[-1]), ".option rvc")
        text.lines.insert(begin, f"LP_SETUP(0, a0, {length:.0f}, 9)")
        if start == C:
            self.text.add(f"lw t5, {C_START}(sp)")
        self._move_start("t5" if start == C else start)

    def _move_start(self, start: str) -> None:
        """Write the move of the results' address, from `start`, to the next block's, where that is known.

        It ends in t5 if it is not kept in a register.
        """
        if not self.d.along_rows:
            following = self.kept.get(C_START, "t5")
            self.text.add(f"addi {following}, {start}, {self.e.item * self.columns}")
            self.keep(C_START, following)

    def _requantize(self) -> None:
        """Write the requantisation of the sums in place."""
        text, e, rows, columns = self.text, self.e, range(self.rows), range(self.columns)
        if e.halfword:
            together = self.columns if self.multipliers else 2
            for first in range(0, self.columns, together):
                some = range(first, min(first + together, self.columns))
                self._load_terms(some)
                self._scale(rows, some)
        elif e.own_shifts:
            self._load_bias_pointer()
            sums = [[self.sum(r, c) for r in rows] for c in columns]
            places = (e.multipliers, e.zero_point, e.rounding)
            text.add(*requantize_own_shifts(sums, *places, negative=e.negative, spare_bit=e.spare_bit))
            text.add(*(f"P_CLIPU({register}, {register}, 9)" for register in self.sums))
        else:
            self._load_terms(columns)
            if e.short:
                self._scale(rows, columns)
            else:
                self._scale_words()
        self._limit(rows)

    def _limit(self, rows: Sequence[int]) -> None:
        """Write the bounds of results that are narrower than a byte."""
        e, sums = self.e, [self.sum(r, c) for r in rows for c in range(self.columns)]
        for bound, name, neutral in ((e.low, "MAX", 0), (e.high, "MIN", 255)):
            if bound != neutral:
                self.text.add(f"li a0, {bound}", *(f"P_{name}({s}, {s}, a0)" for s in sums))

    def _load_bias_pointer(self) -> None:
        """Write the load of the bias's address to a0."""
        pointer = self.fetch(BIAS, "a0")
        if pointer != "a0":
            self.text.add(f"mv a0, {pointer}")

    def _terms(self, columns: Sequence[int]) -> tuple[dict[int, str], dict[int, str]]:
        """Return the registers of biases and multipliers while columns are scaled."""
        if not self.e.halfword:
            return {}, dict(zip(columns, B_REGISTERS, strict=False))
        kept = dict(enumerate(self.multipliers))
        multipliers = kept or dict(zip(columns, B_REGISTERS[2:], strict=False))
        return dict(zip(columns, B_REGISTERS, strict=False)), multipliers

    def _load_terms(self, columns: Sequence[int]) -> None:
        """Write the loads of what columns are scaled with."""
        text, e, (biases, multipliers) = self.text, self.e, self._terms(columns)
        reaches = e.multipliers + 4 * self.columns <= LARGEST_IMMEDIATE
        if not e.halfword:
            at, pointer = e.multipliers, self.kept.get(BIAS, "a0")
            if pointer == "a0" or not reaches:
                self._load_bias_pointer()
                at, pointer = 0, "a0"
                text.add(*add_constant("a0", e.multipliers, "a1"))
            text.add(*(f"lw {register}, {at + 4 * c}({pointer})" for c, register in multipliers.items()))
            text.add(*(f"PV_PACK_H({m}, {m}, {m})" for m in multipliers.values() if e.short))
            return
        if columns[0] == 0:
            self._load_bias_pointer()
        far = not self.multipliers and not reaches
        if far and columns[0] == 0:
            text.add("mv a1, a0", *add_constant("a1", e.multipliers, "t3"))
        pointer, at = ("a1", 0) if far else ("a0", e.multipliers)
        text.add(*(f"lw {register}, {4 * c}(a0)" for c, register in biases.items()))
        if not self.multipliers:
            text.add(*(f"lw {register}, {at + 4 * c}({pointer})" for c, register in multipliers.items()))

    def _scale(self, rows: Sequence[int], columns: Sequence[int]) -> None:
        """Write the products of half words and the bounds of a byte, after the loads of columns' terms."""
        text, e, (biases, multipliers) = self.text, self.e, self._terms(columns)
        if e.halfword:  # a first shift adds the bias
            places = [(self.sum(r, c), c) for c in columns for r in rows]
            text.add(*(f"P_ADDRN({total}, {total}, {biases[c]}, {e.first_shift})" for total, c in places))
            text.add(*(f"P_MULS_ROUND({total}, {total}, {multipliers[c]}, {e.shift})" for total, c in places))
            text.add(*(f"addi {total}, {total}, {e.zero_point}" for total, _ in places if e.zero_point))
            text.add(*(f"P_CLIPU({total}, {total}, 9)" for total, _ in places))
            return
        for i, (total, c) in enumerate([(self.sum(r, c), c) for r in rows for c in columns]):
            value = ("a0", "a1")[i % 2]
            text.add(f"P_MULU_SHIFT({value}, {total}, {multipliers[c]}, 16)")
            text.add(f"P_MACHHS_ROUND({value}, {total}, {multipliers[c]}, {self.shift})")
            text.add(*([f"addi {value}, {value}, {e.zero_point}"] if e.zero_point else []))
            text.add(f"P_CLIPU({total}, {value}, 9)")

    def _scale_words(self) -> None:
        """Write products of words, the shift, halves up or to even, and the bounds of a byte."""
        text, e, (_, multipliers) = self.text, self.e, self._terms(range(self.columns))
        multiply = "mul" if e.narrow else "mulh"
        zero = "a1" if self.constant else "zero"
        text.add(*([f"lw a1, {ZERO}(sp)"] if self.constant else []))
        places = [(self.sum(r, c), c) for r in range(self.rows) for c in range(self.columns)]
        text.add(*(f"{multiply} {total}, {total}, {multipliers[c]}" for total, c in places))
        for total in self.sums:
            if e.rounding == HALF_EVEN:
                text.add(*round_half_even(total, zero, "a0", e.shift))
            else:
                text.add(f"P_ADDRN({total}, {total}, {zero}, {self.shift})")
        text.add(*(f"P_CLIPU({total}, {total}, 9)" for total in self.sums))

    def _store(self) -> None:
        """Write the stores of a block."""
        row, pointer = (C_ROW, C) if self.d.segments == 1 else ("t3", "a0")
        if self.d.segments > 1:
            row, start = self.fetch(ROW, "t3"), self.fetch(C_START, "a0")
            self.text.add(*([] if start == "a0" else [f"mv a0, {start}"]))
            self._move_start("a0")
        self._store_rows(range(self.rows), row, pointer)

    def _store_rows(self, rows: Sequence[int], row: str, pointer: str) -> None:
        """Write the stores of rows of results; the last one of each moves on to the next row."""
        text, kind = self.text, "B" if self.e.requantize else "W"
        for r in rows:
            if self.e.requantize and self.e.words and self.columns == 4:
                first, second, third, fourth = (self.sum(r, c) for c in range(4))
                text.add(f"PV_PACKLO_B({first}, {second}, {first})")
                text.add(f"PV_PACKHI_B({first}, {fourth}, {third})", f"P_SWR({first}, {row}, {pointer})")
                continue
            others = range(1, self.columns)
            text.add(*(f"s{kind.lower()} {self.sum(r, c)}, {self.e.item * c}({pointer})" for c in others))
            text.add(f"P_S{kind}R({self.sum(r, 0)}, {row}, {pointer})")
