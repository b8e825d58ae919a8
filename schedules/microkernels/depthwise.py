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
from dataclasses import dataclass

from tvm_pulp.schedules.conv2d_workload import FORWARD, WEIGHT_GRADIENT, Conv2dSizes
from tvm_pulp.schedules.dialect import ceil_div
from tvm_pulp.schedules.microkernels.reads import Reads, ReadAxis, runs, strips

_MOST_SUMS = 12
"""Sums of the weight gradient that are kept in registers at a time."""
_CODE_BYTES = 500
"""Code that stays in a core's own instruction cache of 512 B."""
_REGISTERS = 26
"""Registers beside those of addresses and counters."""
_WALK_INSTRUCTIONS = 7
"""What it takes to move on to the next block of a strip, the jump's 3 cycles included."""

_ARGUMENTS = """\
int core, const float *image, const float *operand, float *result, int32_t images, int32_t channels,
                        int32_t rows, int32_t first_row, int32_t low, int32_t valid, int32_t accumulate"""


@dataclass(frozen=True)
class _Plan:
    """A depthwise step and its blocks of ``units`` row units times ``strip`` columns."""

    rows: ReadAxis
    columns: ReadAxis
    taken: tuple[int, ...]
    sums: bool
    strip: int = 1
    units: int = 1

    @property
    def row_taps(self) -> int:
        return self.columns.window.taps


def depthwise_source(s: Conv2dSizes, tile_rows: int) -> str:
    """Return C for ``conv2d_tile`` of a depthwise convolution.

    Parameters
    ----------
    s
        The sizes; ``outputs`` is the number of channels.
    tile_rows
        Output rows of a full tile, for the weight gradient's pitch.
    """
    sums = s.kind == WEIGHT_GRADIENT
    rows, columns = (ReadAxis(a, s.kind not in (FORWARD, WEIGHT_GRADIENT)) for a in (s.height, s.width))
    every = tuple(range(s.height.taps))
    if not sums:
        return _results(s, _best(_Plan(rows, columns, every, False)))
    taken = [(i,) for i in every] if s.taps > _MOST_SUMS else [every]
    return _weight_gradient(s, [_best(_Plan(rows, columns, lines, True)) for lines in taken], tile_rows)


def _best(plan: _Plan) -> _Plan:
    """Return the plan with the block that takes the fewest instructions for an image's middle rows."""
    unit, width = plan.columns.unit, plan.columns.results
    widest = ceil_div(min(8, width), unit) * unit
    found = []
    for strip in range(unit, widest + 1, unit):
        for units in (1, 2):
            candidate = _Plan(plan.rows, plan.columns, plan.taken, plan.sums, strip, units)
            found.append((_cost(candidate), strip, units))
    _, strip, units = min(found)
    return _Plan(plan.rows, plan.columns, plan.taken, plan.sums, strip, units)


def _cost(p: _Plan) -> float:
    """Return about how many cycles a row unit in the middle of an image takes."""
    middle = ceil_div(p.rows.results, p.rows.unit) // 2
    first = max(0, middle - p.units // 2) * p.rows.unit
    lines = p.rows.block(first, p.units * p.rows.unit)
    total = 0.0
    for start, count, number in strips(p.columns, p.strip):
        block = p.columns.block(start, count)
        loads, products, live = _size(p, lines, block)
        stored = len(lines) * count
        instructions = loads + products + stored + _WALK_INSTRUCTIONS
        spilled = max(0, live - _REGISTERS)
        slow = 1.4 if 4 * (instructions + spilled) > _CODE_BYTES else 1.0
        # FPUs are shared by two: a product takes the time of two instructions
        total += number * max((instructions + 2 * spilled) * slow, 2.05 * products)
    return total / p.units


def _size(p: _Plan, lines: tuple[Reads, ...], block: tuple[Reads, ...]) -> tuple[int, int, int]:
    """Return loads of the source, products, and registers that are live, of a block."""
    sources = {line for reads in lines for line, tap in reads if tap in p.taken}
    values = {place for reads in block for place, _ in reads}
    vertical = sum(1 for reads in lines for _, tap in reads if tap in p.taken)
    products = vertical * sum(len(reads) for reads in block)
    kept = len(p.taken) * p.row_taps
    return len(sources) * len(values), products, kept + len(lines) * len(block) + len(values)


# forward step and data gradient


def _results(s: Conv2dSizes, p: _Plan) -> str:
    h, w = p.rows, p.columns
    return f"""\
{_rows_function(p)}

/* The share of worker `core` in images x channels x rows x {w.results} results, from row `first_row` on: runs of
 * rows. The tile has `valid` lines of each channel, from line `low` of the image on. */
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


def _rows_function(p: _Plan) -> str:
    """Return C for the row units ``y`` to ``end`` of a channel."""
    h, w = p.rows, p.columns
    taps = range(h.window.taps * p.row_taps)
    declared = ", ".join(f"k{t} = weight[{t}]" for t in taps)
    pointers = (("from", "in", w.advance, w.unit), ("to", "out", 1, 1))
    steps = h.advance * w.extent, h.unit * w.results
    return f"""\
static void __attribute__((noinline)) depthwise_rows(
    const float *restrict in, const float *restrict weight, float *restrict out, int32_t y, int32_t end) {{
  const float {declared};
{_row_runs(p, pointers, steps, ("in", "out"))}}}"""


def _row_runs(
    p: _Plan,
    pointers: tuple[tuple[str, str, int, int], ...],
    steps: tuple[int, int],
    bases: tuple[str, str],
) -> str:
    """Return C for runs of row units that are alike; ``steps`` says how far the bases move from one to the
    next.
    """
    h = p.rows
    units = list(range(ceil_div(h.results, h.unit)))
    text = ""

    def signature(unit: int) -> object:
        return [[read for read in reads if read[1] in p.taken] for reads in h.block(unit * h.unit, h.unit)]

    for begin, end, _ in runs(units, signature):
        limit = "end" if end == len(units) else f"pulp_min({end}, end)"
        advance = ", ".join(
            f"{base} += count * {step}" for base, step in zip(bases, steps, strict=True)
        )
        several = min(p.units, end - begin)
        walks = ""
        if several > 1:
            walks += _walk(p, pointers, steps, begin, several, f"count / {several}")
            moved = ", ".join(
                f"{base} += (count - count % {several}) * {step}"
                for base, step in zip(bases, steps, strict=True)
            )
            back = advance.replace("count *", f"count % {several} *")
            rest = _walk(p, pointers, steps, begin, 1, f"count % {several}")
            walks += f"    {moved};\n    if (count % {several}) {{\n{textwrap.indent(rest, '  ')}    }}\n"
            advance = back
        else:
            walks += _walk(p, pointers, steps, begin, 1, "count")
        text += f"""\
  if (y < {limit}) {{
    const int32_t count = {limit} - y;
{walks}    y += count, {advance};
  }}
"""
    return text


def _walk(
    p: _Plan, pointers: tuple[tuple[str, str, int, int], ...], steps: tuple[int, int], begin: int, units: int,
    number: str,
) -> str:  # fmt: skip
    """Return C that walks down each strip in ``number`` blocks of ``units`` row units."""
    h, text = p.rows, ""
    lines = h.block(begin * h.unit, units * h.unit)
    names = [name for name, *_ in pointers]
    down = ", ".join(f"{name} += {units * step}" for name, step in zip(names, steps, strict=True))
    for first, count, alike in strips(p.columns, p.strip):
        block = p.columns.block(first, count)
        body = _sum_block(p, lines, block) if p.sums else _result_block(p, lines, block)
        if not body:
            continue
        declared = ""
        for name, base, advance, unit in pointers:
            offset = first // unit * advance
            shift = f" + strip * {p.strip // unit * advance}" if alike > 1 else ""
            kind = "float" if name == "to" else "const float"
            declared += f"      {kind} *{name} = {base} + {offset}{shift};\n"
        repeat = f"for (int32_t strip = 0; strip < {alike}; ++strip) " if alike > 1 else ""
        text += (
            f"    {repeat}{{\n{declared}"
            f"      for (int32_t block = {number}; block > 0; --block, {down}) {{\n{body}      }}\n    }}\n"
        )
    return text


def _by_line(p: _Plan, lines: tuple[Reads, ...]) -> dict[int, list[tuple[int, int]]]:
    """Return for each line of the source, in order, the result rows and taps that it takes part in."""
    found: dict[int, list[tuple[int, int]]] = {}
    for row, reads in enumerate(lines):
        for line, tap in reads:
            if tap in p.taken:
                found.setdefault(line, []).append((row, tap))
    return dict(sorted(found.items()))


def _values(line: int, block: tuple[Reads, ...], extent: int) -> tuple[str, dict[int, str]]:
    """Return C that loads what a block reads of a line, and the names of the values."""
    places = sorted({place for reads in block for place, _ in reads})
    names = {place: f"v{number}" for number, place in enumerate(places)}
    loads = ", ".join(f"{name} = from[{line * extent + place}]" for place, name in names.items())
    return f"        const float {loads};\n", names


def _products(block: tuple[Reads, ...]) -> list[tuple[int, int, int]]:
    """Return result, place and tap of all products of a line, neighbouring ones of different results."""
    most = max((len(reads) for reads in block), default=0)
    return [(i, *reads[j]) for j in range(most) for i, reads in enumerate(block) if j < len(reads)]


def _result_block(p: _Plan, lines: tuple[Reads, ...], block: tuple[Reads, ...]) -> str:
    """Return C for a block of results: line by line of the source, each value loaded once."""
    started: set[tuple[int, int]] = set()
    left = [sum(1 for _, tap in reads if tap in p.taken) for reads in lines]
    body = "".join(_store(p, row, len(block), started) for row, number in enumerate(left) if not number)
    for line, uses in _by_line(p, lines).items():
        loads, names = _values(line, block, p.columns.extent)
        body += f"        {{\n{loads}" if names else "        {\n"
        for row, tap in uses:
            for i, place, column in _products(block):
                product = f"{names[place]} * k{tap * p.row_taps + column}"
                if (row, i) in started:
                    body += f"        s{row}_{i} = s{row}_{i} + {product};\n"
                else:
                    body += f"        s{row}_{i} = {product};\n"
                    started.add((row, i))
            left[row] -= 1
            if not left[row]:
                body += _store(p, row, len(block), started)
        body += "        }\n"
    names_of_sums = ", ".join(f"s{row}_{i}" for row, i in sorted(started))
    unused = "" if started else "        (void)from;\n"
    return unused + (f"        float {names_of_sums};\n" if started else "") + body


def _store(p: _Plan, row: int, count: int, started: set[tuple[int, int]]) -> str:
    return "".join(
        f"        to[{row * p.columns.results + i}] = {f's{row}_{i}' if (row, i) in started else '0.0f'};\n"
        for i in range(count)
    )


# weight gradient


def _weight_gradient(s: Conv2dSizes, plans: list[_Plan], tile_rows: int) -> str:
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
  image += (first_row * {h.advance} - low) * {w.extent};
  for (int32_t channel = pulp_chunk(core, PULP_CORES, channels); channel < last; ++channel) {{
    const float *window = image + channel * plane_size, *from = operand + channel * {tile_rows * w.results};
    float *to = result + channel * {s.taps};
{calls}
  }}
}}
"""


def _sums_function(name: str, p: _Plan) -> str:
    """Return C for the sums of some lines of taps of a channel."""
    h, w = p.rows, p.columns
    sums = [i * p.row_taps + j for i in p.taken for j in range(p.row_taps)]
    pointers = (("from", "in", w.advance, w.unit), ("with", "g", 1, 1))
    body = _row_runs(p, pointers, (h.advance * w.extent, w.results), ("in", "g"))
    stores = "".join(f"  result[{t}] = accumulate ? result[{t}] + s{t} : s{t};\n" for t in sums)
    return f"""\
static void __attribute__((noinline)) {name}(
    const float *restrict image, const float *restrict gradient, float *restrict result, int32_t images,
    int32_t rows, int32_t first_row, int32_t image_size, int32_t gradient_size, int32_t accumulate) {{
  float {", ".join(f"s{t} = 0.0f" for t in sums)};
  for (int32_t n = 0; n < images; ++n, image += image_size, gradient += gradient_size) {{
    const float *in = image, *g = gradient;
    int32_t y = first_row;
    const int32_t end = first_row + rows;
{textwrap.indent(body, "  ")}  }}
{stores}}}"""


def _sum_block(p: _Plan, lines: tuple[Reads, ...], block: tuple[Reads, ...]) -> str:
    """Return C that adds the products of a block of the output's gradient and what its windows read."""
    text, loaded = "", set()
    places = [i for i, reads in enumerate(block) if reads]
    for line, uses in _by_line(p, lines).items():
        if not places:
            break
        for row, _ in uses:
            if row not in loaded:
                loaded.add(row)
                values = ", ".join(f"g{row}_{i} = with[{row * p.columns.results + i}]" for i in places)
                text += f"        const float {values};\n"
        loads, names = _values(line, block, p.columns.extent)
        text += f"        {{\n{loads}"
        for row, tap in uses:
            for i, place, column in _products(block):
                number = tap * p.row_taps + column
                text += f"        s{number} = s{number} + g{row}_{i} * {names[place]};\n"
        text += "        }\n"
    return text
