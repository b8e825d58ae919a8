"""Panels at the edges of an image: for some taps of a row only some columns of the block have a value.

As `panel`, but the segments of the sum are known when the code is written, each with the columns that take
part in it.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import groupby

from tvm_pulp.schedules.microkernels.forms import both_forms
from tvm_pulp.schedules.microkernels.operand_walk import Distances
from tvm_pulp.schedules.microkernels.panel import PanelWriter, panel_assembly, panel_source

Columns = tuple[int, int]
"""First column that takes part in a segment, and the one after the last."""


@dataclass(frozen=True)
class PanelShape:
    """A block of results: rows, columns, and the columns that take part in each segment.

    ``a_move`` and ``b_move`` are the elements from a segment to the next.
    """

    rows: int
    columns: int
    segments: tuple[Columns, ...]
    a_move: int
    b_move: int

    @property
    def is_whole(self) -> bool:
        """Whether all columns take part in all segments; then their number need not be known."""
        return all(segment == (0, self.columns) for segment in self.segments)

    @property
    def runs(self) -> list[tuple[Columns, int]]:
        """Columns and number of segments in a row that are alike."""
        return [(columns, len(list(alike))) for columns, alike in groupby(self.segments)]


def edge_panel_source(names: dict[PanelShape, str], d: Distances, assembly: bool) -> str:
    """Return C with panels of several shapes, see `panel.panel_source`."""
    whole = {(shape.rows, shape.columns): name for shape, name in names.items() if shape.is_whole}
    edges = {shape: name for shape, name in names.items() if not shape.is_whole}
    source = panel_source(whole, d, assembly=assembly, nested=True)
    if not edges:
        return source
    plain = "\n\n".join(_edge_c(name, shape, d) for shape, name in edges.items())
    if not assembly:
        return f"{source}\n\n{plain}"
    fast = "\n\n".join(
        panel_assembly(name, s.rows, s.columns, d, True, _EdgeWriter(s, d)) for s, name in edges.items()
    )
    return f"{source}\n\n{both_forms(fast, plain)}"


class _EdgeWriter(PanelWriter):
    """Writes the sum of a panel at an edge."""

    def __init__(self, shape: PanelShape, d: Distances) -> None:
        super().__init__(shape.rows, shape.columns, d)
        self.shape = shape

    def sum(self, nested: bool) -> None:
        """Write the segments one after the other, those that are alike as a loop, and a loop around them."""
        assert nested
        self.text.add("3:")
        for (first, end), count in self.shape.runs:
            if first == end:  # no product: only the pointers move on
                self.text.add(f"addi {self.a.pointer}, {self.a.pointer}, {4 * count * self.shape.a_move}")
                self.text.add(f"addi {self.b.pointer}, {self.b.pointer}, {4 * count * self.shape.b_move}")
            elif count == 1:
                self.text.add(*self.segment(range(first, end)))
            else:
                self.text.add(f"li a0, {count}")
                self.segments(range(first, end))
        self.next_group()


def _edge_c(name: str, s: PanelShape, d: Distances) -> str:
    """Return the same panel in plain C."""
    text = ""
    for (first, end), count in s.runs:
        if first == end:
            text += f"      x += {count * s.a_move}, y += {count * s.b_move};\n"
            continue
        text += f"""\
      for (int32_t segment = 0; segment < {count}; ++segment) {{
        for (int32_t k = 0; k < p->depth; ++k, x += {d.a_step}, y += {d.b_step})
          for (int32_t i = 0; i < {s.rows}; ++i)
            for (int32_t j = {first}; j < {end}; ++j) sum[i][j] += x[i * {d.a_row}] * y[j * {d.b_column}];
        x += p->a_segment / 4, y += p->b_segment / 4;
      }}
"""
    return f"""\
static void {name}(const float *restrict a, const float *restrict b, float *restrict c,
                   const struct panel *p) {{
  const float *const end = b + p->blocks * {s.columns * d.b_column};
  for (; b < end; b += {s.columns * d.b_column}, c += {s.columns * d.c_column}) {{
    float sum[{s.rows}][{s.columns}] = {{{{0}}}};
    const float *x = a, *y = b;
    for (int32_t group = 0; group < p->groups; ++group) {{
{text}      x += p->a_group / 4, y += p->b_group / 4;
    }}
    for (int32_t i = 0; i < {s.rows}; ++i)
      for (int32_t j = 0; j < {s.columns}; ++j) {{
        float *result = c + i * (p->c_row / 4) + j * {d.c_column};
        *result = p->accumulate ? *result + sum[i][j] : sum[i][j];
      }}
  }}
}}"""
