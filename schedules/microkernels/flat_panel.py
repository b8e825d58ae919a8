"""Panels whose sum is one segment, as in a matrix product: less work around the inner loop than `panel`.

The first step multiplies instead of adding to zeros, and all that a block needs between two sums is at hand
on the stack. A block's code, with its loop, fits a core's own instruction cache.
"""

from __future__ import annotations

from tvm_pulp.schedules.microkernels.operand_walk import GROUPS_REGISTER, Distances
from tvm_pulp.schedules.microkernels.panel import PanelWriter, choose_form, panel_c, setting

_SAVED_BY_CALLEE = ("ra", "gp", "tp", *(f"s{number}" for number in range(12)))
_DEPTH = "t2"
_A_START, _B_NEXT, _B_END, _C_START, _C_ROW, _ACCUMULATE, _REGISTERS = 0, 4, 8, 12, 16, 20, 24
_FRAME = 96


def flat_panel_source(names: dict[tuple[int, int], str], d: Distances, *, assembly: bool) -> str:
    """Return C with panels of several block sizes; see `panel.panel_source`.

    They look at the fields ``blocks``, ``depth``, ``c_row`` and ``accumulate`` of their settings only.
    """
    return choose_form(
        [flat_panel_assembly(name, *size, d) for size, name in names.items()],
        [panel_c(name, *size, d) for size, name in names.items()],
        assembly=assembly,
    )


def flat_panel_assembly(name: str, rows: int, columns: int, d: Distances) -> str:
    """Return a panel as C with top-level ``__asm__``."""
    p = PanelWriter(rows, columns, d)
    text, a, b, everything = p.text, p.a, p.b, range(columns)
    used = {*p.accumulators, *(walk.register for walk in (a, b) if walk.is_far)}
    used |= {GROUPS_REGISTER} if b.is_scattered else set()
    saved = [register for register in _SAVED_BY_CALLEE if register in used]
    text.add(f'.pushsection .text.{name},"ax",@progbits', ".option push", ".option norvc", ".balign 16")
    text.add(f".type {name}, @function", f"{name}:", f"addi sp, sp, -{_FRAME}")
    text.add(*(f"sw {register}, {_REGISTERS + 4 * i}(sp)" for i, register in enumerate(saved)))

    text.add(setting(_DEPTH, "depth", "a3"), setting("t3", "blocks", "a3"))
    text.add(setting("t4", "c_row", "a3"), setting("t5", "accumulate", "a3"))
    text.add(f"sw a2, {_C_START}(sp)", f"sw t4, {_C_ROW}(sp)", f"sw t5, {_ACCUMULATE}(sp)")
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
    text.add(f"lw a0, {_C_START}(sp)", f"lw a3, {_ACCUMULATE}(sp)", f"lw a1, {_C_ROW}(sp)")
    text.add(f"addi a2, a0, {4 * columns * d.c_column}", f"sw a2, {_C_START}(sp)", "bnez a3, 9f", "7:")
    p.store_block()
    text.add(f"lw a1, {_B_NEXT}(sp)", f"lw a0, {_B_END}(sp)", f"add {b.pointer}, {b.pointer}, a1")
    text.add(f"lw {a.pointer}, {_A_START}(sp)", f"bne {b.pointer}, a0, 1b")

    text.add(*(f"lw {register}, {_REGISTERS + 4 * i}(sp)" for i, register in enumerate(saved)))
    text.add(f"addi sp, sp, {_FRAME}", "ret")
    text.add("8:", *(f"mv {register}, zero" for register in p.accumulators), "j 4b")  # a sum of one step
    text.add("9:", "mv a2, a0")
    p.add_what_is_there()
    text.add("j 7b", f".size {name}, .-{name}", ".option pop", ".popsection")
    return f"void {name}(const float *, const float *, float *, const struct panel *);\n__asm__(\n{text}\n);"
