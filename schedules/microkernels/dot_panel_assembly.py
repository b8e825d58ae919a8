"""The assembly of sums of products of bytes, see `dot_panel`."""

from __future__ import annotations

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
from tvm_pulp.schedules.microkernels.shared_columns import (
    columns_of,
    shared_columns_step,
    weights_of,
    words_at_once,
)

if TYPE_CHECKING:
    from tvm_pulp.schedules.microkernels.dot_panel import DotDistances, Epilogue

_ACCUMULATORS = "s0 s1 s2 s3 s4 s5 s6 s7 s8 s9 s10 s11 a4 a5 a6 a7 tp gp a3 t6".split()
_A_REGISTERS = ("a0", "a1")
_B_REGISTERS = ("t3", "t4", "t5", "a2")
_SAVED = "ra s0 s1 s2 s3 s4 s5 s6 s7 s8 s9 s10 s11 gp tp".split()
_A, _B = "t0", "t1"
_C, _C_ROW = "ra", "t2"
"""Where a sum has segments, their loop needs these registers."""
_FRAME = 96
_C_START, _SETTINGS, _C_END, _BIAS, _ROW, _C_NEXT, _ZERO, _LINES, _TURNS = range(60, 96, 4)

_FIELDS = ("blocks", "c_row", "bias", "lines", "a_line", "b_line", "c_line", "bias_line")


def keeps_multipliers(rows: int, columns: int, d: DotDistances, e: Epilogue) -> bool:
    """Tell whether a panel has registers for the multipliers of a run of blocks along the rows."""
    free = len(_ACCUMULATORS) - rows * columns
    return e.requantize and e.halfword and d.segments == 1 and d.along_rows and columns <= free


def dot_panel_assembly(name: str, rows: int, columns: int, d: DotDistances, e: Epilogue, signed: bool) -> str:
    """Return a panel as C with top-level ``__asm__``."""
    text = _DotPanelWriter(rows, columns, d, e, signed).write(name)
    return f"void {name}(const void *, const void *, void *, const struct dot_panel *);\n__asm__(\n{text}\n);"


class _DotPanelWriter:
    def __init__(self, rows: int, columns: int, d: DotDistances, e: Epilogue, signed: bool) -> None:
        self.rows, self.columns, self.d, self.e = rows, columns, d, e
        self.kind = "SP" if signed else "USP"
        self.text = AssemblyText()
        self.sums = _ACCUMULATORS[: rows * columns]
        # the pointers point at the middle row and column, which are loaded last, by post-increment
        self.row_middle, self.column_middle = rows // 2, columns // 2
        self.starts = (self.row_middle * d.a_row, self.column_middle * d.b_column)
        if d.taps > 1:
            self.starts = ([*columns_of(rows, d)][-1], weights_of(columns, d)[-1])
        self.moves = d.moves(rows, columns)
        self.starts_from_bias = e.requantize and not e.halfword
        self.multipliers: list[str] = []  # of blocks that follow one another along the rows
        if keeps_multipliers(rows, columns, d, e):
            self.multipliers = _ACCUMULATORS[-columns:]  # not those in front, which count the blocks at first
        self.row_order = [r for r in range(rows) if r != self.row_middle] + [self.row_middle]
        spare = list(_ACCUMULATORS[rows * columns :])
        # what a step has for words; within the loop over segments that loop's registers are free
        self.words = [*_A_REGISTERS, *_B_REGISTERS, _C, _C_ROW]
        if d.taps > 1:
            more = max(0, words_at_once(columns, d) - len(self.words))
            self.words, spare = self.words + spare[:more], spare[more:]
        # what lies on the stack if no register is left
        places = (_C_START, _BIAS, _ROW, _C_END) if d.segments > 1 else ()
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
        return self.sums[r * self.columns + c]

    def write(self, name: str) -> AssemblyText:
        text, d, e = self.text, self.d, self.e
        text.add(f'.pushsection .text.{name},"ax",@progbits', ".balign 16")
        text.add(f".type {name}, @function", f"{name}:", f"addi sp, sp, -{_FRAME}")
        text.add(*(f"sw {register}, {4 * i}(sp)" for i, register in enumerate(_SAVED)))
        text.add(".option push", ".option norvc", ".balign 4")
        text.add(f"addi {_A}, a0, {self.starts[0]}", f"addi {_B}, a1, {self.starts[1]}")
        text.add(f"sw a3, {_SETTINGS}(sp)", _setting("a4", "blocks", "a3"), _setting("a5", "lines", "a3"))
        text.add(f"sw a5, {_LINES}(sp)", _setting("a5", "c_row", "a3"))
        if e.requantize:
            if self.constant:
                text.add(f"li a7, {self.constant}", f"sw a7, {_ZERO}(sp)")
            text.add(_setting("a6", "bias", "a3"))
            self.keep(_BIAS, "a6")
        if d.segments == 1:
            self.block_loop()
        else:
            self.keep(_C_START, "a2")
            self.keep(_ROW, "a5")
            self.segmented_loop()
        self.next_line()
        text.add(".option pop", *(f"lw {register}, {4 * i}(sp)" for i, register in enumerate(_SAVED)))
        text.add(f"addi sp, sp, {_FRAME}", "ret", f".size {name}, .-{name}", ".popsection")
        return text

    def segmented_loop(self) -> None:
        """Write a loop over the blocks, a4 of them, which needs no hardware loop."""
        text, along_rows = self.text, self.d.along_rows
        text.add("1:")
        if along_rows:
            text.add(f"li t3, {self.rows}", f"mul t2, {self.fetch(_ROW, 't2')}, t3")
        else:
            text.add(f"li t2, {self.e.item * self.columns}")
        text.add("mul t2, t2, a4", f"add t2, t2, {self.fetch(_C_START, 't3')}")
        self.keep(_C_END, "t2")
        # short instructions, but for loops: the more of a block stays in the instruction cache
        text.add(".balign 16", "2:", ".option rvc")
        self.block()
        text.add(".option norvc")
        reached = self.kept.get(_C_START, "a0" if along_rows else "t5")
        text.add(f"bne {reached}, {self.fetch(_C_END, 't3')}, 2b")

    def block_loop(self) -> None:
        """Write a hardware loop over the blocks; C's pointer and row distance are in registers."""
        text = self.text
        text.add(f"mv {_C}, a2", f"mv {_C_ROW}, a5")
        if not self.d.along_rows:
            text.add(f"li a5, {self.e.item * self.columns}", *([f"sub a5, a5, {_C_ROW}"] * self.rows))
            text.add(f"sw a5, {_C_NEXT}(sp)")
        text.add("1:")
        if self.multipliers:
            text.add(f"lw a0, {_BIAS}(sp)", *add_constant("a0", self.e.multipliers, "a1"))
            text.add(*(f"lw {register}, {4 * c}(a0)" for c, register in enumerate(self.multipliers)))
        start = len(text.lines)
        self.block()
        length = code_words(text.lines[start:])
        text.lines.insert(start, f"LP_SETUP(1, a4, {length:.0f}, 6)")
        text.lines.insert(-1, "6:")

    def next_line(self) -> None:
        """Write the end of a run of blocks: on to the next run, if there is one."""
        text, in_registers = self.text, self.d.segments == 1
        text.add(f"lw a0, {_LINES}(sp)", f"lw a1, {_SETTINGS}(sp)", "addi a0, a0, -1", f"sw a0, {_LINES}(sp)")
        text.add("blez a0, 7f")
        start = _C if in_registers else self.fetch(_C_START, "a3")
        moves = [(_A, "a_line"), (_B, "b_line"), (start, "c_line")]
        if self.e.requantize:
            moves.append((self.fetch(_BIAS, "a2"), "bias_line"))
        text.add(_setting("a4", "blocks", "a1"))
        steps = ("t3", "t4", "t5", "a5")
        text.add(*(_setting(step, field, "a1") for step, (_, field) in zip(steps, moves, strict=False)))
        text.add(*(f"add {to}, {to}, {step}" for step, (to, _) in zip(steps, moves, strict=False)))
        for place, (register, _) in zip((_C_START, _BIAS), moves[2:], strict=False):
            if not (in_registers and place == _C_START):
                self.keep(place, register)
        text.add("j 1b", "7:")

    def block(self) -> None:
        self.start_and_sum()
        if self.e.requantize:
            self.requantize()
        self.store()
        self.advance()

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

    def load_a(self, r: int, register: str) -> str:
        if r == self.row_middle:
            return f"P_LW({register}, {self.d.a_step}, {_A})"
        return f"lw {register}, {(r - self.row_middle) * self.d.a_row}({_A})"

    def load_b(self, c: int) -> str:
        if c == self.column_middle:
            return f"P_LW({_B_REGISTERS[c]}, {self.d.b_step}, {_B})"
        return f"lw {_B_REGISTERS[c]}, {(c - self.column_middle) * self.d.b_column}({_B})"

    def step(self, start: bool) -> list[str]:
        """Return a step of the sum; the first one can do without sums to add to."""
        dot = f"PV_DOT{self.kind}_B" if start else f"PV_SDOT{self.kind}_B"
        if self.d.taps > 1:
            return self.shared_step(dot)
        others = [c for c in range(self.columns) if c != self.column_middle]
        body = [self.load_b(c) for c in (*others, self.column_middle)]
        registers = [_A_REGISTERS[i % 2] for i in range(self.rows)]
        body.append(self.load_a(self.row_order[0], registers[0]))
        for i, r in enumerate(self.row_order):
            if i + 1 < self.rows:
                body.append(self.load_a(self.row_order[i + 1], registers[i + 1]))
            elif self.rows == 1:  # nothing stands between the load and its use
                body.insert(0, body.pop())
            products = [
                f"{dot}({self.sum(r, c)}, {registers[i]}, {_B_REGISTERS[c]})"
                for c in (*others, self.column_middle)
            ]
            body += products
        return body

    def shared_step(self, dot: str) -> list[str]:
        sums = [[self.sum(r, c) for c in range(self.columns)] for r in range(self.rows)]
        return shared_columns_step(sums, self.words, (_A, _B), self.d, dot)

    def start_and_sum(self) -> None:
        """Write the start of a block and the loops of its sum."""
        text, d, columns = self.text, self.d, range(self.columns)
        skips = []
        for register, skip in ((_A, d.a_skip), (_B, d.b_skip)):
            if skip:
                skips += add_constant(register, skip, "a0")
        if self.starts_from_bias:
            bias = self.fetch(_BIAS, "a0")
            text.add(*(f"lw {self.sum(0, c)}, {4 * c}({bias})" for c in columns))
            others = [(r, c) for r in range(1, self.rows) for c in columns]
            text.add(*copies([(self.sum(r, c), self.sum(0, c)) for r, c in others]))
        elif d.segments > 1:
            text.add(*(f"mv {register}, zero" for register in self.sums))
        if d.segments > 1:
            shares = d.taps > 1 and d.depth > 1
            inner = [*([f"li t2, {d.depth}"] if shares else []), *self.loop(d.depth, "t2")]
            length = sum(1 for line in (*inner, *skips) if not line.endswith(":"))
            if not skips:
                inner.append("nop")
                length += 1
            *before, last = [*inner, *skips]
            text.add(*([f"li a0, {d.turns}", f"sw a0, {_TURNS}(sp)", "8:"] if d.turns > 1 else []))
            text.add(".option rvc", ".balign 4", ".option norvc")
            text.add(f"li ra, {d.segments}", *([] if shares else [f"li t2, {d.depth}"]))
            text.add(f"LP_SETUP(1, ra, {length}, 6)")
            text.add(*before, "6:", last, ".option rvc")
            if d.turns > 1:
                text.add(f"lw a1, {_TURNS}(sp)", *add_constant(_A, d.a_turn, "a0"), "addi a1, a1, -1")
                text.add(f"sw a1, {_TURNS}(sp)", "bne a1, zero, 8b")
        elif self.starts_from_bias:
            text.add(f"li a0, {d.depth}", *self.loop(d.depth, "a0"), *skips)
        else:
            text.add(*self.step(start=True))
            if d.depth > 1:
                text.add(f"li a0, {d.depth - 1}", *self.loop(d.depth - 1, "a0"))
            text.add(*skips)

    def loop(self, count: int, register: str) -> list[str]:
        body = self.step(start=False)
        if count == 1:
            return body
        return [f"LP_SETUP(0, {register}, {len(body)}, 5)", *body[:-1], "5:", body[-1]]

    def requantize(self) -> None:
        """Write the requantisation of the sums in place; the columns' words are free by now."""
        text, e, columns = self.text, self.e, range(self.columns)
        if e.halfword:
            self.requantize_halfwords()
        elif e.own_shifts:
            self.load_bias_pointer()
            sums = [[self.sum(r, c) for r in range(self.rows)] for c in columns]
            places = (e.multipliers, e.zero_point, e.rounding)
            text.add(*requantize_own_shifts(sums, *places, negative=e.negative, spare_bit=e.spare_bit))
            text.add(*(f"P_CLIPU({register}, {register}, 9)" for register in self.sums))
        else:
            self.requantize_once()
        for bound, name, neutral in ((e.low, "MAX", 0), (e.high, "MIN", 255)):
            if bound != neutral:
                text.add(f"li a0, {bound}")
                text.add(*(f"P_{name}({register}, {register}, a0)" for register in self.sums))

    def load_bias_pointer(self) -> None:
        """Write the load of the bias's address to a0."""
        pointer = self.fetch(_BIAS, "a0")
        if pointer != "a0":
            self.text.add(f"mv a0, {pointer}")

    def requantize_once(self) -> None:
        """Write the products, the shift, halves up, and the bounds of a byte."""
        text, e, columns = self.text, self.e, range(self.columns)
        multipliers = _B_REGISTERS[: self.columns]
        if _BIAS in self.kept and e.multipliers + 4 * self.columns <= LARGEST_IMMEDIATE:
            at, pointer = e.multipliers, self.kept[_BIAS]
        else:
            self.load_bias_pointer()
            at, pointer = 0, "a0"
            text.add(*add_constant("a0", e.multipliers, "a1"))
        text.add(*(f"lw {multipliers[c]}, {at + 4 * c}({pointer})" for c in columns))
        places = [(self.sum(r, c), c) for r in range(self.rows) for c in columns]
        if e.short:
            text.add(*(f"PV_PACK_H({register}, {register}, {register})" for register in multipliers))
            for i, (register, c) in enumerate(places):
                value = ("a0", "a1")[i % 2]
                text.add(f"P_MULU_SHIFT({value}, {register}, {multipliers[c]}, 16)")
                text.add(f"P_MACHHS_ROUND({value}, {register}, {multipliers[c]}, {self.shift})")
                text.add(*([f"addi {value}, {value}, {e.zero_point}"] if e.zero_point else []))
                text.add(f"P_CLIPU({register}, {value}, 9)")
            return
        multiply = "mul" if e.narrow else "mulh"
        zero = "a1" if self.constant else "zero"
        text.add(*([f"lw a1, {_ZERO}(sp)"] if self.constant else []))
        text.add(*(f"{multiply} {register}, {register}, {multipliers[c]}" for register, c in places))
        for register in self.sums:
            if e.rounding == HALF_EVEN:
                text.add(*round_half_even(register, zero, "a0", e.shift))
            else:
                text.add(f"P_ADDRN({register}, {register}, {zero}, {self.shift})")
        text.add(*(f"P_CLIPU({register}, {register}, 9)" for register in self.sums))

    def requantize_halfwords(self) -> None:
        """Write the first shift, which adds the bias, the products of half words and the bounds of a byte."""
        text, e = self.text, self.e
        self.load_bias_pointer()
        kept, together = self.multipliers, self.columns if self.multipliers else 2
        far = not kept and e.multipliers + 4 * self.columns > LARGEST_IMMEDIATE
        text.add(*(["mv a1, a0", *add_constant("a1", e.multipliers, "t3")] if far else []))
        multipliers = ("a1", 0) if far else ("a0", e.multipliers)
        for first in range(0, self.columns, together):
            some = range(first, min(first + together, self.columns))
            bias, multiplier = (dict(zip(some, _B_REGISTERS[start:], strict=False)) for start in (0, 2))
            text.add(*(f"lw {bias[c]}, {4 * c}(a0)" for c in some))
            if kept:
                multiplier = dict(enumerate(kept))
            else:
                text.add(*(f"lw {multiplier[c]}, {multipliers[1] + 4 * c}({multipliers[0]})" for c in some))
            places = [(self.sum(r, c), c) for c in some for r in range(self.rows)]
            text.add(*(f"P_ADDRN({total}, {total}, {bias[c]}, {e.first_shift})" for total, c in places))
            text.add(*(f"P_MULS_ROUND({total}, {total}, {multiplier[c]}, {e.shift})" for total, c in places))
            text.add(*(f"addi {total}, {total}, {e.zero_point}" for total, _ in places if e.zero_point))
            text.add(*(f"P_CLIPU({total}, {total}, 9)" for total, _ in places))

    def store(self) -> None:
        """Write the stores of a block; the last one of a row moves on to the next row."""
        text, kind = self.text, "B" if self.e.requantize else "W"
        row, pointer = (_C_ROW, _C) if self.d.segments == 1 else ("t3", "a0")
        if self.d.segments > 1:
            row, start, step = self.fetch(_ROW, "t3"), self.fetch(_C_START, "a0"), self.e.item * self.columns
            text.add(*([] if start == "a0" else [f"mv a0, {start}"]))
            if not self.d.along_rows:
                following = self.kept.get(_C_START, "t5")
                text.add(f"addi {following}, a0, {step}")
                self.keep(_C_START, following)
        for r in range(self.rows):
            if self.e.requantize and self.e.words and self.columns == 4:
                first, second, third, fourth = (self.sum(r, c) for c in range(4))
                text.add(f"PV_PACKLO_B({first}, {second}, {first})")
                text.add(f"PV_PACKHI_B({first}, {fourth}, {third})", f"P_SWR({first}, {row}, {pointer})")
                continue
            others = range(1, self.columns)
            text.add(*(f"s{kind.lower()} {self.sum(r, c)}, {self.e.item * c}({pointer})" for c in others))
            text.add(f"P_S{kind}R({self.sum(r, 0)}, {row}, {pointer})")

    def advance(self) -> None:
        """Write the moves to the next block."""
        text, in_registers, along_rows = self.text, self.d.segments == 1, self.d.along_rows
        if self.e.requantize and not along_rows:
            bias = self.fetch(_BIAS, "a2")
            text.add(*([f"lw a0, {_C_NEXT}(sp)"] if in_registers else []))
            text.add(f"addi {bias}, {bias}, {4 * self.columns}")
            self.keep(_BIAS, bias)
        elif in_registers and not along_rows:
            text.add(f"lw a0, {_C_NEXT}(sp)")
        if in_registers and not along_rows:
            text.add(f"add {_C}, {_C}, a0")
        elif along_rows and not in_registers:
            self.keep(_C_START, "a0")
        text.add(*add_constant(_A, self.moves[0], "t3"), *add_constant(_B, self.moves[1], "t3"))


def _setting(register: str, field: str, pointer: str) -> str:
    return f"lw {register}, {4 * _FIELDS.index(field)}({pointer})"
