"""Depthwise convolution in L1: each channel by itself, in blocks of neighbouring results, with no padding at
all.

Rows and columns at the edges get code of their own, without the taps that fall outside. A block loads each
value of its lines once for all its results; a channel's weights (or, for the weight gradient, its sums) stay
in registers. Walks go down the rows of a strip, not along a row with its edges, so that few loops are left in
turn. What a block is: `depthwise_plan`.
"""

from __future__ import annotations

import textwrap

from tvm_pulp.schedules.conv2d_workload import Conv2dSizes
from tvm_pulp.schedules.dialect import ceil_div
from tvm_pulp.schedules.microkernels.depthwise_plan import DepthwisePlan, depthwise_plans
from tvm_pulp.schedules.microkernels.straight_line import Block
from tvm_pulp.schedules.microkernels.walks_assembly import fit_together, walks_assembly

_MOST_INLINE = 3
"""Walks of a function that is inlined."""

_PINNED = tuple(f"s{i}" for i in range(10, 1, -1))
"""Registers of a channel's weights."""

_IN_REGISTER = """\
#if PULP_ASSEMBLY
#define IN_REGISTER(name) __asm__(name)
#else
#define IN_REGISTER(name)
#endif
"""

_ARGUMENTS = """\
int core, const float *image, const float *operand, float *result, int32_t images, int32_t channels,
                        int32_t rows, int32_t first_row, int32_t low, int32_t valid, int32_t accumulate"""


def depthwise_source(s: Conv2dSizes, tile_rows: int, assembly: bool, planes: int = 0) -> str:
    """Return C for ``conv2d_tile`` of a depthwise convolution.

    Parameters
    ----------
    s
        The sizes; ``outputs`` is the number of channels.
    tile_rows
        Output rows of a full tile, for the weight gradient's pitch.
    assembly
        Whether the target has Xpulp; plain C is there in any case, for the host.
    planes
        Channels of images that each worker has of each tile of the forward step or the data gradient; 0 where
        shares are not whole channels or not all the same.
    """
    plans = depthwise_plans(s, assembly)
    source = _weight_gradient(s, plans, tile_rows) if plans[0].sums else _results(s, plans, planes)
    return f'#include "pulp_assembly.h"\n\n{_IN_REGISTER}\n{source}' if assembly else source


# forward step and data gradient


def _results(s: Conv2dSizes, plans: list[DepthwisePlan], planes: int) -> str:
    h, w, unit = plans[0].rows, plans[0].columns, plans[0].row_unit
    functions = "\n\n".join(_rows_function(f"depthwise_rows_{i}", p) for i, p in enumerate(plans))
    if planes:
        calls = "".join(
            f"    depthwise_rows_{number}(from, weight, to, 0, {ceil_div(h.results, unit)});\n"
            for number in range(len(plans))
        )
        return f"""\
{functions}

/* The share of worker `core` in images x channels x {h.results} x {w.results} results: {planes} channels. */
static void conv2d_tile({_ARGUMENTS}) {{
  (void)images, (void)rows, (void)first_row, (void)accumulate;
  for (int32_t plane = {planes} * core; plane < {planes} * (core + 1); ++plane) {{
    const float *from = image + (plane * valid - low) * {w.extent};
    const float *weight = operand + plane % channels * {s.taps};
    float *to = result + plane * {h.results * w.results};
{calls}  }}
}}
"""
    calls = "\n".join(
        f"    depthwise_rows_{number}(from, weight, to, y, y + count);" for number in range(len(plans))
    )
    return f"""\
{functions}

/* The share of worker `core` in images x channels x rows x {w.results} results, from row `first_row` on: runs
 * of rows. The tile has `valid` lines of each channel, from line `low` of the image on. */
static void conv2d_tile({_ARGUMENTS}) {{
  (void)accumulate;
  const int32_t first = first_row{_over(unit)}, lines = {_units("rows", unit)};
  const int32_t last = pulp_chunk(core + 1, PULP_CORES, images * channels * lines);
  int32_t at = pulp_chunk(core, PULP_CORES, images * channels * lines), plane = at / lines;
  int32_t channel = plane % channels;
  for (int32_t y = first + at - plane * lines; at < last; ++plane, y = first) {{
    const int32_t count = pulp_min(first + lines - y, last - at);
    const float *from = image + (plane * valid + y * {h.advance} - low) * {w.extent};
    const float *weight = operand + channel * {s.taps};
    float *to = result + (plane * rows + y * {h.unit} - first_row) * {w.results};
{calls}
    channel = channel + 1 < channels ? channel + 1 : 0;
    at += count;
  }}
}}
"""


def _over(unit: int) -> str:
    return f" / {unit}" if unit > 1 else ""


def _units(rows: str, unit: int) -> str:
    return rows if unit == 1 else f"({rows} + {unit - 1}) / {unit}"


def _rows_function(name: str, p: DepthwisePlan) -> str:
    """Return C for some rows of taps of the row units ``y`` to ``end`` of a channel."""
    taps = [i * p.row_taps + j for i in p.taken for j in range(p.row_taps)]
    declared = "".join(f"  {_pinned(p, f'k{t}', n)} = weight[{t}];\n" for n, t in enumerate(taps))
    unused = "".join(f", (void)k{t}" for t in taps)
    source, to = ("plane", "results") if p.upward else ("in", "out")
    return f"""\
static void {_own_registers(p)}{name}(
    const float *restrict {source}, const float *restrict weight, float *restrict {to}, int32_t y,
    int32_t end) {{
{declared}  (void)weight{unused};
{_row_runs(p)}}}"""


def _pinned(p: DepthwisePlan, name: str, number: int) -> str:
    """Return a declaration in C; inline assembly finds a weight in the same register everywhere."""
    if not p.assembly or number >= len(_PINNED):
        return f"const float {name}"
    return f'register const float {name} IN_REGISTER("{_PINNED[number]}")'


def _own_registers(p: DepthwisePlan) -> str:
    """Keep a function with many walks apart, so that they share the registers with nothing else; with few
    walks its call would take longer than that saves.
    """
    walks = len(p.row_runs()) * len(p.strips())
    return "" if walks <= _MOST_INLINE else "__attribute__((noinline)) "


def _row_runs(p: DepthwisePlan) -> str:
    """Return C for runs of row units that are alike."""
    if p.running:
        return (
            f"  (void)y, (void)end;\n  const int32_t count = {p.running.steps};\n{_walk(p, p.row_runs()[0])}"
        )
    if p.upward:
        return _runs_upward(p)
    h, w = p.rows, p.columns
    runs_of_rows, text = p.row_runs(), ""
    moved = f"g += count * {h.unit * w.results}" if p.sums else f"out += count * {h.unit * w.results}"
    for begin, end in runs_of_rows:
        limit = "end" if end == runs_of_rows[-1][1] else f"pulp_min({end}, end)"
        text += f"""\
  if (y < {limit}) {{
    const int32_t count = {limit} - y{", inside = y > 0" if p.is_edge((begin, end)) else ""};
{_walk(p, (begin, end))}    y += count, in += count * {h.advance * w.extent}, {moved};
  }}
"""
    return text


def _runs_upward(p: DepthwisePlan) -> str:
    """Return C for runs of row units from the last one up."""
    h, w, text = p.rows, p.columns, ""
    for begin, end in reversed(p.row_runs()):
        low = f"pulp_max(y, {begin})" if begin else "y"
        high = f"pulp_min(end, {end})" if end < p.units else "end"
        edge = f"    const int32_t inside = high < {p.units};\n" if p.is_edge((begin, end)) else ""
        text += f"""\
  {{
    const int32_t low = {low}, high = {high}, count = high - low;
    const float *in = plane + (high - 1 - y) * {h.advance * w.extent};
    float *out = results + (high - 1 - y) * {h.unit * w.results};
{edge}    if (count > 0) {{
{textwrap.indent(_walk(p, (begin, end)), "  ")}    }}
  }}
"""
    return text


def _walk(p: DepthwisePlan, run: tuple[int, int]) -> str:
    """Return C that walks down each strip in ``count`` blocks."""
    return _strips(p, [(p.block(run, *strip), *strip) for strip in p.strips()], "count")


def _strips(p: DepthwisePlan, walks: list[tuple[Block, int, int, int]], count: str) -> str:
    """Return C that walks down strips in ``count`` blocks: blocks, first columns, columns, numbers of strips.

    Strips in a row are one statement in assembly.
    """
    text = ""
    together: list[tuple[Block, int, int, str]] = []
    for block, first, _, alike in walks:
        plain = _strip(p, block, count, first, alike)
        if not (plain and p.assembly and block.has_assembly):
            text += _statement(p, together, count) + plain
            together = []
            continue
        if not fit_together([*(other for other, *_ in together), block]):
            text += _statement(p, together, count)
            together = []
        together.append((block, first, alike, plain))
    return text + _statement(p, together, count)


def _statement(p: DepthwisePlan, walks: list[tuple[Block, int, int, str]], count: str) -> str:
    """Return C for strips in a row: in assembly, or else one after the other."""
    if not walks:
        return ""
    declared, strides = _pointers(p, walks[0][0], walks[0][1])
    blocks = [(block, alike) for block, _, alike, _ in walks]
    if any(block.at_edge for block, _ in blocks):
        fast = (
            f"      if (inside) {{\n{walks_assembly(blocks, count, strides, '        ')}"
            f"      }} else {{\n{walks_assembly(blocks, count, strides, '        ', inside=False)}      }}\n"
        )
    else:
        fast = walks_assembly(blocks, count, strides, "      ")
    plain = "".join(text for *_, text in walks)
    return f"#if PULP_ASSEMBLY\n    {{\n{declared}{fast}    }}\n#else\n{plain}#endif\n"


def _strip(p: DepthwisePlan, block: Block, count: str, first: int, alike: int) -> str:
    """Return plain C that walks down ``alike`` strips from a column on in ``count`` blocks."""
    if not block.values and not block.zeros:
        return ""
    declared, strides = _pointers(p, block, first)
    return f"    {{\n{declared}{block.c(count, alike, strides, '      ')}    }}\n"


def _pointers(p: DepthwisePlan, block: Block, first: int) -> tuple[str, dict[str, int]]:
    """Return C with a block's pointers for a column, and how far it is from a strip to the next."""
    w = p.columns
    pointers = [("const float", "from", "in", w.advance, w.unit)]
    if not p.sums:
        pointers.append(("float", "to", "out", 1, 1))
    if p.sums or p.taken[0] > 0:
        pointers.append(("const float", "with", "g" if p.sums else "out", 1, 1))
    declared, strides = "", {}
    for kind, name, base, advance, columns in pointers:
        strides[name] = p.strip // columns * advance
        if name in block.steps:
            declared += f"      {kind} *{name} = {base} + {first // columns * advance};\n"
    return declared, strides


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
static void {_own_registers(p)}{name}(
    const float *restrict image, const float *restrict gradient, float *restrict result, int32_t images,
    int32_t rows, int32_t first_row, int32_t image_size, int32_t gradient_size, int32_t accumulate) {{
  float {", ".join(f"s{t} = 0.0f" for t in sums)};
  for (int32_t n = 0; n < images; ++n, image += image_size, gradient += gradient_size) {{
    const float *in = image, *g = gradient;
    int32_t y = first_row{_over(p.rows.unit)};
    const int32_t end = {_units("first_row + rows", p.rows.unit)};
{textwrap.indent(_row_runs(p), "  ")}  }}
{stores}}}"""
