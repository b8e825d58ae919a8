"""Register-blocked sums of products in L1: the inner loops of matrix products and convolutions.

A *panel* computes blocks of ``rows x columns`` results that lie side by side. Result (r, c) is the sum of
``a[r * a_row + ...] * b[c * b_column + ...]`` along a path that A and B walk together: ``depth`` steps of
constant length, then a skip, ``segments`` times; then another skip, ``groups`` times. Each register is
loaded again right after its last use, so that neither the FPU nor a load waits; the steps run in a hardware
loop without overhead.

The sum of a call starts from 0; with ``accumulate`` it is added to what is there, so that long sums are
summed up in parts.
"""

from __future__ import annotations

from tvm_pulp.schedules.microkernels.assembly import AssemblyText
from tvm_pulp.schedules.microkernels.forms import INCLUDE, both_forms
from tvm_pulp.schedules.microkernels.operand_walk import GROUPS_REGISTER, Distances, OperandWalk
from tvm_pulp.schedules.microkernels.step_order import REGISTERS, step_order

ACCUMULATORS = ("a4 a5 a6 a7 s0 s1 s2 s3 s4 s5 s6 s7 s8 s9 s10 s11").split()
_A_REGISTERS = ("a0", "a1", "a2", "a3")
_B_REGISTERS = ("t3", "t4", "t5", "t6")
_SAVED = ("ra", "s0", "s1", "s2", "s3", "s4", "s5", "s6", "s7", "s8", "s9", "s10", "s11")
_A, _B, _DEPTH = "t0", "t1", "t2"
_A_STEP, _B_STEP = "gp", "tp"
_FRAME = 96
_A_START, _B_START, _C_START, _SETTINGS, _BLOCKS, _KEPT, _GROUPS_LEFT = 52, 56, 60, 64, 68, 72, 80

_FIELDS = ("blocks", "depth", "segments", "groups", "a_segment", "b_segment", "a_group", "b_group", "c_row",
           "accumulate")  # fmt: skip

STRUCT = """\
/* What a panel needs to know beside its pointers; skips and distances in bytes. */
struct panel {
  int32_t blocks;                       /* register blocks side by side */
  int32_t depth, segments, groups;      /* steps of a segment of the sum, segments of a group, groups */
  int32_t a_segment, b_segment;         /* what is skipped after a segment */
  int32_t a_group, b_group;             /* and, beside that, after a group */
  int32_t c_row, accumulate;            /* distance of the results' rows; whether to add to what is there */
};"""


def panel_source(names: dict[tuple[int, int], str], d: Distances, *, assembly: bool, nested: bool) -> str:
    """Return C with panels of several block sizes: assembly where it can be used, else plain C.

    Parameters
    ----------
    names
        Block size (rows, columns) → name of the panel, of signature
        ``void name(const float *a, const float *b, float *c, const struct panel *)``.
    d
        Distances, the same for all.
    assembly
        Whether the target has Xpulp; the plain C form is there in any case, for the host.
    nested
        Whether there may be more than one group.
    """
    return choose_form(
        STRUCT,
        [panel_assembly(name, *size, d, nested) for size, name in names.items()],
        [panel_c(name, *size, d) for size, name in names.items()],
        assembly=assembly,
    )


def choose_form(struct: str, fast: list[str], plain: list[str], *, assembly: bool) -> str:
    """Return C with panels in plain C and, with ``assembly``, in assembly for targets that run it.

    ``struct`` declares their settings.
    """
    in_c = "\n\n".join(plain)
    if not assembly:
        return f"{struct}\n\n{in_c}"
    choice = [both_forms("\n\n".join(fast), in_c)] if in_c else []  # all panels may be those of edges
    return "\n\n".join([INCLUDE, struct, *choice])


def panel_assembly(
    name: str, rows: int, columns: int, d: Distances, nested: bool, writer: PanelWriter | None = None
) -> str:
    """Return a panel as C with top-level ``__asm__``; ``writer`` may write the sum in another way."""
    p = writer or PanelWriter(rows, columns, d)
    text = p.text
    text.add(f'.pushsection .text.{name},"ax",@progbits', ".option push", ".option norvc", ".balign 16")
    text.add(f".type {name}, @function", f"{name}:", f"addi sp, sp, -{_FRAME}")
    text.add(*(f"sw {register}, {4 * i}(sp)" for i, register in enumerate(_SAVED)))
    for number, walk in enumerate((p.a, p.b)):
        if walk.is_far:
            text.add(f"sw {walk.register}, {_KEPT + 4 * number}(sp)", f"li {walk.register}, {walk.move}")
    if p.b.is_scattered:
        text.add(f"li {GROUPS_REGISTER}, {p.b.distance}")
    text.add(f"addi a0, a0, {p.a.start}", f"addi a1, a1, {p.b.start}")
    text.add(f"sw a0, {_A_START}(sp)", f"sw a1, {_B_START}(sp)", f"sw a2, {_C_START}(sp)")
    text.add(f"sw a3, {_SETTINGS}(sp)", setting("a4", "blocks", "a3"), f"sw a4, {_BLOCKS}(sp)")

    text.add("1:", f"lw {_A}, {_A_START}(sp)", f"lw {_B}, {_B_START}(sp)", f"lw a3, {_SETTINGS}(sp)")
    text.add(setting(_DEPTH, "depth", "a3"), setting("a0", "segments", "a3"))
    if nested and p.b.is_scattered:
        text.add(setting("a1", "groups", "a3"), f"sw a1, {_GROUPS_LEFT}(sp)")
    elif nested:
        text.add(setting(GROUPS_REGISTER, "groups", "a3"))
    text.add(f"addi {_DEPTH}, {_DEPTH}, -1", *(f"mv {register}, zero" for register in p.accumulators))
    p.sum(nested)
    p.store()
    text.add(f"lw a1, {_B_START}(sp)", f"lw a0, {_BLOCKS}(sp)", f"li a2, {4 * columns * d.b_column}")
    text.add(
        "add a1, a1, a2", "addi a0, a0, -1", f"sw a1, {_B_START}(sp)", f"sw a0, {_BLOCKS}(sp)", "bnez a0, 1b"
    )
    text.add(*(f"lw {register}, {4 * i}(sp)" for i, register in enumerate(_SAVED)))
    for number, walk in enumerate((p.a, p.b)):
        text.add(*([f"lw {walk.register}, {_KEPT + 4 * number}(sp)"] if walk.is_far else []))
    text.add(f"addi sp, sp, {_FRAME}", "ret", f".size {name}, .-{name}", ".option pop", ".popsection")
    return f"void {name}(const float *, const float *, float *, const struct panel *);\n__asm__(\n{text}\n);"


def setting(register: str, field: str, pointer: str) -> str:
    """Return the load of a field of the panel's settings."""
    return f"lw {register}, {4 * _FIELDS.index(field)}({pointer})"


class PanelWriter:
    """The parts of a panel's assembly that depend on its block."""

    def __init__(self, rows: int, columns: int, d: Distances) -> None:
        self.rows, self.columns, self.d = rows, columns, d
        self.text = AssemblyText()
        self.accumulators = ACCUMULATORS[: rows * columns]
        self.a = OperandWalk(_A, _A_STEP, rows, d.a_row, d.a_step)
        self.b = OperandWalk(_B, _B_STEP, columns, d.b_column, d.b_step)

    def load_a(self, r: int) -> str:
        """Return the load of a row's value of A."""
        return self.a.load(_A_REGISTERS[r], r)

    def load_b(self, c: int) -> str:
        """Return the load of a column's value of B."""
        return self.b.load(_B_REGISTERS[c % REGISTERS], c)

    def load_a_from(self, r: int, offset: int) -> str:
        """Return the load of a row's value of A at an offset, in bytes, from the pointer."""
        return f"lw {_A_REGISTERS[r]}, {offset}({_A})"

    def load_b_into(self, number: int, offset: int) -> str:
        """Return the load of a register of B from an offset, in bytes, from the pointer."""
        return f"lw {_B_REGISTERS[number]}, {offset}({_B})"

    def multiply(self, r: int, c: int) -> str:
        """Return the product of a row and a column."""
        return self.multiply_with(r, c, c % REGISTERS)

    def start_sum(self, r: int, c: int) -> str:
        """Return the first product of a row and a column: nothing is added to it."""
        accumulator = self.accumulators[r * self.columns + c]
        return f"fmul.s {accumulator}, {_A_REGISTERS[r]}, {_B_REGISTERS[c % REGISTERS]}"

    def multiply_with(self, r: int, c: int, number: int) -> str:
        """Return the product of a row and a column whose value is in B's register ``number``."""
        accumulator = self.accumulators[r * self.columns + c]
        return f"fmadd.s {accumulator}, {_A_REGISTERS[r]}, {_B_REGISTERS[number]}, {accumulator}"

    def loads_b(self, columns: range) -> list[list[str]]:
        """Return the loads of some columns' values of B, the last one with the move to the next step."""
        if columns[-1] == self.columns - 1:
            return [[self.load_b(c)] for c in columns]
        near = [[self.b.load_near(_B_REGISTERS[c % REGISTERS], c)] for c in columns]
        return [*near[:-1], [*near[-1], self.b.move_on()]]

    def step(self, columns: range, *, start: bool = False, ahead: bool = True) -> list[str]:
        """Return the products of a step with the loads between them: the inner loop.

        With ``start`` the sums begin with this step. Without ``ahead`` it is the last one, which loads
        nothing for a next.
        """
        order, loads_b = step_order(self.rows, len(columns)), self.loads_b(columns)
        body: list[str] = []
        for number, (r, c) in enumerate(order.products, 1):
            body.append(self.start_sum(r, columns[c]) if start else self.multiply(r, columns[c]))
            for load in order.after(number):
                if ahead or not load.ahead:
                    body += [self.load_a(load.number)] if load.operand == "a" else loads_b[load.number]
        return body

    def first_loads(self, columns: range) -> list[str]:
        """Return the loads before the first step."""
        loads_b = self.loads_b(columns)
        lines: list[str] = []
        for load in step_order(self.rows, len(columns)).before_the_first_step():
            lines += [self.load_a(load.number)] if load.operand == "a" else loads_b[load.number]
        return lines

    def segment(self, columns: range) -> list[str]:
        """Return a segment of the sum of some columns; label 6 is at its last instruction."""
        body = self.step(columns)
        inner = [f"beqz {_DEPTH}, 4f", f"LP_SETUP(0, {_DEPTH}, {len(body)}, 5)"]
        inner += [*body[:-1], "5:", body[-1], "4:"]
        skip = [
            f"lw a0, {_SETTINGS}(sp)",
            setting("a1", "a_segment", "a0"),
            setting("a2", "b_segment", "a0"),
        ]
        last = self.step(columns, ahead=False)
        return [*self.first_loads(columns), *inner, *last, *skip, f"add {_A}, {_A}, a1", "6:",
                f"add {_B}, {_B}, a2"]  # fmt: skip

    def segments(self, columns: range) -> None:
        """Write a loop over segments; a0 holds their number."""
        segment = self.segment(columns)
        length = sum(1 for line in segment if not line.endswith(":"))
        self.text.add(f"LP_SETUP(1, a0, {length}, 6)", *segment)

    def sum(self, nested: bool) -> None:
        """Write the loops of the sum; a0 holds the number of segments."""
        self.text.add("3:")
        self.segments(range(self.columns))
        if nested:
            self.next_group()

    def next_group(self) -> None:
        """Write the end of a group of segments."""
        groups = "a3" if self.b.is_scattered else GROUPS_REGISTER
        if self.b.is_scattered:  # the register holds the distance of columns
            self.text.add(f"lw a3, {_GROUPS_LEFT}(sp)", "addi a3, a3, -1", f"sw a3, {_GROUPS_LEFT}(sp)")
        else:
            self.text.add(f"addi {GROUPS_REGISTER}, {GROUPS_REGISTER}, -1")
        self.text.add(f"lw a0, {_SETTINGS}(sp)")
        self.text.add(setting("a1", "a_group", "a0"), setting("a2", "b_group", "a0"))
        self.text.add(setting("a0", "segments", "a0"), f"add {_A}, {_A}, a1", f"add {_B}, {_B}, a2")
        self.text.add(f"bnez {groups}, 3b")

    def store(self) -> None:
        """Write the end of a block: add to what is there where that is asked for, store, move on."""
        d = self.d
        self.text.add(f"lw a0, {_C_START}(sp)", f"lw a1, {_SETTINGS}(sp)")
        self.text.add(f"addi a2, a0, {4 * self.columns * d.c_column}", f"sw a2, {_C_START}(sp)")
        self.text.add(setting("a2", "accumulate", "a1"), setting("a1", "c_row", "a1"))
        self.text.add("beqz a2, 7f", "mv a2, a0")
        self.add_what_is_there("a2")
        self.text.add("7:")
        self.store_block()

    def add_what_is_there(self, pointer: str) -> None:
        """Add the values at a pointer, which moves along, in rows a1 bytes apart, to the sums."""
        for r in range(self.rows):
            mine = self.accumulators[r * self.columns : (r + 1) * self.columns]
            for start in range(0, self.columns, REGISTERS):
                some = range(start, min(start + REGISTERS, self.columns))
                values = {c: _B_REGISTERS[c - start] for c in some}
                self.text.add(*(f"lw {values[c]}, {4 * c * self.d.c_column}({pointer})" for c in some))
                if some[-1] == self.columns - 1 and r < self.rows - 1:
                    self.text.add(f"add {pointer}, {pointer}, a1")
                self.text.add(*(f"fadd.s {mine[c]}, {mine[c]}, {values[c]}" for c in some))

    def store_block(self) -> None:
        """Store the sums at a0, in rows a1 bytes apart."""
        for r in range(self.rows):
            mine = self.accumulators[r * self.columns : (r + 1) * self.columns]
            self.text.add(*(f"sw {mine[c]}, {4 * c * self.d.c_column}(a0)" for c in range(self.columns)))
            self.text.add(*(["add a0, a0, a1"] if r < self.rows - 1 else []))


def panel_c(name: str, rows: int, columns: int, d: Distances) -> str:
    """Return the same panel in plain C."""
    return f"""\
static void {name}(const float *restrict a, const float *restrict b, float *restrict c,
                   const struct panel *p) {{
  const float *const end = b + p->blocks * {columns * d.b_column};
  for (; b < end; b += {columns * d.b_column}, c += {columns * d.c_column}) {{
    float sum[{rows}][{columns}] = {{{{0}}}};
    const float *x = a, *y = b;
    for (int32_t group = 0; group < p->groups; ++group) {{
      for (int32_t segment = 0; segment < p->segments; ++segment) {{
        for (int32_t k = 0; k < p->depth; ++k, x += {d.a_step}, y += {d.b_step})
          for (int32_t i = 0; i < {rows}; ++i)
            for (int32_t j = 0; j < {columns}; ++j) sum[i][j] += x[i * {d.a_row}] * y[j * {d.b_column}];
        x += p->a_segment / 4, y += p->b_segment / 4;
      }}
      x += p->a_group / 4, y += p->b_group / 4;
    }}
    for (int32_t i = 0; i < {rows}; ++i)
      for (int32_t j = 0; j < {columns}; ++j) {{
        float *result = c + i * (p->c_row / 4) + j * {d.c_column};
        *result = p->accumulate ? *result + sum[i][j] : sum[i][j];
      }}
  }}
}}"""
