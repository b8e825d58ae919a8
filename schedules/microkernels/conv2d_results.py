"""Forward step and data gradient of a convolution in L1: strips of blocks of columns, see `conv2d`.

The data gradient's positions come in classes of equal remainder modulo the stride, for each of which other
taps count. A worker takes the same share of all classes: a strip is the columns of all classes in so many
rows as there are classes of rows, so that what is around the sums is done once for all of them.
"""

from __future__ import annotations

import textwrap
from collections.abc import Mapping

from tvm_pulp.schedules.conv2d_workload import DATA_GRADIENT, FORWARD, Conv2dSizes
from tvm_pulp.schedules.dialect import ceil_div
from tvm_pulp.schedules.microkernels.edge_panel import PanelShape, edge_panel_source
from tvm_pulp.schedules.microkernels.operand_walk import Distances
from tvm_pulp.schedules.microkernels.reads import TapWalk, runs, tap_walks
from tvm_pulp.schedules.microkernels.tap_panel import tap_panel_source, taps_fit


def results_source(
    s: Conv2dSizes, d: Distances, lines: int, block: tuple[int, int], row_sizes: list[int], signature: str,
    assembly: bool,
) -> str:  # fmt: skip
    """Return C for ``conv2d_tile``.

    Parameters
    ----------
    s, d
        Sizes and distances.
    lines
        Rows of the image's tile.
    block
        Rows and columns of the register block.
    row_sizes
        Rows of all blocks that occur.
    signature
        Of the function.
    assembly
        Whether the target has Xpulp.
    """
    strips = _Strips(s, d, lines, block, row_sizes)
    work = strips.function(signature)
    if by_taps(s):
        panels = tap_panel_source(strips.shapes, d, strips.tap_lines, assembly)
    else:
        panels = edge_panel_source(strips.shapes, d, assembly)
    zeros = f"{_ZEROS}\n\n" if "conv2d_zeros(" in work else ""
    return f"""\
{panels}

{zeros}/* The share of worker `core` in a tile. It has {lines} lines of each channel of the image, from line
 * `low` on. */
{work}
"""


def by_taps(s: Conv2dSizes) -> bool:
    """Tell whether the sum runs over the taps of a row inside, as there are too few channels for it."""
    if s.kind == FORWARD:
        made, summed, a_row = s.outputs, s.inputs, s.inputs * s.taps
    else:
        made, summed, a_row = s.inputs, s.outputs, s.taps
    return summed < 4 and not s.depthwise and taps_fit(min(4, made), 4, s.width.taps, a_row)


_ZEROS = """\
/* Results that no tap counts for. */
static inline void conv2d_zeros(float *to, int32_t height, int32_t row_distance, int32_t width,
                                int32_t distance) {
  for (int32_t i = 0; i < height; ++i, to += row_distance) {
    float *out = to;
    int32_t x = width;
    for (; x >= 4; x -= 4, out += 4 * distance) {
      out[0] = 0.0f;
      out[distance] = 0.0f;
      out[2 * distance] = 0.0f;
      out[3 * distance] = 0.0f;
    }
    for (; x > 0; --x, out += distance) *out = 0.0f;
  }
}"""


class _Strips:
    """Writes the function.

    Parameters
    ----------
    s, d, lines, block, row_sizes
        See `results_source`.
    """

    def __init__(
        self, s: Conv2dSizes, d: Distances, lines: int, block: tuple[int, int], row_sizes: list[int]
    ) -> None:
        self.s, self.d, self.row_sizes = s, d, row_sizes
        self.block_rows, self.block_columns = block
        gradient = s.kind == DATA_GRADIENT
        self.down, self.across = tap_walks(s.height, gradient), tap_walks(s.width, gradient)
        self.made, self.summed = ("inputs", "outputs") if gradient else ("outputs", "inputs")
        self.width = s.width.source if gradient else s.width.out
        self.source = d.b_step // lines  # length of a line of the image
        self.columns = ceil_div(self.across[0].results, self.block_columns)
        self.shapes: dict[PanelShape, str] = {}
        step = s.height.tap_step() if gradient else 1
        self.tap_lines = step * s.width.taps, self.down[0].tap_step * self.source

    def function(self, signature: str) -> str:
        """Return C."""
        step = self.down[0].out_step
        begin, count = "first_row", "rows"
        if step > 1:
            begin, count = f"first_row / {step}", f"(rows + {step - 1}) / {step}"
        work = "".join(self._rows(h) for h in self.down)
        height = ""
        if len(self.row_sizes) > 1:
            height = f"    const int32_t height = pulp_min({self.block_rows}, {self.made} - channel);\n"
        elif "conv2d_zeros(" in work:
            height = f"    const int32_t height = {self.row_sizes[0]};\n"
        return f"""\
{signature} {{
  const int32_t begin = {begin}, lines = {count};
  const int32_t row_blocks = ({self.made} + {self.block_rows - 1}) / {self.block_rows};
  const int32_t blocks = images * row_blocks * lines * {self.columns};
  const int32_t last = pulp_chunk(core + 1, PULP_CORES, blocks);
  struct panel panel = {{
{_fields(self._common(), "      .", ",")}  }};
  (void)panel;
  for (int32_t at = pulp_chunk(core, PULP_CORES, blocks); at < last;) {{
    const int32_t strip = at / {self.columns}, y = strip % lines, i = strip / lines % row_blocks;
    const int32_t n = strip / lines / row_blocks, channel = i * {self.block_rows}, row = begin + y;
{height}    const int32_t start = at - strip * {self.columns};
    const int32_t end = pulp_min({self.columns}, start + last - at);
    const float *a_strip = weight + channel * {self.d.a_row};
    const float *b_strip = image + n * {self.summed} * {self.d.b_step} +
                           (row * {self.down[0].step} - low) * {self.source};
    float *c_strip = result + ((n * {self.made} + channel) * rows + y * {step}) * {self.width};
    (void)a_strip, (void)b_strip;
    at += end - start;
{work}  }}
}}"""

    # settings of the panels

    def _sum(self, h: TapWalk, w: TapWalk) -> dict[str, object]:
        """Return what a class's panels need to know of their sums."""
        if by_taps(self.s):
            return {"depth": 1, "groups": self.summed}
        d, taps, moves = self.d, len(w.weights), _move(w)
        return {
            "depth": self.summed,
            "segments": taps,
            "a_segment": f"4 * ({moves} - {self.summed} * {d.a_step})",
            "b_segment": f"4 * ({w.tap_step} - {self.summed} * {d.b_step})",
            "a_group": 4 * (_move(h) * self.s.width.taps - taps * moves),
            "b_group": 4 * (h.tap_step * self.source - taps * w.tap_step),
        }

    def _common(self) -> dict[str, object]:
        """Return the settings that are the same for all classes."""
        each = [self._sum(h, w) for h in self.down for w in self.across if h.weights and w.weights]
        same = {k: v for k, v in each[0].items() if all(e[k] == v for e in each)} if each else {}
        return {**same, "c_row": f"4 * rows * {self.width}", "accumulate": "accumulate"}

    def _own(self, h: TapWalk, w: TapWalk) -> dict[str, object]:
        common = self._common()
        return {key: value for key, value in self._sum(h, w).items() if key not in common}

    # classes of positions

    def _rows(self, h: TapWalk) -> str:
        """Return C for the results of a class of rows."""
        unit = self.block_columns * self.across[0].out_step
        all_columns = self._fill(
            f"c_strip + {h.out_start * self.width} + start * {unit}",
            f"pulp_min(end * {unit}, {self.width}) - start * {unit}",
            1,
        )
        if not h.weights:
            text = all_columns
        else:
            text, empty = _tap_rows(h, "segments" if by_taps(self.s) else "groups")
            if by_taps(self.s):
                a_line, b_line = self.tap_lines
                text += f"panel.a_group = 4 * ({self.d.a_step} - panel.segments * {a_line});\n"
                text += f"panel.b_group = 4 * ({self.d.b_step} - panel.segments * {b_line});\n"
            columns = "".join(self._columns(h, w) for w in self.across)
            if empty:
                counted = "segments" if by_taps(self.s) else "groups"
                fill = textwrap.indent(all_columns, "  ")
                columns = (
                    f"if (panel.{counted} == 0) {{\n{fill}}} else {{\n{textwrap.indent(columns, '  ')}}}\n"
                )
            text = f"int32_t first = 0;\n{text}{columns}"
        if len(self.down) == 1:
            return textwrap.indent(text, "    ")
        whole = h.out_start == 0 or self.s.height.source % h.out_step == 0
        test = "" if whole else f"if (y * {h.out_step} + {h.out_start} < rows) "
        comment = f"/* rows {h.out_step} y + {h.out_start} */"
        return f"    {test}{{ {comment}\n{textwrap.indent(text, '      ')}    }}\n"

    def _columns(self, h: TapWalk, w: TapWalk) -> str:
        """Return C for the results of a class of columns in a row."""
        step = self.block_columns * w.out_step
        c_line = f"c_strip + {h.out_start * self.width + w.out_start}"
        if not w.weights:
            width = f"pulp_min(end * {self.block_columns}, {w.results}) - start * {self.block_columns}"
            return self._fill(f"{c_line} + start * {step}", width, w.out_step)
        count = ceil_div(w.results, self.block_columns)
        stop = "end" if count == self.columns else f"pulp_min(end, {count})"
        text = f"""\
{_fields(self._own(h, w), "panel.", ";")}\
const float *a_line = a_strip + first * {_move(h) * self.s.width.taps} +
                      {h.weights.start * self.s.width.taps + w.weights.start};
const float *b_line = b_strip + ({h.start} + first * {h.tap_step}) * {self.source} + {w.start};
for (int32_t j = start; j < {stop}; j += panel.blocks) {{
  const float *b_block = b_line + j * {self.block_columns * w.step};
  float *c_block = {c_line} + j * {step};
{textwrap.indent(self._calls(w), "  ")}}}
"""
        if len(self.across) == 1:
            return text
        return f"{{ /* columns {w.out_step} x + {w.out_start} */\n{textwrap.indent(text, '  ')}}}\n"

    def _calls(self, w: TapWalk) -> str:
        """Return C that calls the panel for the blocks from ``j`` on that are alike."""
        text, blocks = "", self._shapes(w)
        for position, (stop, names) in enumerate(blocks):
            call = "".join(
                f"  {'else ' if k else ''}{f'if (height == {size}) ' if k < len(names) - 1 else ''}"
                f"{name}(a_line, b_block, c_block, &panel);\n"
                for k, (size, name) in enumerate(zip(self.row_sizes, names, strict=True))
            )
            test = f"if (j < {stop}) " if position < len(blocks) - 1 else ""
            text += f"{'else ' if position else ''}{test}{{\n"
            text += f"  panel.blocks = pulp_min(end, {stop}) - j;\n{call}}}\n"
        return text

    def _shapes(self, w: TapWalk) -> list[tuple[int, list[str]]]:
        """Return runs of equal column blocks: the end, and the panels' names, one for each number of rows.

        Where the sum is not by taps, panels that are whole do not know their number of segments.
        """
        columns, collapse = self.block_columns, not by_taps(self.s)
        starts = list(range(0, w.results, columns))
        found = []
        for _, end, first in runs(
            starts, lambda x: (min(columns, w.results - x), w.block(x, min(columns, w.results - x)))
        ):
            width = min(columns, w.results - first)
            names = []
            for rows in self.row_sizes:
                shape = PanelShape(rows, width, w.block(first, width), _move(w), w.tap_step)
                if shape.is_whole and collapse:
                    shape = PanelShape(rows, width, (), 0, 0)
                if shape not in self.shapes:
                    self.shapes[shape] = self._name(shape)
                names.append(self.shapes[shape])
            found.append((end, names))
        return found

    def _name(self, shape: PanelShape) -> str:
        """Return a name for a panel that no other one has; those at edges are numbered."""
        name, taken = f"panel_{shape.rows}x{shape.columns}", self.shapes.values()
        if shape.is_whole and name not in taken:
            return name
        return next(numbered for n in range(len(taken) + 1) if (numbered := f"{name}_{n}") not in taken)

    def _fill(self, place: str, width: str, distance: int) -> str:
        """Return C that sets results to zero which no tap counts for."""
        return (
            "if (!accumulate)\n"
            f"  conv2d_zeros({place}, height, rows * {self.width},\n"
            f"               {width}, {distance});\n"
        )


def _move(walk: TapWalk) -> int:
    """Return the distance of the taps that count."""
    return walk.weights.step if len(walk.weights) > 1 else 1


def _fields(values: Mapping[str, object], before: str, after: str) -> str:
    return "".join(f"{before}{name} = {value}{after}\n" for name, value in values.items())


def _tap_rows(h: TapWalk, field: str) -> tuple[str, bool]:
    """Return C that sets the rows of taps of result row ``row``, and whether there may be none."""
    text, empty = "", False
    rows = list(runs(range(h.results), h.valid))
    for position, (_, end, result) in enumerate(rows):
        first, stop = h.valid(result)
        test = f"if (row < {end}) " if position < len(rows) - 1 else ""
        text += f"{'else ' if position else ''}{test}first = {first}, panel.{field} = {stop - first};\n"
        empty = empty or first == stop
    return text, empty
