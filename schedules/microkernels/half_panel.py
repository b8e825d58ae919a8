"""Register-blocked sums of products of float16 in float32: the inner loops of half-precision products.

A *panel* computes blocks of ``rows x columns`` results that lie side by side. A step of the sum takes two
terms at once: a register holds two values of a row (or column), ``vfdotpex.s.h`` multiplies two such
registers and adds both products to a float32. An operand whose rows run along the sum is loaded as such
pairs; of one that lies the other way, ``[k][m]`` or ``[k][n]``, two rows of k are loaded and the halves of
their words interleaved in registers. Results are rounded to float16 once, at the end.

Rows of an odd length make every other word misaligned, which takes an access more but no other code.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from tvm_pulp.schedules.microkernels.assembly import AssemblyText, add_constant
from tvm_pulp.schedules.microkernels.forms import both_forms
from tvm_pulp.schedules.microkernels.half_operand import make_operand
from tvm_pulp.schedules.microkernels.operand_walk import Distances

_ACCUMULATORS = ("s0 s1 s2 s3 s4 s5 s6 s7 s8 s9 s10 s11 a4 a5 a6 a7").split()
_A_REGISTERS = ("a0", "a1", "a2", "a3")
_B_REGISTERS = ("t3", "t4", "t5", "t6")
_SAVED = ("ra", "s0", "s1", "s2", "s3", "s4", "s5", "s6", "s7", "s8", "s9", "s10", "s11", "gp", "tp")
_A, _B, _SCRATCH, _SELECTORS = "t0", "t1", "t2", "ra"
_A_STEP, _B_STEP = "gp", "tp"
_FRAME = 96
_A_START, _B_START, _C_START, _SUMS_START, _SETTINGS, _BLOCKS, _STEPS = 60, 64, 68, 72, 76, 80, 84

_FIELDS = ("blocks", "depth", "odd", "segments", "a_segment", "b_segment", "c_row", "sums", "begins", "ends")

STRUCT = """\
/* What a panel needs to know beside its pointers; skips and distances in bytes. */
struct half_panel {
  int32_t blocks;                 /* register blocks side by side */
  int32_t depth, odd, segments;   /* a segment of the sum: pairs of terms, a single one behind; how many */
  int32_t a_segment, b_segment;   /* what is skipped after the pairs of a segment */
  int32_t c_row;                  /* distance of the results' rows */
  float *sums;                    /* partial sums, of rows twice as long, where a sum has several parts */
  int32_t begins, ends;           /* whether this part is the first one, the last one */
};"""


@dataclass(frozen=True)
class HalfPanelForm:
    """What the panels of a kernel have in common.

    Attributes
    ----------
    d : Distances
        Elements from a row of A (a column of B) to the next and from a term of the sum to the next; of each
        operand one of the two is 1.
    odd : bool
        Whether a sum may have an odd number of terms.
    segmented : bool
        Whether a sum may have several segments.
    partial : bool
        Whether sums are made in several calls, with float32 in between.
    """

    d: Distances
    odd: bool
    segmented: bool
    partial: bool


def half_panel_source(names: dict[tuple[int, int], str], form: HalfPanelForm, *, assembly: bool) -> str:
    """Return C with panels of several block sizes: assembly where it can be used, else plain C.

    Parameters
    ----------
    names
        Block size (rows, columns) → name of the panel, of signature ``void name(const pulp_half *a, const
        pulp_half *b, pulp_half *c, const struct half_panel *)``.
    form
        The same for all.
    assembly
        Whether the target has Xpulp and half precision; the plain C form is there in any case, for the host.
    """
    plain = "\n\n".join(_panel_c(name, *size, form) for size, name in names.items())
    if not assembly:
        return f"{STRUCT}\n\n{plain}"
    panels = "\n\n".join(half_panel_assembly(name, *size, form) for size, name in names.items())
    choice = both_forms(panels, plain)
    return f'#include "pulp_assembly.h"\n\n{STRUCT}\n\n{choice}'


def half_panel_assembly(name: str, rows: int, columns: int, form: HalfPanelForm) -> str:
    """Return a panel as C with top-level ``__asm__``."""
    text = _HalfPanelWriter(rows, columns, form).write(name)
    signature = "const pulp_half *, const pulp_half *, pulp_half *, const struct half_panel *"
    return f"void {name}({signature});\n__asm__(\n{text}\n);"


class _HalfPanelWriter:
    def __init__(self, rows: int, columns: int, form: HalfPanelForm) -> None:
        self.rows, self.columns, self.form = rows, columns, form
        self.text = AssemblyText()
        self.accumulators = _ACCUMULATORS[: rows * columns]
        d = form.d
        scratch = (_SCRATCH, _SELECTORS)
        self.a = make_operand(_A, _A_REGISTERS[:rows], _A_STEP, scratch, d.a_row, d.a_step)
        self.b = make_operand(_B, _B_REGISTERS[:columns], _B_STEP, scratch, d.b_column, d.b_step)

    def write(self, name: str) -> AssemblyText:
        text, form = self.text, self.form
        text.add(f'.pushsection .text.{name},"ax",@progbits', ".option push", ".option norvc", ".balign 16")
        text.add(f".type {name}, @function", f"{name}:", f"addi sp, sp, -{_FRAME}")
        text.add(*(f"sw {register}, {4 * i}(sp)" for i, register in enumerate(_SAVED)))
        text.add(*add_constant("a0", self.a.start, "a4"), *add_constant("a1", self.b.start, "a4"))
        text.add(f"sw a0, {_A_START}(sp)", f"sw a1, {_B_START}(sp)", f"sw a2, {_C_START}(sp)")
        text.add(f"sw a3, {_SETTINGS}(sp)", _setting("a4", "blocks", "a3"), f"sw a4, {_BLOCKS}(sp)")
        text.add(_setting("a4", "depth", "a3"), f"addi a4, a4, -{int(self.is_pipelined)}")
        text.add(f"sw a4, {_STEPS}(sp)")
        if form.partial:
            text.add(_setting("a4", "sums", "a3"), f"sw a4, {_SUMS_START}(sp)")
        text.add(*self.a.prepare, *self.b.prepare)
        if self.a.interleaves or self.b.interleaves:
            text.add(f"li {_SELECTORS}, 0x10003")  # the high halves of both words
        text.add("1:", f"lw {_A}, {_A_START}(sp)", f"lw {_B}, {_B_START}(sp)")
        self.start()
        self.sum()
        self.finish()
        text.add(f"lw a1, {_B_START}(sp)", f"lw a0, {_BLOCKS}(sp)")
        text.add(*add_constant("a1", 2 * self.columns * form.d.b_column, "a2"), "addi a0, a0, -1")
        text.add(f"sw a1, {_B_START}(sp)", f"sw a0, {_BLOCKS}(sp)", "bnez a0, 1b")
        text.add(*(f"lw {register}, {4 * i}(sp)" for i, register in enumerate(_SAVED)))
        text.add(f"addi sp, sp, {_FRAME}", "ret", f".size {name}, .-{name}", ".option pop", ".popsection")
        return text

    # the sum

    @property
    def is_pipelined(self) -> bool:
        """Whether there are two groups of rows and of columns: one is loaded beside the other's work."""
        return self.rows > 2 and self.columns > 2

    def products(self, rows: range, columns: range) -> list[str]:
        registers = [
            (self.accumulators[r * self.columns + c], _A_REGISTERS[r], _B_REGISTERS[c])
            for r in rows
            for c in columns
        ]
        return [f"VFDOTPEX_S_H({total}, {a}, {b})" for total, a, b in registers]

    def steps(self) -> None:
        """Write the loop over pairs of terms.

        Rows and columns are in two groups each, of two. In the order of the products below every group is
        free while two others are multiplied; in that time it is loaded, with an instruction of the FPU every
        other cycle, so that two workers that share it fall into step.
        """
        text, a, b = self.text, self.a, self.b
        rows, columns = (range(2), range(2, self.rows)), (range(2), range(2, self.columns))
        text.add(*a.pairs(rows[0]), *b.pairs(columns[0]), f"lw {_SCRATCH}, {_STEPS}(sp)")
        first = [
            *weave(self.products(rows[0], columns[0]), b.pairs(columns[1])),
            *weave(self.products(rows[0], columns[1]), a.pairs(rows[1])),
        ]
        last = self.products(rows[1], columns[0]), self.products(rows[1], columns[1])
        body = [*first, *weave(last[0], a.pairs(rows[0])), *weave(last[1], b.pairs(columns[0]))]
        text.add(f"beqz {_SCRATCH}, 3f", f"LP_SETUP(0, {_SCRATCH}, {len(body)}, 5)")
        text.add(*body[:-1], "5:", body[-1], "3:", *first, *last[0], *last[1])

    def steps_of_small_block(self) -> None:
        """Write the loop without anything loaded ahead."""
        loads = [self.a.pairs(range(self.rows)), self.b.pairs(range(self.columns))]
        if self.columns == 1:  # what is loaded last is not needed first
            loads.reverse()
        body = [*loads[0], *loads[1], *self.products(range(self.rows), range(self.columns))]
        self.text.add(f"lw {_SCRATCH}, {_STEPS}(sp)", f"LP_SETUP(0, {_SCRATCH}, {len(body)}, 5)")
        self.text.add(*body[:-1], "5:", body[-1])

    def sum(self) -> None:
        """Write the loops of the sum."""
        text, form = self.text, self.form
        start = len(text.lines)
        if form.odd:
            field = _setting(_SCRATCH, "depth", _SCRATCH)
            text.add(f"lw {_SCRATCH}, {_SETTINGS}(sp)", field, f"beqz {_SCRATCH}, 4f")
        if self.is_pipelined:
            self.steps()
        else:
            self.steps_of_small_block()
        if form.odd:
            text.add("4:", f"lw {_SCRATCH}, {_SETTINGS}(sp)", _setting(_SCRATCH, "odd", _SCRATCH))
            text.add(f"beqz {_SCRATCH}, 7f", *self.a.singles(), *self.b.singles())
            text.add(*self.products(range(self.rows), range(self.columns)), "7:")
        if form.segmented:
            skips = [f"lw a0, {_SETTINGS}(sp)", _setting("a1", "a_segment", "a0")]
            skips += [_setting("a2", "b_segment", "a0"), f"add {_A}, {_A}, a1"]
            text.add(*skips, "6:", f"add {_B}, {_B}, a2")
            length = sum(1 for line in text.lines[start:] if not line.endswith(":"))
            head = [f"lw a0, {_SETTINGS}(sp)", _setting("a0", "segments", "a0")]
            text.lines[start:start] = [*head, f"LP_SETUP(1, a0, {length}, 6)"]

    # start and end of a block

    def start(self) -> None:
        """Write the start of the sums: zero, or what is there of them."""
        text = self.text
        text.add(*(f"mv {register}, zero" for register in self.accumulators))
        if self.form.partial:
            text.add(f"lw a1, {_SETTINGS}(sp)", f"lw a0, {_SUMS_START}(sp)", _setting("a2", "begins", "a1"))
            text.add(_setting("a1", "c_row", "a1"), "bnez a2, 8f", "slli a1, a1, 1")
            self.each_row(lambda r, c: [f"lw {self.accumulators[r * self.columns + c]}, {4 * c}(a0)"])
            text.add("8:")

    def each_row(self, line: Callable[[int, int], list[str]]) -> None:
        """Write something for every result; a0 moves from row to row by a1."""
        for r in range(self.rows):
            for c in range(self.columns):
                self.text.add(*line(r, c))
            self.text.add(*(["add a0, a0, a1"] if r < self.rows - 1 else []))

    def finish(self) -> None:
        """Write the end of a block: round and store, or store partial sums; move on."""
        text, columns = self.text, self.columns
        text.add(f"lw a1, {_SETTINGS}(sp)", f"lw a0, {_C_START}(sp)")
        if self.form.partial:
            text.add(_setting("a3", "ends", "a1"), f"lw t3, {_SUMS_START}(sp)")
        text.add(_setting("a1", "c_row", "a1"), f"addi a2, a0, {2 * columns}", f"sw a2, {_C_START}(sp)")
        if self.form.partial:
            text.add(f"addi a2, t3, {4 * columns}", f"sw a2, {_SUMS_START}(sp)", "bnez a3, 8f")
            text.add("mv a0, t3", "slli a1, a1, 1")
            self.each_row(lambda r, c: [f"sw {self.accumulators[r * columns + c]}, {4 * c}(a0)"])
            text.add("j 9f", "8:")
        self.each_row(self.store_half)
        if self.form.partial:
            text.add("9:")

    def store_half(self, r: int, c: int) -> list[str]:
        register = self.accumulators[r * self.columns + c]
        if c % 2:
            return []
        if c == self.columns - 1:
            return [f"FCVT_H_S({register}, {register})", f"sh {register}, {2 * c}(a0)"]
        following = self.accumulators[r * self.columns + c + 1]
        return [f"VFCPKA_H_S({register}, {register}, {following})", f"sw {register}, {2 * c}(a0)"]


def weave(products: list[str], others: list[str]) -> list[str]:
    """Put other instructions between products, spread evenly, a product at the head."""
    lines, done = [], 0
    for number, product in enumerate(products):
        upto = -(-len(others) * (number + 1) // len(products))
        lines += [product, *others[done:upto]]
        done = upto
    return lines


def _setting(register: str, field: str, pointer: str) -> str:
    return f"lw {register}, {4 * _FIELDS.index(field)}({pointer})"


def _panel_c(name: str, rows: int, columns: int, form: HalfPanelForm) -> str:
    """Return the same panel in plain C."""
    d = form.d
    result = "c[i * (p->c_row / 2) + j] = pulp_float_to_half(sum[i][j])"
    start, end, move = "0.0f", f"{result};", ""
    if form.partial:
        place = "sums[i * (p->c_row / 2) + j]"
        start, move = f"p->begins ? 0.0f : {place}", f", sums += {columns}"
        end = f"if (p->ends) {result};\n        else {place} = sum[i][j];"
    sums = "  float *sums = p->sums;\n" if form.partial else ""
    return f"""\
static void {name}(const pulp_half *a, const pulp_half *b, pulp_half *c, const struct half_panel *p) {{
  const pulp_half *const end = b + p->blocks * {columns * d.b_column};
{sums}\
  for (; b < end; b += {columns * d.b_column}, c += {columns}{move}) {{
    float sum[{rows}][{columns}];
    const pulp_half *x = a, *y = b;
    for (int32_t i = 0; i < {rows}; ++i)
      for (int32_t j = 0; j < {columns}; ++j) sum[i][j] = {start};
    for (int32_t segment = 0; segment < p->segments; ++segment) {{
      for (int32_t k = 0; k < 2 * p->depth + p->odd; ++k)
        for (int32_t i = 0; i < {rows}; ++i) {{
          const float value = pulp_half_to_float(x[i * {d.a_row} + k * {d.a_step}]);
          for (int32_t j = 0; j < {columns}; ++j)
            sum[i][j] += value * pulp_half_to_float(y[j * {d.b_column} + k * {d.b_step}]);
        }}
      x += 2 * p->depth * {d.a_step} + p->a_segment / 2, y += 2 * p->depth * {d.b_step} + p->b_segment / 2;
    }}
    for (int32_t i = 0; i < {rows}; ++i)
      for (int32_t j = 0; j < {columns}; ++j) {{
        {end}
      }}
  }}
}}"""
