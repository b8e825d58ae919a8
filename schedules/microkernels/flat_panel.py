"""Panels whose sum is one segment, as in a matrix product: less work around the inner loop than `panel`.

The first step multiplies instead of adding to zeros, and all that a block needs between two sums is at hand
on the stack. A block's code, with its loop, fits a core's own instruction cache.
"""

from __future__ import annotations

from tvm_pulp.schedules.microkernels.operand_walk import GROUPS_REGISTER, Distances
from tvm_pulp.schedules.microkernels.panel import ACCUMULATORS, PanelWriter, choose_form

_SAVED_BY_CALLEE = ("ra", "gp", "tp", *(f"s{number}" for number in range(12)))
_DEPTH = "t2"
_A_START, _B_NEXT, _B_END, _C_START, _C_ROW, _ACCUMULATE, _REGISTERS = 0, 4, 8, 12, 16, 20, 24
_FRAME = 96
_FIELDS = ("blocks", "depth", "c_row", "accumulate")

_STRUCT = """\
/* What a panel needs to know beside its pointers. */
struct panel {
  int32_t blocks;      /* register blocks side by side */
  int32_t depth;       /* steps of the sum */
  int32_t c_row;       /* bytes from a row of the results to the next */
  int32_t accumulate;  /* whether to add to what is there */
};"""


def flat_panel_source(names: dict[tuple[int, int], str], d: Distances, *, assembly: bool) -> str:
    """Return C with panels of several block sizes; see `panel.panel_source`."""
    return choose_form(
        _STRUCT,
        [flat_panel_assembly(name, *size, d) for size, name in names.items()],
        [_flat_panel_c(name, *size, d) for size, name in names.items()],
        assembly=assembly,
    )


def _setting(register: str, field: str) -> str:
    """Return the load of a field of the settings at a3."""
    return f"lw {register}, {4 * _FIELDS.index(field)}(a3)"


class _FlatWriter(PanelWriter):
    """Keeps the sums of a single row in registers of A that it leaves free, which need not be saved."""

    def __init__(self, rows: int, columns: int, d: Distances) -> None:
        super().__init__(rows, columns, d)
        if rows == 1:
            self.accumulators = ["a1", "a2", "a3", *ACCUMULATORS][:columns]


def flat_panel_assembly(name: str, rows: int, columns: int, d: Distances) -> str:
    """Return a panel as C with top-level ``__asm__``."""
    p = _FlatWriter(rows, columns, d)
    text, a, b, everything = p.text, p.a, p.b, range(columns)
    used = {*p.accumulators, *(walk.register for walk in (a, b) if walk.is_far)}
    used |= {GROUPS_REGISTER} if b.is_scattered else set()
    saved = [register for register in _SAVED_BY_CALLEE if register in used]
    text.add(f'.pushsection .text.{name},"ax",@progbits', ".option push", ".option norvc", ".balign 16")
    text.add(f".type {name}, @function", f"{name}:", f"addi sp, sp, -{_FRAME}")
    text.add(*(f"sw {register}, {_REGISTERS + 4 * i}(sp)" for i, register in enumerate(saved)))

    text.add(_setting(_DEPTH, "depth"), _setting("t3", "blocks"), _setting("t5", "accumulate"))
    text.add(*([_setting("t4", "c_row"), f"sw t4, {_C_ROW}(sp)"] if rows > 1 else []))
    text.add(f"sw a2, {_C_START}(sp)", f"sw t5, {_ACCUMULATE}(sp)")
    text.add(f"addi {a.pointer}, a0, {a.start}", f"sw {a.pointer}, {_A_START}(sp)")
    text.add(f"addi {b.pointer}, a1, {b.start}", f"li t4, {4 * columns * d.b_column}")
    text.add(f"li t5, {4 * d.b_step}", f"mul t5, t5, {_DEPTH}", "mul t3, t3, t4", "sub t4, t4, t5")
    text.add(f"add t3, t3, {b.pointer}", f"sw t4, {_B_NEXT}(sp)", f"sw t3, {_B_END}(sp)")
    text.add(*(f"li {walk.register}, {walk.move}" for walk in (a, b) if walk.is_far))
    text.add(*([f"li {GROUPS_REGISTER}, {b.distance}"] if b.is_scattered else []))
    text.add(f"addi {_DEPTH}, {_DEPTH}, -2")

    loop = p.step(everything)
    text.add("1:", *p.first_loads(everything), f"bltz {_DEPTH}, 8f", *p.step(everything, start=True))
    text.add(f"beqz {_DEPTH}, 4f", f"LP_SETUP(0, {_DEPTH}, {len(loop)}, 5)", *loop[:-1], "5:", loop[-1])
    text.add("4:", *p.step(everything, ahead=False))
    text.add(f"lw a0, {_C_START}(sp)", f"lw t3, {_ACCUMULATE}(sp)")
    text.add(*([f"lw a1, {_C_ROW}(sp)"] if rows > 1 else []))
    text.add(f"addi t4, a0, {4 * columns * d.c_column}", f"sw t4, {_C_START}(sp)", "bnez t3, 9f", "7:")
    p.store_block()
    text.add(f"lw t4, {_B_NEXT}(sp)", f"lw t3, {_B_END}(sp)", f"add {b.pointer}, {b.pointer}, t4")
    text.add(f"lw {a.pointer}, {_A_START}(sp)", f"bne {b.pointer}, t3, 1b")

    text.add(*(f"lw {register}, {_REGISTERS + 4 * i}(sp)" for i, register in enumerate(saved)))
    text.add(f"addi sp, sp, {_FRAME}", "ret")
    text.add("8:", *(f"mv {register}, zero" for register in p.accumulators), "j 4b")  # a sum of one step
    text.add("9:", *(["mv a2, a0"] if rows > 1 else []))
    p.add_what_is_there("a2" if rows > 1 else "a0")
    text.add("j 7b", f".size {name}, .-{name}", ".option pop", ".popsection")
    return f"void {name}(const float *, const float *, float *, const struct panel *);\n__asm__(\n{text}\n);"


def _flat_panel_c(name: str, rows: int, columns: int, d: Distances) -> str:
    """Return the same panel in plain C."""
    return f"""\
static void {name}(const float *restrict a, const float *restrict b, float *restrict c,
                   const struct panel *p) {{
  const float *const end = b + p->blocks * {columns * d.b_column};
  for (; b < end; b += {columns * d.b_column}, c += {columns * d.c_column}) {{
    float sum[{rows}][{columns}] = {{{{0}}}};
    for (int32_t k = 0; k < p->depth; ++k)
      for (int32_t i = 0; i < {rows}; ++i)
        for (int32_t j = 0; j < {columns}; ++j)
          sum[i][j] += a[i * {d.a_row} + k * {d.a_step}] * b[j * {d.b_column} + k * {d.b_step}];
    for (int32_t i = 0; i < {rows}; ++i)
      for (int32_t j = 0; j < {columns}; ++j) {{
        float *result = c + i * (p->c_row / 4) + j * {d.c_column};
        *result = p->accumulate ? *result + sum[i][j] : sum[i][j];
      }}
  }}
}}"""
