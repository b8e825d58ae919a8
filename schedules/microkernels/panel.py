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

from dataclasses import dataclass

_ACCUMULATORS = ("s0 s1 s2 s3 s4 s5 s6 s7 s8 s9 s10 s11 a4 a5 a6 a7").split()
_A_REGISTERS = ("a0", "a1", "a2", "a3")
_B_REGISTERS = ("t3", "t4", "t5", "t6")
_SAVED = ("ra", "s0", "s1", "s2", "s3", "s4", "s5", "s6", "s7", "s8", "s9", "s10", "s11")
_A, _B, _DEPTH, _GROUPS = "t0", "t1", "t2", "ra"
_FRAME = 80
_A_START, _B_START, _C_START, _SETTINGS, _BLOCKS = 52, 56, 60, 64, 68

_FIELDS = ("blocks", "depth", "segments", "groups", "a_segment", "b_segment", "a_group", "b_group", "c_row",
           "accumulate")  # fmt: skip
_LARGEST_IMMEDIATE = 2047

STRUCT = """\
/* What a panel needs to know beside its pointers; skips and distances in bytes. */
struct panel {
  int32_t blocks;                       /* register blocks side by side */
  int32_t depth, segments, groups;      /* steps of a segment of the sum, segments of a group, groups */
  int32_t a_segment, b_segment;         /* what is skipped after a segment */
  int32_t a_group, b_group;             /* and, beside that, after a group */
  int32_t c_row, accumulate;            /* distance of the results' rows; whether to add to what is there */
};"""


@dataclass(frozen=True)
class Distances:
    """Elements from a row of A (a column of B, of C) to the next, and from a step of the sum to the next."""

    a_row: int
    a_step: int
    b_column: int
    b_step: int
    c_column: int = 1

    def reach(self, rows: int, columns: int) -> bool:
        """Tell whether the instructions' immediate operands reach across a register block."""
        offsets = ((rows - 1) * self.a_row, (columns - 1) * self.b_column, (columns - 1) * self.c_column)
        steps = (self.a_step, self.b_step)
        return all(4 * abs(value) <= _LARGEST_IMMEDIATE for value in (*offsets, *steps))


def longest_pitch(block: int, along_sum: bool) -> int:
    """Return the longest row of a tile that the instructions' immediate operands reach.

    Parameters
    ----------
    block
        Rows (or columns) of the register block.
    along_sum
        Whether a row runs along the sum; then the block's elements are a row apart.
    """
    return _LARGEST_IMMEDIATE // 4 // max(1, block - 1) if along_sum else _LARGEST_IMMEDIATE // 4


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
    plain = "\n\n".join(panel_c(name, *size, d) for size, name in names.items())
    if not assembly:
        return f"{STRUCT}\n\n{plain}"
    panels = "\n\n".join(panel_assembly(name, *size, d, nested) for size, name in names.items())
    choice = f"#if PULP_ASSEMBLY\n\n{panels}\n\n#else\n\n{plain}\n\n#endif"
    return f'#include "pulp_assembly.h"\n\n{STRUCT}\n\n{choice}'


def panel_assembly(name: str, rows: int, columns: int, d: Distances, nested: bool) -> str:
    """Return a panel as C with top-level ``__asm__``."""
    p = _PanelWriter(rows, columns, d)
    text = p.text
    text.add(f'.pushsection .text.{name},"ax",@progbits', ".option push", ".option norvc", ".balign 16")
    text.add(f".type {name}, @function", f"{name}:", f"addi sp, sp, -{_FRAME}")
    text.add(*(f"sw {register}, {4 * i}(sp)" for i, register in enumerate(_SAVED)))
    # a and b point at the block's last row and column, so that the post-increment comes last
    text.add(f"addi a0, a0, {4 * (rows - 1) * d.a_row}", f"addi a1, a1, {4 * (columns - 1) * d.b_column}")
    text.add(f"sw a0, {_A_START}(sp)", f"sw a1, {_B_START}(sp)", f"sw a2, {_C_START}(sp)")
    text.add(f"sw a3, {_SETTINGS}(sp)", _setting("a4", "blocks", "a3"), f"sw a4, {_BLOCKS}(sp)")

    text.add("1:", f"lw {_A}, {_A_START}(sp)", f"lw {_B}, {_B_START}(sp)", f"lw a3, {_SETTINGS}(sp)")
    text.add(_setting(_DEPTH, "depth", "a3"), _setting("a0", "segments", "a3"))
    if nested:
        text.add(_setting(_GROUPS, "groups", "a3"))
    text.add(f"addi {_DEPTH}, {_DEPTH}, -1", *(f"mv {register}, zero" for register in p.accumulators))
    p.sum(nested)
    p.store()
    text.add(f"lw a1, {_B_START}(sp)", f"lw a0, {_BLOCKS}(sp)", f"li a2, {4 * columns * d.b_column}")
    text.add(
        "add a1, a1, a2", "addi a0, a0, -1", f"sw a1, {_B_START}(sp)", f"sw a0, {_BLOCKS}(sp)", "bnez a0, 1b"
    )
    text.add(*(f"lw {register}, {4 * i}(sp)" for i, register in enumerate(_SAVED)))
    text.add(f"addi sp, sp, {_FRAME}", "ret", f".size {name}, .-{name}", ".option pop", ".popsection")
    return f"void {name}(const float *, const float *, float *, const struct panel *);\n__asm__(\n{text}\n);"


def _setting(register: str, field: str, pointer: str) -> str:
    return f"lw {register}, {4 * _FIELDS.index(field)}({pointer})"


class _PanelWriter:
    """The parts of a panel's assembly that depend on its block."""

    def __init__(self, rows: int, columns: int, d: Distances) -> None:
        self.rows, self.columns, self.d = rows, columns, d
        self.text = AssemblyText()
        self.accumulators = _ACCUMULATORS[: rows * columns]

    def load_a(self, r: int) -> str:
        if r == self.rows - 1:
            return f"P_LW({_A_REGISTERS[r]}, {4 * self.d.a_step}, {_A})"
        return f"lw {_A_REGISTERS[r]}, {-4 * (self.rows - 1 - r) * self.d.a_row}({_A})"

    def load_b(self, c: int) -> str:
        if c == self.columns - 1:
            return f"P_LW({_B_REGISTERS[c]}, {4 * self.d.b_step}, {_B})"
        return f"lw {_B_REGISTERS[c]}, {-4 * (self.columns - 1 - c) * self.d.b_column}({_B})"

    def multiply(self, r: int, c: int) -> str:
        accumulator = self.accumulators[r * self.columns + c]
        return f"fmadd.s {accumulator}, {_A_REGISTERS[r]}, {_B_REGISTERS[c]}, {accumulator}"

    def steps(self) -> list[str]:
        """Return the inner loop: one step of the sum, and the loads for the next."""
        rows, columns = self.rows, self.columns
        body: list[str] = []
        for r in range(rows - 1):
            body += [*(self.multiply(r, c) for c in range(columns)), self.load_a(r)]
        for c in range(columns):
            body += [self.multiply(rows - 1, c), *([self.load_b(c)] if c < columns - 1 else [])]
        return [*body, self.load_a(rows - 1), self.load_b(columns - 1)]

    def sum(self, nested: bool) -> None:
        """Write the loops of the sum; a0 holds the number of segments."""
        rows, columns = range(self.rows), range(self.columns)
        body = self.steps()
        first = [self.load_b(c) for c in columns] + [self.load_a(r) for r in rows]
        inner = [f"beqz {_DEPTH}, 4f", f"LP_SETUP(0, {_DEPTH}, {len(body)}, 5)"]
        inner += [*body[:-1], "5:", body[-1], "4:"]
        last = [self.multiply(r, c) for r in rows for c in columns]
        skip = [
            f"lw a0, {_SETTINGS}(sp)",
            _setting("a1", "a_segment", "a0"),
            _setting("a2", "b_segment", "a0"),
        ]
        skip += [f"add {_A}, {_A}, a1", "6:", f"add {_B}, {_B}, a2"]
        segment = [*first, *inner, *last, *skip]
        length = sum(1 for line in segment if not line.endswith(":"))
        self.text.add("3:", f"LP_SETUP(1, a0, {length}, 6)", *segment)
        if nested:
            self.text.add(f"addi {_GROUPS}, {_GROUPS}, -1")
            self.text.add(_setting("a1", "a_group", "a0"), _setting("a2", "b_group", "a0"))
            self.text.add(_setting("a0", "segments", "a0"), f"add {_A}, {_A}, a1", f"add {_B}, {_B}, a2")
            self.text.add(f"bnez {_GROUPS}, 3b")

    def store(self) -> None:
        """Write the end of a block: add to what is there where that is asked for, store, move on."""
        d, columns = self.d, range(self.columns)
        self.text.add(f"lw a0, {_C_START}(sp)", f"lw a1, {_SETTINGS}(sp)")
        self.text.add(f"addi a2, a0, {4 * self.columns * d.c_column}", f"sw a2, {_C_START}(sp)")
        self.text.add(_setting("a2", "accumulate", "a1"), _setting("a1", "c_row", "a1"))
        self.text.add("beqz a2, 7f", "mv a2, a0")
        for r in range(self.rows):
            mine = self.accumulators[r * self.columns : (r + 1) * self.columns]
            self.text.add(*(f"lw {_B_REGISTERS[c]}, {4 * c * d.c_column}(a2)" for c in columns))
            self.text.add("add a2, a2, a1")
            self.text.add(*(f"fadd.s {mine[c]}, {mine[c]}, {_B_REGISTERS[c]}" for c in columns))
        self.text.add("7:")
        for r in range(self.rows):
            mine = self.accumulators[r * self.columns : (r + 1) * self.columns]
            self.text.add(*(f"sw {mine[c]}, {4 * c * d.c_column}(a0)" for c in columns))
            self.text.add(*(["add a0, a0, a1"] if r < self.rows - 1 else []))


class AssemblyText:
    """Assembly lines as C string literals; the macros of pulp_assembly.h stay outside the quotes."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def add(self, *lines: str) -> None:
        """Append lines."""
        self.lines += lines

    def __str__(self) -> str:
        shown = []
        for line in self.lines:
            escaped = line.replace('"', '\\"')
            macro = line.startswith(("P_", "PV_", "LP_SETUP"))
            shown.append(f"    {line}" if macro else f'    "{escaped}\\n"')
        return "\n".join(shown)


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


def panel_names(row_sizes: list[int], column_sizes: list[int]) -> dict[tuple[int, int], str]:
    """Return a name for the panel of each block size."""
    return {(r, c): f"panel_{r}x{c}" for r in row_sizes for c in column_sizes}


def panel_calls(names: dict[tuple[int, int], str], arguments: str, indent: str) -> str:
    """Return C that calls the panel for a block of ``height`` rows and ``width`` columns."""
    smallest_rows, smallest_columns = min(r for r, _ in names), min(c for _, c in names)
    text = ""
    for position, ((rows, columns), name) in enumerate(names.items()):
        conditions = [f"height == {rows}"] if rows != smallest_rows else []
        conditions += [f"width == {columns}"] if columns != smallest_columns else []
        test = "" if position == len(names) - 1 else f"if ({' && '.join(conditions)}) "
        text += f"{indent}{'else ' if position else ''}{test}{name}({arguments});\n"
    return text


def block_sizes_with_rests(block: int, rests: set[int]) -> list[int]:
    """Return the block size and what may be left over, largest first."""
    return sorted({block, *rests} - {0}, reverse=True)
