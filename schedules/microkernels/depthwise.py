"""Depthwise convolution in L1: each channel by itself, in blocks of neighbouring results, with no padding at
all.

Rows and columns at the edges get code of their own, without the taps that fall outside. A block loads each
value of its lines once for all its results; a channel's weights (or, for the weight gradient, its sums) stay
in registers. The block is what has the fewest instructions a product, as two workers share an FPU, and whose
code stays in a core's own instruction cache: walks go down the rows of a strip, not along a row with its
edges. Plain C: the compiler schedules straight-line code like this well.
"""

from __future__ import annotations

import textwrap
from dataclasses import dataclass, replace
from functools import lru_cache

from tvm_pulp.schedules.conv2d_workload import DATA_GRADIENT, WEIGHT_GRADIENT, Conv2dSizes
from tvm_pulp.schedules.dialect import ceil_div
from tvm_pulp.schedules.microkernels.fpu import cycles_with_shared_fpu
from tvm_pulp.schedules.microkernels.reads import ReadAxis, Reads, runs, strips
from tvm_pulp.schedules.microkernels.straight_line import Block, Product, Value

_MOST_SUMS = 12
"""Sums of the weight gradient that are kept in registers at a time."""
_CODE_BYTES = 500
"""Code that stays in a core's own instruction cache of 512 B."""
_REGISTERS = 26
"""Registers that the compiler has for values."""
_FETCH, _MISS = 0.7, 5.0
"""Cycles an instruction takes longer when it comes from the cache that all workers share, or from L2."""
_SHARED_BYTES = 3000
"""Code that stays in the shared cache of 4 KiB beside the rest of the kernel."""
_C_LOOP, _STRIP_CYCLES, _CHANNEL_CYCLES = 5.0, 12.0, 60.0
"""Cycles beside straight-line code: of a loop in C, of a strip, of a channel."""

_ARGUMENTS = """\
int core, const float *image, const float *operand, float *result, int32_t images, int32_t channels,
                        int32_t rows, int32_t first_row, int32_t low, int32_t valid, int32_t accumulate"""


@dataclass(frozen=True)
class DepthwisePlan:
    """A depthwise step and its blocks of a unit of rows times ``strip`` columns."""

    rows: ReadAxis
    columns: ReadAxis
    taken: tuple[int, ...]
    sums: bool
    assembly: bool
    strip: int = 1

    @property
    def row_taps(self) -> int:
        """Number of taps of a row."""
        return self.columns.window.taps

    def row_runs(self) -> list[tuple[int, int]]:
        """Return start and end of runs of row units that are alike."""
        h = self.rows

        def signature(unit: int) -> object:
            return [
                [read for read in reads if read[1] in self.taken] for reads in h.block(unit * h.unit, h.unit)
            ]

        units = list(range(ceil_div(h.results, h.unit)))
        return [(begin, end) for begin, end, _ in runs(units, signature)]

    def block(self, unit: int, first: int, count: int) -> Block:
        """Return the code for a unit of rows and ``count`` columns from ``first`` on."""
        lines = self.rows.block(unit * self.rows.unit, self.rows.unit)
        columns = self.columns.block(first, count)
        return _sum_block(self, lines, columns) if self.sums else _result_block(self, lines, columns)


def depthwise_source(s: Conv2dSizes, tile_rows: int, assembly: bool) -> str:
    """Return C for ``conv2d_tile`` of a depthwise convolution.

    Parameters
    ----------
    s
        The sizes; ``outputs`` is the number of channels.
    tile_rows
        Output rows of a full tile, for the weight gradient's pitch.
    assembly
        Whether the target has Xpulp; plain C is there in any case, for the host.
    """
    plans = depthwise_plans(s, assembly)
    source = _weight_gradient(s, plans, tile_rows) if plans[0].sums else _results(s, plans[0])
    return f'#include "pulp_assembly.h"\n\n{source}' if assembly else source


@lru_cache(maxsize=256)
def depthwise_plans(s: Conv2dSizes, assembly: bool) -> list[DepthwisePlan]:
    """Return the plan with the blocks that take the fewest cycles; several for sums of many taps."""
    gradient = s.kind == DATA_GRADIENT
    columns = ReadAxis(s.width, gradient)
    # units start where tiles and sections do
    groups = [1] if s.sections > 1 and s.section_rows % 2 else [1, 2]
    every = tuple(range(s.height.taps))
    sums = s.kind == WEIGHT_GRADIENT
    found = []
    for taken in [(i,) for i in every] if sums and s.taps > _MOST_SUMS else [every]:
        widest = ceil_div(min(8, columns.results), columns.unit) * columns.unit
        candidates = [
            DepthwisePlan(ReadAxis(s.height, gradient, group), columns, taken, sums, assembly, strip)
            for group in groups
            for strip in range(columns.unit, widest + 1, columns.unit)
        ]
        found.append(min(candidates, key=plane_cycles))
    if len({p.rows.group for p in found}) > 1:
        found = [replace(p, rows=replace(p.rows, group=1)) for p in found]
    return found


@lru_cache(maxsize=1024)
def plane_cycles(p: DepthwisePlan) -> float:
    """Return about how many cycles a worker takes for one channel of an image."""
    work, instructions = _CHANNEL_CYCLES, 0.0
    for begin, end in p.row_runs():
        for first, count, alike in strips(p.columns, p.strip):
            block = p.block(begin, first, count)
            cycles, length = _block_cycles(p, block)
            work += alike * ((end - begin) * cycles + _STRIP_CYCLES)
            instructions += length
    return work + instructions * (_FETCH if 4 * instructions <= _SHARED_BYTES else _MISS)


def _block_cycles(p: DepthwisePlan, block: Block) -> tuple[float, float]:
    """Return the cycles and the instructions of a block."""
    instructions = float(block.instructions)
    if not (p.assembly and block.has_assembly):
        live = len(block.kept) + len(block.temporaries) + 8  # the compiler loads early
        instructions += _C_LOOP + 2 * max(0, live - _REGISTERS)
    cycles = cycles_with_shared_fpu(instructions, block.products)
    return cycles + (_FETCH * instructions if 4 * instructions > _CODE_BYTES else 0.0), instructions


# forward step and data gradient


def _results(s: Conv2dSizes, p: DepthwisePlan) -> str:
    h, w = p.rows, p.columns
    return f"""\
{_rows_function(p)}

/* The share of worker `core` in images x channels x rows x {w.results} results, from row `first_row` on: runs
 * of rows. The tile has `valid` lines of each channel, from line `low` of the image on. */
static void conv2d_tile({_ARGUMENTS}) {{
  (void)accumulate;
  const int32_t first = first_row{_over(h.unit)}, lines = {_units("rows", h.unit)};
  const int32_t last = pulp_chunk(core + 1, PULP_CORES, images * channels * lines);
  int32_t at = pulp_chunk(core, PULP_CORES, images * channels * lines), plane = at / lines;
  for (int32_t y = first + at - plane * lines; at < last; ++plane, y = first) {{
    const int32_t count = pulp_min(first + lines - y, last - at);
    depthwise_rows(image + (plane * valid + y * {h.advance} - low) * {w.extent},
                   operand + plane % channels * {s.taps},
                   result + (plane * rows + y * {h.unit} - first_row) * {w.results}, y, y + count);
    at += count;
  }}
}}
"""


def _over(unit: int) -> str:
    return f" / {unit}" if unit > 1 else ""


def _units(rows: str, unit: int) -> str:
    return rows if unit == 1 else f"({rows} + {unit - 1}) / {unit}"


def _rows_function(p: DepthwisePlan) -> str:
    """Return C for the row units ``y`` to ``end`` of a channel."""
    taps = range(p.rows.window.taps * p.row_taps)
    declared = ", ".join(f"k{t} = weight[{t}]" for t in taps)
    unused = "".join(f", (void)k{t}" for t in taps)
    return f"""\
static void __attribute__((noinline)) depthwise_rows(
    const float *restrict in, const float *restrict weight, float *restrict out, int32_t y, int32_t end) {{
  const float {declared};
  (void)weight{unused};
{_row_runs(p)}}}"""


def _row_runs(p: DepthwisePlan) -> str:
    """Return C for runs of row units that are alike."""
    h, w = p.rows, p.columns
    runs_of_rows, text = p.row_runs(), ""
    moved = f"g += count * {h.unit * w.results}" if p.sums else f"out += count * {h.unit * w.results}"
    for begin, end in runs_of_rows:
        limit = "end" if end == runs_of_rows[-1][1] else f"pulp_min({end}, end)"
        text += f"""\
  if (y < {limit}) {{
    const int32_t count = {limit} - y;
{_walk(p, begin)}    y += count, in += count * {h.advance * w.extent}, {moved};
  }}
"""
    return text


def _walk(p: DepthwisePlan, unit: int) -> str:
    """Return C that walks down each strip in ``count`` blocks."""
    text, w = "", p.columns
    pointers = [("const float", "from", "in", w.advance, w.unit)]
    pointers.append(("const float", "with", "g", 1, 1) if p.sums else ("float", "to", "out", 1, 1))
    for first, count, alike in strips(w, p.strip):
        block = p.block(unit, first, count)
        if not block.values and not block.zeros:
            continue
        declared, strides = "", {}
        for kind, name, base, advance, columns in pointers:
            declared += f"      {kind} *{name} = {base} + {first // columns * advance};\n"
            strides[name] = p.strip // columns * advance
        declared += "" if block.values else "      (void)from;\n"
        code = block.c("count", alike, strides, "      ")
        if p.assembly and block.has_assembly:
            code = (
                f"#if PULP_ASSEMBLY\n{block.assembly('count', alike, strides, '      ')}#else\n{code}#endif\n"
            )
        text += f"    {{\n{declared}{code}    }}\n"
    return text


def _by_line(p: DepthwisePlan, lines: tuple[Reads, ...]) -> dict[int, list[tuple[int, int]]]:
    """Return for each line of the source, in order, the result rows and taps that it takes part in."""
    found: dict[int, list[tuple[int, int]]] = {}
    for row, reads in enumerate(lines):
        for line, tap in reads:
            if tap in p.taken:
                found.setdefault(line, []).append((row, tap))
    return dict(sorted(found.items()))


def _by_place(block: tuple[Reads, ...]) -> dict[int, list[tuple[int, int]]]:
    """Return for each place of a line, in order, the results and taps that it takes part in."""
    found: dict[int, list[tuple[int, int]]] = {}
    for i, reads in enumerate(block):
        for place, tap in reads:
            found.setdefault(place, []).append((i, tap))
    return dict(sorted(found.items()))


def _result_block(p: DepthwisePlan, lines: tuple[Reads, ...], block: tuple[Reads, ...]) -> Block:
    """Return the code for a block of results: line by line of the source, each value loaded once."""
    w = p.columns
    left = {
        (row, i): len(down) * len(across) for row, down in enumerate(lines) for i, across in enumerate(block)
    }
    zeros = [row * w.results + i for (row, i), number in left.items() if not number]
    started: set[tuple[int, int]] = set()
    values = []
    for line, uses in _by_line(p, lines).items():
        for place, results in _by_place(block).items():
            value = Value(line * w.extent + place)
            for row, tap in uses:
                for i, column in results:
                    name = f"s{row}_{i}"
                    factor = f"k{tap * p.row_taps + column}"
                    value.products.append(Product(name, factor, (row, i) not in started))
                    started.add((row, i))
                    left[row, i] -= 1
                    if not left[row, i]:
                        value.stores.append((name, row * w.results + i))
            values.append(value)
    kept = sorted({product.factor for value in values for product in value.products}, key=_number)
    steps = {"from": p.rows.advance * w.extent, "to": p.rows.unit * w.results}
    if not values:
        del steps["from"]
    return Block(values, kept, False, [f"s{row}_{i}" for row, i in sorted(started)], zeros, steps)


def _number(name: str) -> int:
    return int(name[1:])


# weight gradient


def _weight_gradient(s: Conv2dSizes, plans: list[DepthwisePlan], tile_rows: int) -> str:
    h, w = plans[0].rows, plans[0].columns
    functions = "\n\n".join(_sums_function(f"depthwise_sums_{i}", p) for i, p in enumerate(plans))
    calls = "\n".join(
        f"    depthwise_sums_{number}(window, from, to, images, rows, first_row, image_size, gradient_size,\n"
        "                     accumulate);"
        for number in range(len(plans))
    )
    return f"""\
{functions}

/* The share of worker `core` in channels x {s.taps} sums over images and rows, from row `first_row` on. The
 * tile has `valid` lines of each channel, from line `low` of the image on. */
static void conv2d_tile({_ARGUMENTS}) {{
  const int32_t plane_size = valid * {w.extent}, last = pulp_chunk(core + 1, PULP_CORES, channels);
  const int32_t image_size = channels * plane_size, gradient_size = channels * {tile_rows * w.results};
  image += (first_row * {h.window.stride} - low) * {w.extent};
  for (int32_t channel = pulp_chunk(core, PULP_CORES, channels); channel < last; ++channel) {{
    const float *window = image + channel * plane_size, *from = operand + channel * {tile_rows * w.results};
    float *to = result + channel * {s.taps};
{calls}
  }}
}}
"""


def _sums_function(name: str, p: DepthwisePlan) -> str:
    """Return C for the sums of some lines of taps of a channel."""
    sums = [i * p.row_taps + j for i in p.taken for j in range(p.row_taps)]
    stores = "".join(f"  result[{t}] = accumulate ? result[{t}] + s{t} : s{t};\n" for t in sums)
    return f"""\
static void __attribute__((noinline)) {name}(
    const float *restrict image, const float *restrict gradient, float *restrict result, int32_t images,
    int32_t rows, int32_t first_row, int32_t image_size, int32_t gradient_size, int32_t accumulate) {{
  float {", ".join(f"s{t} = 0.0f" for t in sums)};
  for (int32_t n = 0; n < images; ++n, image += image_size, gradient += gradient_size) {{
    const float *in = image, *g = gradient;
    int32_t y = first_row{_over(p.rows.unit)};
    const int32_t end = {_units("first_row + rows", p.rows.unit)};
{textwrap.indent(_row_runs(p), "  ")}  }}
{stores}}}"""


def _sum_block(p: DepthwisePlan, lines: tuple[Reads, ...], block: tuple[Reads, ...]) -> Block:
    """Return the code that adds the products of a block of the output's gradient and its windows."""
    w = p.columns
    loaded: set[tuple[int, int]] = set()
    values = []
    for line, uses in _by_line(p, lines).items():
        for place, results in _by_place(block).items():
            value = Value(line * w.extent + place)
            for row, tap in uses:
                for i, column in results:
                    factor = f"g{row}_{i}"
                    if (row, i) not in loaded:
                        loaded.add((row, i))
                        value.factors.append((factor, row * w.results + i))
                    value.products.append(Product(f"s{tap * p.row_taps + column}", factor))
            values.append(value)
    kept = sorted({product.target for value in values for product in value.products}, key=_number)
    steps = {"from": p.rows.advance * w.extent, "with": p.rows.unit * w.results}
    return Block(
        values, kept, True, [f"g{row}_{i}" for row, i in sorted(loaded)], [], steps if values else {}
    )
