"""Product of bytes in L1: a worker's share of a tile, in panels."""

from __future__ import annotations

from tvm_pulp.schedules.microkernels.dot_panel import DotDistances, Epilogue, dot_panel_source
from tvm_pulp.schedules.microkernels.panel import block_sizes_with_rests, panel_calls, panel_names


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
        Whether a call of a panel goes on with the next rows, else with the next columns: the longer way is
        the better one.
    d, e, signed, assembly
        See `dot_panel_source`.
    """
    rows, columns = block
    names = panel_names(
        block_sizes_with_rests(rows, row_rests), block_sizes_with_rests(columns, column_rests)
    )
    calls = panel_calls(names, "a_block, b_block, c_block, &panel", "      ")
    outer, inner = ("column", "row") if along_rows else ("row", "column")
    size = {"row": rows, "column": columns}
    extent = {"row": "m", "column": "n"}
    several = {"row": len({r for r, _ in names}) > 1, "column": len({c for _, c in names}) > 1}
    measure = {"row": "height", "column": "width"}

    def remaining(axis: str, indent: str) -> str:
        if not several[axis]:
            return ""
        return f"{indent}const int32_t {measure[axis]} = pulp_min({size[axis]}, {extent[axis]} - {axis});\n"

    whole = f"pulp_min(end, {extent[inner]} / {size[inner]}) - i"
    blocks = f"{measure[inner]} == {size[inner]} ? {whole} : 1" if several[inner] else "end - i"
    bias = "bias + column" if e.requantize else "0"
    c_next = f"{size['row']} * n * {e.item}" if along_rows else str(columns * e.item)
    return f"""\
{dot_panel_source(names, d, e, signed=signed, assembly=assembly)}

/* The share of worker `core` in m x n results: contiguous runs of register blocks, along the {inner}s. */
static void quantized_matmul_tile(int core, const void *a, const void *b, const int32_t *bias, void *c,
                                  int32_t m, int32_t n) {{
  (void)bias;
  const int32_t inner = ({extent[inner]} + {size[inner] - 1}) / {size[inner]};
  const int32_t blocks = ({extent[outer]} + {size[outer] - 1}) / {size[outer]} * inner;
  const int32_t last = pulp_chunk(core + 1, PULP_CORES, blocks);
  struct dot_panel panel = {{
      .a_next = {rows * d.a_row if along_rows else 0} - {d.a_path},
      .b_next = {0 if along_rows else columns * d.b_column} - {d.b_path},
      .c_next = {c_next}, .c_row = n * {e.item}, .bias_next = {0 if along_rows else 4 * columns}}};
  for (int32_t at = pulp_chunk(core, PULP_CORES, blocks); at < last;) {{
    const int32_t outer = at / inner, {outer} = outer * {size[outer]};
    int32_t i = at - outer * inner;
    const int32_t end = pulp_min(inner, i + last - at);
    at += end - i;
{remaining(outer, "    ")}\
    while (i < end) {{
      const int32_t {inner} = i * {size[inner]};
{remaining(inner, "      ")}\
      panel.blocks = {blocks};
      panel.bias = {bias};
      const char *a_block = (const char *)a + row * {d.a_row};
      const char *b_block = (const char *)b + column * {d.b_column};
      char *c_block = (char *)c + (row * n + column) * {e.item};
      i += panel.blocks;
{calls}    }}
  }}
}}
"""
