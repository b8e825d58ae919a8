"""Product of bytes in L1: a worker's share of a tile, in panels.

A tile has up to four regions: whole register blocks, what is left over of the rows, of the columns, and of
both. Each is shared out over the workers by itself, so that all have as much to do and the code of a panel
stays in the instruction cache until the next one is needed.
"""

from __future__ import annotations

from dataclasses import replace

from tvm_pulp.schedules.microkernels.block_sizes import block_sizes_with_rests, panel_names
from tvm_pulp.schedules.microkernels.dot_panel import DotDistances, Epilogue, dot_panel_source
from tvm_pulp.schedules.microkernels.transposing_panel import (
    COLUMNS,
    ROWS,
    TransposingPanel,
    transposing_panel_source,
)


def quantized_matmul_source(
    *,
    block: tuple[int, int],
    row_rests: set[int],
    column_rests: set[int],
    along_rows: bool,
    d: DotDistances,
    e: Epilogue,
    signed: bool,
    assembly: bool,
    transposing: TransposingPanel | None = None,
) -> str:
    """Return C for ``quantized_matmul_tile``, which computes a worker's share of a tile.

    Parameters
    ----------
    block
        Rows and columns of the register block.
    row_rests, column_rests
        Rows (columns) left over after whole blocks, over all tiles; 0 is ignored. Of rows, behind those of
        `transposing`.
    along_rows
        Whether a panel goes on with the next rows, else with the next columns: the longer way is the better
        one.
    d, e, signed, assembly
        See `dot_panel_source`.
    transposing
        What computes the first rows, where a worker transposes the weight's columns for itself: it owns whole
        runs along the rows. The function then has an argument more, the weight as it is stored.
    """
    rows, columns = block
    d = replace(d, along_rows=along_rows)
    row_sizes, column_sizes = (
        block_sizes_with_rests(size, left) for size, left in ((rows, row_rests), (columns, column_rests))
    )
    names = panel_names(row_sizes, column_sizes)
    first_row, stored, kept, start = 0, "", "const void", ""
    panels = dot_panel_source(names, d, e, signed=signed, assembly=assembly)
    if transposing:
        panels += f"\n\n{transposing_panel_source(transposing, assembly=assembly)}"
        first_row, stored, kept = ROWS, "const void *stored, ", "void"
        start = _TRANSPOSE.format(columns=COLUMNS, k=transposing.k)
    regions = "".join(
        _region(name, size, block, number, first_row) for number, (size, name) in enumerate(names.items())
    )
    return f"""\
{panels}

{_REGION.format(**_moves(along_rows, d, e))}

/* The share of worker `core` in m x n results. */
static void quantized_matmul_tile(int core, const void *a, {stored}{kept} *b, const int32_t *bias, void *c,
                                  int32_t m, int32_t n) {{
  const int32_t down = {f"(m - {first_row})" if first_row else "m"} / {rows}, across = n / {columns};
{start}{regions}}}
"""


def _region(name: str, size: tuple[int, int], block: tuple[int, int], number: int, first_row: int) -> str:
    """Return C for the region of register blocks of a size; every other one begins with the last worker."""
    whole_rows, whole_columns = (mine == full for mine, full in zip(size, block, strict=True))
    row = str(first_row) if whole_rows else f"{f'{first_row} + ' if first_row else ''}down * {block[0]}"
    conditions = [] if whole_rows else [f"m - ({row}) == {size[0]}"]
    conditions += [] if whole_columns else [f"n - across * {block[1]} == {size[1]}"]
    test = f"  if ({' && '.join(conditions)})\n  " if conditions else ""
    place = ", ".join(
        (
            row,
            "0" if whole_columns else f"across * {block[1]}",
            "down" if whole_rows else "1",
            "across" if whole_columns else "1",
        )
    )
    return (
        f"{test}  quantized_matmul_region({name}, core, {number % 2}, {size[0]}, {size[1]}, {place},\n"
        f"{' ' * (28 if conditions else 26)}a, b, bias, c, n);\n"
    )


_TRANSPOSE = """\
  const int32_t lines = across / PULP_CORES, own = core * lines * {columns};
  transposing_panel(a, (const char *)stored + own, (char *)b + own * {k}, (int32_t *)c + own, lines);
"""

_REGION = """\
typedef void dot_panel_function(const void *, const void *, void *, const struct dot_panel *);

/* The share of worker `core` in down x across register blocks of height x width results, the first one at
 * (row, column): contiguous runs, along the {along}. Where these come out even, all have as many whole ones;
 * else the last worker comes first if `turned`. */
static inline void quantized_matmul_region(dot_panel_function *panel, int32_t core, int32_t turned,
                                           int32_t height, int32_t width, int32_t row, int32_t column,
                                           int32_t down, int32_t across, const char *a, const char *b,
                                           const int32_t *bias, char *c, int32_t n) {{
{ignored}  struct dot_panel run; /* what the panels do not look at is left open */
  run.c_row = n * {item};
  run.a_line = {a_line}, run.b_line = {b_line};
  run.c_line = {c_line};
{bias_moves}  if (down * across == 0) return;
  if ({lines} % PULP_CORES == 0) {{ /* no division, where the sizes are known */
    run.blocks = {inner}, run.lines = {lines} / PULP_CORES;
    const int32_t i = 0, line = core * run.lines;
    const int32_t first_row = row + {row} * height, first_column = column + {column} * width;
{bias}    panel(a + first_row * {a_row}, b + first_column * {b_column},
          c + (first_row * n + first_column) * {item}, &run);
    return;
  }}
  const int32_t place = turned ? PULP_CORES - 1 - core : core;
  const int32_t last = pulp_chunk(place + 1, PULP_CORES, down * across);
  for (int32_t at = pulp_chunk(place, PULP_CORES, down * across); at < last; at += run.lines * run.blocks) {{
    const int32_t line = at / {inner}, i = at - line * {inner};
    const int32_t first_row = row + {row} * height, first_column = column + {column} * width;
    run.blocks = pulp_min({inner} - i, last - at);
    run.lines = i == 0 && last - at > {inner} ? (last - at) / {inner} : 1;
{bias}    panel(a + first_row * {a_row}, b + first_column * {b_column},
          c + (first_row * n + first_column) * {item}, &run);
  }}
}}"""


def _moves(along_rows: bool, d: DotDistances, e: Epilogue) -> dict[str, object]:
    """Return what stands for the names in `_REGION`: a run goes on along the rows or along the columns."""
    rows, columns = f"height * {d.a_row}", f"width * {d.b_column}"
    common = {
        "item": e.item, "a_row": d.a_row, "b_column": d.b_column, "bias": "", "bias_moves": "",
        "ignored": "" if e.requantize else "  (void)bias;\n",
    }  # fmt: skip
    if e.requantize:
        common["bias"] = "    run.bias = bias + first_column;\n"
        line = "4 * width" if along_rows else "-4 * across * width"
        common["bias_moves"] = f"  run.bias_line = {line};\n"
    if along_rows:
        return common | {
            "along": "rows", "inner": "down", "lines": "across", "row": "i", "column": "line",
            "a_line": f"-down * {rows}", "b_line": columns,
            "c_line": f"(width - down * height * n) * {e.item}",
        }  # fmt: skip
    return common | {
        "along": "columns", "inner": "across", "lines": "down", "row": "line", "column": "i",
        "a_line": rows, "b_line": f"-across * {columns}",
        "c_line": f"(height * n - across * width) * {e.item}",
    }  # fmt: skip
