"""The assembly of sums of products of bytes, see `dot_panel`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tvm_pulp.schedules.microkernels.assembly import AssemblyText, add_constant, code_words, copies
from tvm_pulp.schedules.microkernels.dot_panel_results import (
    A_REGISTERS,
    B_REGISTERS,
    BIAS,
    C_END,
    C_NEXT,
    C_ROW,
    C_START,
    FRAME,
    LINES,
    ROW,
    SETTINGS,
    TURNS,
    ZERO,
    C,
    PanelResults,
)
from tvm_pulp.schedules.microkernels.shared_columns import columns_of, shared_columns_step, weights_of

if TYPE_CHECKING:
    from tvm_pulp.schedules.microkernels.dot_panel import DotDistances, Epilogue

_SAVED = "ra s0 s1 s2 s3 s4 s5 s6 s7 s8 s9 s10 s11 gp tp".split()
_A, _B = "t0", "t1"
_FIELDS = ("blocks", "c_row", "bias", "lines", "a_line", "b_line", "c_line", "bias_line")


def dot_panel_assembly(name: str, rows: int, columns: int, d: DotDistances, e: Epilogue, signed: bool) -> str:
    """Return a panel as C with top-level ``__asm__``."""
    text = _DotPanelWriter(rows, columns, d, e, signed).write(name)
    return f"void {name}(const void *, const void *, void *, const struct dot_panel *);\n__asm__(\n{text}\n);"


class _DotPanelWriter(PanelResults):
    def __init__(self, rows: int, columns: int, d: DotDistances, e: Epilogue, signed: bool) -> None:
        super().__init__(rows, columns, d, e)
        self.kind = "SP" if signed else "USP"
        # the pointers point at the middle row and column, which are loaded last, by post-increment
        self.row_middle, self.column_middle = rows // 2, columns // 2
        self.starts = (self.row_middle * d.a_row, self.column_middle * d.b_column)
        if d.taps > 1:
            self.starts = ([*columns_of(rows, d)][-1], weights_of(columns, d)[-1])
        self.moves = d.moves(rows, columns)
        self.starts_from_bias = e.requantize and not e.halfword
        self.row_order = [r for r in range(rows) if r != self.row_middle] + [self.row_middle]

    def write(self, name: str) -> AssemblyText:
        text, d, e = self.text, self.d, self.e
        text.add(f'.pushsection .text.{name},"ax",@progbits', ".balign 16")
        text.add(f".type {name}, @function", f"{name}:", f"addi sp, sp, -{FRAME}")
        text.add(*(f"sw {register}, {4 * i}(sp)" for i, register in enumerate(_SAVED)))
        text.add(".option push", ".option norvc", ".balign 4")
        text.add(f"addi {_A}, a0, {self.starts[0]}", f"addi {_B}, a1, {self.starts[1]}")
        text.add(f"sw a3, {SETTINGS}(sp)", _setting("a4", "blocks", "a3"), _setting("a5", "lines", "a3"))
        text.add(f"sw a5, {LINES}(sp)", _setting("a5", "c_row", "a3"))
        if e.requantize:
            if self.constant:
                text.add(f"li a7, {self.constant}", f"sw a7, {ZERO}(sp)")
            text.add(_setting("a6", "bias", "a3"))
            self.keep(BIAS, "a6")
        if d.segments == 1:
            self.block_loop()
        else:
            self.keep(C_START, "a2")
            self.keep(ROW, "a5")
            self.segmented_loop()
        self.next_line()
        text.add(".option pop", *(f"lw {register}, {4 * i}(sp)" for i, register in enumerate(_SAVED)))
        text.add(f"addi sp, sp, {FRAME}", "ret", f".size {name}, .-{name}", ".popsection")
        return text

    def segmented_loop(self) -> None:
        """Write a loop over the blocks, a4 of them, which needs no hardware loop."""
        text, along_rows = self.text, self.d.along_rows
        text.add("1:")
        if along_rows:
            text.add(f"li t3, {self.rows}", f"mul t2, {self.fetch(ROW, 't2')}, t3")
        else:
            text.add(f"li t2, {self.e.item * self.columns}")
        text.add("mul t2, t2, a4", f"add t2, t2, {self.fetch(C_START, 't3')}")
        self.keep(C_END, "t2")
        # short instructions, but for loops: the more of a block stays in the instruction cache
        text.add(".balign 16", "2:", ".option rvc")
        self.block()
        text.add(".option norvc")
        reached = self.kept.get(C_START, "a0" if along_rows else "t5")
        text.add(f"bne {reached}, {self.fetch(C_END, 't3')}, 2b")

    def block_loop(self) -> None:
        """Write a hardware loop over the blocks; C's pointer and row distance are in registers."""
        text = self.text
        text.add(f"mv {C}, a2", f"mv {C_ROW}, a5")
        if not self.d.along_rows:
            text.add(f"li a5, {self.e.item * self.columns}", *([f"sub a5, a5, {C_ROW}"] * self.rows))
            text.add(f"sw a5, {C_NEXT}(sp)")
        text.add("1:")
        if self.multipliers:
            text.add(f"lw a0, {BIAS}(sp)", *add_constant("a0", self.e.multipliers, "a1"))
            text.add(*(f"lw {register}, {4 * c}(a0)" for c, register in enumerate(self.multipliers)))
        start = len(text.lines)
        self.block()
        length = code_words(text.lines[start:])
        text.lines.insert(start, f"LP_SETUP(1, a4, {length:.0f}, 6)")
        text.lines.insert(-1, "6:")

    def next_line(self) -> None:
        """Write the end of a run of blocks: on to the next run, if there is one."""
        text, in_registers = self.text, self.d.segments == 1
        text.add(f"lw a0, {LINES}(sp)", f"lw a1, {SETTINGS}(sp)", "addi a0, a0, -1", f"sw a0, {LINES}(sp)")
        text.add("blez a0, 7f")
        start = C if in_registers else self.fetch(C_START, "a3")
        moves = [(_A, "a_line"), (_B, "b_line"), (start, "c_line")]
        if self.e.requantize:
            moves.append((self.fetch(BIAS, "a2"), "bias_line"))
        text.add(_setting("a4", "blocks", "a1"))
        steps = ("t3", "t4", "t5", "a5")
        text.add(*(_setting(step, field, "a1") for step, (_, field) in zip(steps, moves, strict=False)))
        text.add(*(f"add {to}, {to}, {step}" for step, (to, _) in zip(steps, moves, strict=False)))
        for place, (register, _) in zip((C_START, BIAS), moves[2:], strict=False):
            if not (in_registers and place == C_START):
                self.keep(place, register)
        text.add("j 1b", "7:")

    def block(self) -> None:
        self.start_and_sum()
        self.finish()
        self.advance()

    def load_a(self, r: int, register: str) -> str:
        if r == self.row_middle:
            return f"P_LW({register}, {self.d.a_step}, {_A})"
        return f"lw {register}, {(r - self.row_middle) * self.d.a_row}({_A})"

    def load_b(self, c: int) -> str:
        if c == self.column_middle:
            return f"P_LW({B_REGISTERS[c]}, {self.d.b_step}, {_B})"
        return f"lw {B_REGISTERS[c]}, {(c - self.column_middle) * self.d.b_column}({_B})"

    def step(self, start: bool) -> list[str]:
        """Return a step of the sum; the first one can do without sums to add to."""
        dot = f"PV_DOT{self.kind}_B" if start else f"PV_SDOT{self.kind}_B"
        if self.d.taps > 1:
            return self.shared_step(dot)
        others = [c for c in range(self.columns) if c != self.column_middle]
        body = [self.load_b(c) for c in (*others, self.column_middle)]
        registers = [A_REGISTERS[i % 2] for i in range(self.rows)]
        body.append(self.load_a(self.row_order[0], registers[0]))
        for i, r in enumerate(self.row_order):
            if i + 1 < self.rows:
                body.append(self.load_a(self.row_order[i + 1], registers[i + 1]))
            elif self.rows == 1:  # nothing stands between the load and its use
                body.insert(0, body.pop())
            products = [
                f"{dot}({self.sum(r, c)}, {registers[i]}, {B_REGISTERS[c]})"
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
            bias = self.fetch(BIAS, "a0")
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
            text.add(*([f"li a0, {d.turns}", f"sw a0, {TURNS}(sp)", "8:"] if d.turns > 1 else []))
            text.add(".option rvc", ".balign 4", ".option norvc")
            text.add(f"li ra, {d.segments}", *([] if shares else [f"li t2, {d.depth}"]))
            text.add(f"LP_SETUP(1, ra, {length}, 6)")
            text.add(*before, "6:", last, ".option rvc")
            if d.turns > 1:
                text.add(f"lw a1, {TURNS}(sp)", *add_constant(_A, d.a_turn, "a0"), "addi a1, a1, -1")
                text.add(f"sw a1, {TURNS}(sp)", "bne a1, zero, 8b")
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

    def advance(self) -> None:
        """Write the moves to the next block."""
        text, in_registers, along_rows = self.text, self.d.segments == 1, self.d.along_rows
        if self.e.requantize and not along_rows:
            bias = self.fetch(BIAS, "a2")
            text.add(*([f"lw a0, {C_NEXT}(sp)"] if in_registers else []))
            text.add(f"addi {bias}, {bias}, {4 * self.columns}")
            self.keep(BIAS, bias)
        elif in_registers and not along_rows:
            text.add(f"lw a0, {C_NEXT}(sp)")
        if in_registers and not along_rows:
            text.add(f"add {C}, {C}, a0")
        elif along_rows and not in_registers:
            self.keep(C_START, "a0")
        text.add(*add_constant(_A, self.moves[0], "t3"), *add_constant(_B, self.moves[1], "t3"))


def _setting(register: str, field: str, pointer: str) -> str:
    return f"lw {register}, {4 * _FIELDS.index(field)}({pointer})"
