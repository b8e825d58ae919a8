"""Matrix multiplication in L1: panels of register blocks, software-pipelined, with hardware loops.

A *panel* computes consecutive register blocks of ``rows x columns`` results in one row of blocks. In the
inner loop each register is loaded again right after its last use, so that neither the FPU nor a load ever
waits. The same code serves A·B, Aᵀ·B and A·Bᵀ: only the distances between elements differ, and they are
constants.
"""

from __future__ import annotations

from dataclasses import dataclass

_ACCUMULATORS = ("s0 s1 s2 s3 s4 s5 s6 s7 s8 s9 s10 s11 a4 a5 a6 a7").split()
_A_REGISTERS = ("a0", "a1", "a2", "a3")
_B_REGISTERS = ("t3", "t4", "t5", "t6")
_SAVED = ("ra", "s0", "s1", "s2", "s3", "s4", "s5", "s6", "s7", "s8", "s9", "s10", "s11")
_A, _B, _DEPTH = "t0", "t1", "t2"
_FRAME = 80
_A_START, _B_START, _C_START, _SETTINGS, _BLOCKS = 52, 56, 60, 64, 68

LARGEST_IMMEDIATE = 2047


@dataclass(frozen=True)
class Distances:
    """Elements from one row of A to the next, one step of the sum to the next, and the same for B."""

    a_row: int
    a_step: int
    b_column: int
    b_step: int


def distances(transpose_a: bool, transpose_b: bool, a_pitch: int, b_pitch: int) -> Distances:
    """Return the distances for tiles that lie row-major with the given row lengths.

    Parameters
    ----------
    transpose_a, transpose_b
        Whether A lies as ``[k][m]`` and B as ``[n][k]``.
    a_pitch, b_pitch
        Elements of a row as it lies in L1.
    """
    a_row, a_step = (1, a_pitch) if transpose_a else (a_pitch, 1)
    b_column, b_step = (b_pitch, 1) if transpose_b else (1, b_pitch)
    return Distances(a_row, a_step, b_column, b_step)


def longest_pitch(block: int, along_sum: bool) -> int:
    """Return the longest row of a tile that the instructions' immediate operands reach.

    Parameters
    ----------
    block
        Rows (or columns) of the register block.
    along_sum
        Whether a row runs along the sum; then the block's elements are a row apart.
    """
    return LARGEST_IMMEDIATE // 4 // max(1, block - 1) if along_sum else LARGEST_IMMEDIATE // 4


def panel_assembly(name: str, rows: int, columns: int, d: Distances) -> str:
    """Return a panel as a C string for top-level ``__asm__``.

    It has the signature ``void name(const float *a, const float *b, float *c, const struct matmul_panel *)``.
    """
    text = _Text()

    def accumulator(r: int, c: int) -> str:
        return _ACCUMULATORS[r * columns + c]

    def load_a(r: int) -> str:
        if r == rows - 1:
            return f"P_LW({_A_REGISTERS[r]}, {4 * d.a_step}, {_A})"
        return f"lw {_A_REGISTERS[r]}, {-4 * (rows - 1 - r) * d.a_row}({_A})"

    def load_b(c: int) -> str:
        if c == columns - 1:
            return f"P_LW({_B_REGISTERS[c]}, {4 * d.b_step}, {_B})"
        return f"lw {_B_REGISTERS[c]}, {-4 * (columns - 1 - c) * d.b_column}({_B})"

    def multiply(r: int, c: int) -> str:
        return f"fmadd.s {accumulator(r, c)}, {_A_REGISTERS[r]}, {_B_REGISTERS[c]}, {accumulator(r, c)}"

    body: list[str] = []
    for r in range(rows - 1):
        body += [*(multiply(r, c) for c in range(columns)), load_a(r)]
    for c in range(columns):
        body += [multiply(rows - 1, c), *([load_b(c)] if c < columns - 1 else [])]
    body += [load_a(rows - 1), load_b(columns - 1)]

    text.add(f'.pushsection .text.{name},"ax",@progbits', ".option push", ".option norvc", ".balign 16")
    text.add(f".type {name}, @function", f"{name}:", f"addi sp, sp, -{_FRAME}")
    text.add(*(f"sw {register}, {4 * i}(sp)" for i, register in enumerate(_SAVED)))
    # a and b point at the block's last row and column, so that the post-increment comes last
    text.add(f"addi a0, a0, {4 * (rows - 1) * d.a_row}", f"addi a1, a1, {4 * (columns - 1) * d.b_column}")
    text.add(f"sw a0, {_A_START}(sp)", f"sw a1, {_B_START}(sp)", f"sw a2, {_C_START}(sp)")
    text.add(f"sw a3, {_SETTINGS}(sp)", "lw a4, 0(a3)", f"sw a4, {_BLOCKS}(sp)")

    text.add("1:", f"lw {_A}, {_A_START}(sp)", f"lw {_B}, {_B_START}(sp)", f"lw a3, {_SETTINGS}(sp)")
    text.add(
        f"lw {_DEPTH}, 4(a3)", "lw ra, 8(a3)", "lw a0, 24(a3)", f"addi {_DEPTH}, {_DEPTH}, -1", "beqz a0, 2f"
    )
    text.add(f"lw a0, {_C_START}(sp)", "lw a1, 20(a3)")
    for r in range(rows):
        text.add(*(f"lw {accumulator(r, c)}, {4 * c}(a0)" for c in range(columns)))
        text.add(*(["add a0, a0, a1"] if r < rows - 1 else []))
    text.add("j 3f", "2:")
    text.add(*(f"mv {accumulator(r, c)}, zero" for r in range(rows) for c in range(columns)))

    first = [load_b(c) for c in range(columns)] + [load_a(r) for r in range(rows)]
    inner = [f"beqz {_DEPTH}, 4f", f"LP_SETUP(0, {_DEPTH}, {len(body)}, 5)", *body[:-1], "5:", body[-1], "4:"]
    last = [multiply(r, c) for r in range(rows) for c in range(columns)]
    jump = [f"lw a0, {_SETTINGS}(sp)", "lw a1, 12(a0)", "lw a2, 16(a0)", f"add {_A}, {_A}, a1"]
    segment = [*first, *inner, *last, *jump, "6:", f"add {_B}, {_B}, a2"]
    length = sum(1 for line in segment if not line.endswith(":"))
    text.add("3:", f"LP_SETUP(1, ra, {length}, 6)", *segment)

    text.add(
        f"lw a0, {_C_START}(sp)", f"lw a1, {_SETTINGS}(sp)", f"addi a2, a0, {4 * columns}", "lw a1, 20(a1)"
    )
    text.add(f"sw a2, {_C_START}(sp)")
    for r in range(rows):
        text.add(*(f"sw {accumulator(r, c)}, {4 * c}(a0)" for c in range(columns)))
        text.add(*(["add a0, a0, a1"] if r < rows - 1 else []))
    text.add(f"lw a1, {_B_START}(sp)", f"lw a0, {_BLOCKS}(sp)", f"li a2, {4 * columns * d.b_column}")
    text.add(
        "add a1, a1, a2", "addi a0, a0, -1", f"sw a1, {_B_START}(sp)", f"sw a0, {_BLOCKS}(sp)", "bnez a0, 1b"
    )
    text.add(*(f"lw {register}, {4 * i}(sp)" for i, register in enumerate(_SAVED)))
    text.add(f"addi sp, sp, {_FRAME}", "ret", f".size {name}, .-{name}", ".option pop", ".popsection")
    arguments = "const float *, const float *, float *, const struct matmul_panel *"
    return f"void {name}({arguments});\n__asm__(\n{text}\n);"


class _Text:
    """Assembly lines as C string literals; the macros of pulp_assembly.h stay outside the quotes."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def add(self, *lines: str) -> None:
        self.lines += lines

    def __str__(self) -> str:
        shown = []
        for line in self.lines:
            escaped = line.replace('"', '\\"')
            macro = line.startswith(("P_LW", "P_SW", "LP_SETUP"))
            shown.append(f"    {line}" if macro else f'    "{escaped}\\n"')
        return "\n".join(shown)


def panel_c(name: str, rows: int, columns: int, d: Distances) -> str:
    """Return the same panel in plain C."""
    return f"""\
static void {name}(const float *restrict a, const float *restrict b, float *restrict c,
                       const struct matmul_panel *p) {{
  for (int32_t block = 0; block < p->blocks; ++block, b += {columns * d.b_column}, c += {columns}) {{
    float sum[{rows}][{columns}];
    for (int32_t i = 0; i < {rows}; ++i)
      for (int32_t j = 0; j < {columns}; ++j) sum[i][j] = p->accumulate ? c[i * (p->c_row / 4) + j] : 0.0f;
    const float *x = a, *y = b;
    for (int32_t segment = 0; segment < p->segments; ++segment) {{
      for (int32_t k = 0; k < p->depth; ++k, x += {d.a_step}, y += {d.b_step})
        for (int32_t i = 0; i < {rows}; ++i)
          for (int32_t j = 0; j < {columns}; ++j) sum[i][j] += x[i * {d.a_row}] * y[j * {d.b_column}];
      x += p->a_jump / 4, y += p->b_jump / 4;
    }}
    for (int32_t i = 0; i < {rows}; ++i)
      for (int32_t j = 0; j < {columns}; ++j) c[i * (p->c_row / 4) + j] = sum[i][j];
  }}
}}"""


def matmul_source(
    *,
    block_rows: int,
    block_columns: int,
    row_rests: set[int],
    column_rests: set[int],
    d: Distances,
    assembly: bool,
) -> str:
    """Return C for ``matmul_tile``, which computes a worker's share of a tile.

    Parameters
    ----------
    block_rows, block_columns
        The register block.
    row_rests, column_rests
        Rows (columns) left over after whole blocks, over all tiles; 0 is ignored.
    d
        Distances between elements.
    assembly
        Whether the target has Xpulp; the plain C form is there in any case, for the host.
    """
    row_sizes = sorted({block_rows, *row_rests} - {0}, reverse=True)
    column_sizes = sorted({block_columns, *column_rests} - {0}, reverse=True)
    sizes = [(r, c) for r in row_sizes for c in column_sizes]
    names = {(r, c): f"matmul_{r}x{c}" for r, c in sizes}
    plain = "\n\n".join(panel_c(names[size], *size, d) for size in sizes)
    if assembly:
        panels = "\n\n".join(panel_assembly(names[size], *size, d) for size in sizes)
        plain = f"#if PULP_ASSEMBLY\n\n{panels}\n\n#else\n\n{plain}\n\n#endif"
    height = width = ""
    if len(row_sizes) > 1:
        height = f"      const int32_t height = pulp_min({block_rows}, m - row);\n"
    blocks = "end - j"
    if len(column_sizes) > 1:
        width = f"      const int32_t width = pulp_min({block_columns}, n - column);\n"
        blocks = f"width == {block_columns} ? pulp_min(end, n / {block_columns}) - j : 1"
    calls = _calls(names, row_sizes, column_sizes)
    return f"""\
#include "pulp_assembly.h"

/* What a panel needs to know beside its pointers; distances in bytes. */
struct matmul_panel {{
  int32_t blocks, depth;             /* register blocks side by side; terms of a segment of the sum */
  int32_t segments, a_jump, b_jump;  /* segments of the sum, and what is skipped between them */
  int32_t c_row, accumulate;         /* distance of the result's rows; whether to add to it */
}};

{plain}

/* The share of worker `core` in images x m x n results over k terms: contiguous runs of register blocks.
 * With `segments` above 1 the sum runs over that many images instead. */
static void matmul_tile(int core, const float *a, const float *b, float *c, int32_t m, int32_t n,
                        int32_t k, int32_t images, int32_t segments, int32_t a_image, int32_t b_image,
                        int32_t accumulate) {{
  const int32_t columns = (n + {block_columns - 1}) / {block_columns};
  const int32_t blocks = (m + {block_rows - 1}) / {block_rows} * columns;
  const int32_t last = pulp_chunk(core + 1, PULP_CORES, blocks * images);
  struct matmul_panel panel = {{
      0, k, segments, 4 * (a_image - k * {d.a_step}), 4 * (b_image - k * {d.b_step}), 4 * n, accumulate}};
  for (int32_t at = pulp_chunk(core, PULP_CORES, blocks * images); at < last;) {{
    const int32_t image = at / blocks, i = (at - image * blocks) / columns;
    const int32_t row = i * {block_rows};
    const float *a_block = a + image * a_image + row * {d.a_row};
    int32_t j = at - image * blocks - i * columns;
    const int32_t end = pulp_min(columns, j + last - at);
    at += end - j;
    while (j < end) {{
      const int32_t column = j * {block_columns};
{height}{width}      panel.blocks = {blocks};
      const float *b_block = b + image * b_image + column * {d.b_column};
      float *c_block = c + (image * m + row) * n + column;
      j += panel.blocks;
{calls}    }}
  }}
}}
"""


def _calls(names: dict[tuple[int, int], str], row_sizes: list[int], column_sizes: list[int]) -> str:
    """Return the choice of the panel for the block's height and width."""
    tests = []
    for (rows, columns), name in names.items():
        conditions = [f"height == {rows}"] if rows != row_sizes[-1] else []
        conditions += [f"width == {columns}"] if columns != column_sizes[-1] else []
        call = f"{name}(a_block, b_block, c_block, &panel);"
        tests.append((conditions, call))
    text = ""
    for position, (conditions, call) in enumerate(tests):
        last = position == len(tests) - 1
        test = "" if last else f"if ({' && '.join(conditions)}) "
        text += ("      " if position == 0 else "      else ") + test + call + "\n"
    return text
