"""Product of bytes in L1: a worker's share of a tile, in panels.

A tile has up to four regions: whole register blocks, what is left over of the rows, of the columns, and of
both. Each is shared out over the workers by itself, so that all have as much to do and the code of a panel
stays in the instruction cache until the next one is needed.
"""

from __future__ import annotations

from dataclasses import replace

from tvm_pulp.schedules.microkernels.block_sizes import block_sizes_with_rests, panel_names
from tvm_pulp.schedules.microkernels.dot_panel import DotDistances, Epilogue, dot_panel_source


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
) -> str:
    """Return C for ``quantized_matmul_tile``, which computes a worker's share of a tile.

    Parameters
    ----------
    block
        Rows and columns of the register block.
    row_rests, column_rests
        Rows (columns) left over after whole blocks, over all tiles; 0 is ignored.
    along_rows
        Whether a panel goes on with the next rows, else with the next columns: the longer way is the better
        one.
    d, e, signed, assembly
        See `dot_panel_source`.
    """
    rows, columns = block
    d = replace(d, along_rows=along_rows)
    row_sizes, column_sizes = (
        block_sizes_with_rests(size, left) for size, left in ((rows, row_rests), (columns, column_rests))
    )
    names = panel_names(row_sizes, column_sizes)
    regions = "".join(_region(name, size, block, number) for number, (size, name) in enumerate(names.items()))
    return f"""\
{dot_panel_source(names, d, e, signed=signed, assembly=assembly)}

{_REGION.format(**_moves(along_rows, d, e))}

/* The share of worker `core` in m x n results. */
static void quantized_matmul_tile(int core, const void *a, const void *b, const int32_t *bias, void *c,
                                  int32_t m, int32_t n) {{
  const int32_t down = m / {rows}, across = n / {columns};
{regions}}}
"""


def _region(name: str, size: tuple[int, int], block: tuple[int, int], number: int) -> str:
    """Return C for the region of register blocks of a size; every other one begins with the last worker."""
    whole_rows, whole_columns = (mine == full for mine, full in zip(size, block, strict=True))
    conditions = [] if whole_rows else [f"m - down * {block[0]} == {size[0]}"]
    conditions += [] if whole_columns else [f"n - across * {block[1]} == {size[1]}"]
    test = f"  if ({' && '.join(conditions)})\n  " if conditions else ""
    place = ", ".join(
        (
            "0" if whole_rows else f"down * {block[0]}",
            "0" if whole_columns else f"across * {block[1]}",
            "down" if whole_rows else "1",
            "across" if whole_columns else "1",
        )
    )
    core = "PULP_CORES - 1 - core" if number % 2 else "core"
    return (
        f"{test}  quantized_matmul_region({name}, {core}, {size[0]}, {size[1]}, {place}, a, b, bias, c, n);\n"
    )


_REGION = """\
typedef void dot_panel_function(const void *, const void *, void *, const struct dot_panel *);

/* The share of worker `core` in down x across register blocks of height x width results, the first one at
 * (row, column): contiguous runs, along the {along}. */
static inline void quantized_matmul_region(dot_panel_function *panel, int32_t core, int32_t height,
                                           int32_t width, int32_t row, int32_t column, int32_t down,
                                           int32_t across, const char *a, const char *b,
                                           const int32_t *bias, char *c, int32_t n) {{
{ignored}  const int32_t last = pulp_chunk(core + 1, PULP_CORES, down * across);
  int32_t at = pulp_chunk(core, PULP_CORES, down * across);
  struct dot_panel run; /* what the panels do not look at is left open */
  run.c_row = n * {item};
  run.a_line = {a_line}, run.b_line = {b_line};
  run.c_line = {c_line};
{bias_moves}  for (; at < last; at += run.lines * run.blocks) {{
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
            "along": "rows", "inner": "down", "row": "i", "column": "line",
            "a_line": f"-down * {rows}", "b_line": columns,
            "c_line": f"(width - down * height * n) * {e.item}",
        }  # fmt: skip
    return common | {
        "along": "columns", "inner": "across", "row": "line", "column": "i",
        "a_line": rows, "b_line": f"-across * {columns}",
        "c_line": f"(height * n - across * width) * {e.item}",
    }  # fmt: skip
