"""Panels for few channels: the taps of a row are written one after the other, rows of taps are a loop.

With few channels to sum over, a loop over them would be shorter than what is around it. Here a segment of the
sum is a row of taps, in straight-line code, and a group is a channel; a value that several columns of the
block read is loaded once.
"""

from __future__ import annotations

from tvm_pulp.schedules.microkernels.edge_panel import PanelShape
from tvm_pulp.schedules.microkernels.forms import INCLUDE, both_forms
from tvm_pulp.schedules.microkernels.operand_walk import Distances
from tvm_pulp.schedules.microkernels.panel import STRUCT, PanelWriter, panel_assembly

_MOST_INSTRUCTIONS = 126
"""Instructions that stay in a core's own cache of 512 B."""
_LARGEST_OFFSET = 2047


def taps_fit(rows: int, columns: int, taps: int, a_row: int) -> bool:
    """Tell whether a row of taps is short enough, and its operands near enough."""
    length = taps * (rows * columns + rows + columns) + 2
    return length <= _MOST_INSTRUCTIONS and 4 * ((rows - 1) * a_row + taps) <= _LARGEST_OFFSET


def tap_panel_source(
    names: dict[PanelShape, str], d: Distances, lines: tuple[int, int], assembly: bool
) -> str:
    """Return C with panels of several shapes.

    Parameters
    ----------
    names
        Shape (a segment is a tap) → name.
    d
        Distances of rows and columns; those of the sum's steps are not looked at.
    lines
        Elements of A and of B from a row of taps to the next.
    assembly
        Whether the target has Xpulp.
    """
    plain = "\n\n".join(_tap_c(name, shape, d, lines) for shape, name in names.items())
    if not assembly:
        return f"{STRUCT}\n\n{plain}"
    fast = "\n\n".join(
        panel_assembly(name, s.rows, s.columns, d, True, _TapWriter(s, d, lines)) for s, name in names.items()
    )
    return f"{INCLUDE}\n\n{STRUCT}\n\n{both_forms(fast, plain)}"


class _TapWriter(PanelWriter):
    """Writes the sum of a panel tap by tap."""

    def __init__(self, shape: PanelShape, d: Distances, lines: tuple[int, int]) -> None:
        super().__init__(shape.rows, shape.columns, d)
        self.shape, self.lines = shape, lines
        for walk in (self.a, self.b):  # operands lie at offsets from where a row of taps starts
            walk.start, walk.is_far, walk.is_scattered = 0, False, False

    def sum(self, nested: bool) -> None:
        """Write a hardware loop over rows of taps, in a loop over channels; a0 holds the number of rows."""
        assert nested
        body = self._taps()
        body += [f"addi {self.a.pointer}, {self.a.pointer}, {4 * self.lines[0]}"]
        self.text.add("3:", f"LP_SETUP(0, a0, {len(body) + 1}, 5)", *body)
        self.text.add("5:", f"addi {self.b.pointer}, {self.b.pointer}, {4 * self.lines[1]}")
        self.next_group()

    def _places(self, tap: int) -> dict[int, int]:
        """Return for each column that takes part in a tap the place of its value."""
        first, end = self.shape.segments[tap]
        return {c: c * self.d.b_column + tap * self.shape.b_move for c in range(first, end)}

    def _taps(self) -> list[str]:
        taps = [t for t, (first, end) in enumerate(self.shape.segments) if first < end]
        held: dict[int, int] = {}  # place → register of B
        lines: list[str] = []
        for number, tap in enumerate(taps):
            places = self._places(tap)
            if number == 0:
                lines += self._load_missing(held, places, set(range(4)))
                lines += [self._load_a(r, tap) for r in range(self.rows)]
            later = taps[number + 1] if number + 1 < len(taps) else None
            following = self._places(later) if later is not None else {}
            registers = {c: held[place] for c, place in places.items()}
            for r in range(self.rows):
                for c, place in places.items():
                    lines.append(self.multiply_with(r, c, registers[c]))
                    if r == self.rows - 1 and place in held and place not in following.values():
                        lines += self._load_missing(held, following, {held.pop(place)})
                if later is not None:
                    lines.append(self._load_a(r, later))
            lines += self._load_missing(held, following, set(range(4)) - set(held.values()))
        return lines

    def _load_missing(self, held: dict[int, int], places: dict[int, int], free: set[int]) -> list[str]:
        """Return loads of values that are not in a register, into those that are free."""
        lines = []
        for place in places.values():
            if place not in held and free:
                held[place] = min(free)
                free = free - {held[place]}
                lines.append(self.load_b_into(held[place], 4 * place))
        return lines

    def _load_a(self, r: int, tap: int) -> str:
        return self.load_a_from(r, 4 * (r * self.d.a_row + tap * self.shape.a_move))


def _tap_c(name: str, s: PanelShape, d: Distances, lines: tuple[int, int]) -> str:
    """Return the same panel in plain C."""
    text = "".join(
        f"        for (int32_t i = 0; i < {s.rows}; ++i)\n"
        f"          for (int32_t j = {first}; j < {end}; ++j)\n"
        f"            sum[i][j] += x[i * {d.a_row} + {t * s.a_move}] *\n"
        f"                         y[j * {d.b_column} + {t * s.b_move}];\n"
        for t, (first, end) in enumerate(s.segments)
        if first < end
    )
    return f"""\
static void {name}(const float *restrict a, const float *restrict b, float *restrict c,
                   const struct panel *p) {{
  const float *const end = b + p->blocks * {s.columns * d.b_column};
  for (; b < end; b += {s.columns * d.b_column}, c += {s.columns * d.c_column}) {{
    float sum[{s.rows}][{s.columns}] = {{{{0}}}};
    const float *x = a, *y = b;
    for (int32_t group = 0; group < p->groups; ++group) {{
      for (int32_t segment = 0; segment < p->segments; ++segment, x += {lines[0]}, y += {lines[1]}) {{
{text}      }}
      x += p->a_group / 4, y += p->b_group / 4;
    }}
    for (int32_t i = 0; i < {s.rows}; ++i)
      for (int32_t j = 0; j < {s.columns}; ++j) {{
        float *result = c + i * (p->c_row / 4) + j * {d.c_column};
        *result = p->accumulate ? *result + sum[i][j] : sum[i][j];
      }}
  }}
}}"""
