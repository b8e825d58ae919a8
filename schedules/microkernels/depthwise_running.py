"""Data gradients of depthwise convolutions without padding, summed up as the lines of the source come by.

Each line is read once: a step takes the next one and adds its products to all rows of results that it takes
part in. Rows that later lines take part in as well stay in registers. As there is no padding, all steps are
alike: the sums start with zeros, and the last rows of results are what is left of them after the last line.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tvm_pulp.schedules.microkernels.depthwise_blocks import users
from tvm_pulp.schedules.microkernels.product_order import Product, Value
from tvm_pulp.schedules.microkernels.reads import ReadAxis, Reads
from tvm_pulp.schedules.microkernels.straight_line import Block

if TYPE_CHECKING:
    from tvm_pulp.schedules.microkernels.depthwise_plan import DepthwisePlan

_LOADED_AHEAD = 2
"""Values that a step loads for the next one, which so starts with products."""


@dataclass(frozen=True)
class RunningRows:
    """Steps down a channel.

    Attributes
    ----------
    reads
        For each row of results that a step takes part in, the lines, counted from the step's first one, and
        their taps. The first ones, a unit of rows, are complete after the step; those after these stay.
    steps
        Number of steps.
    last
        Rows that are complete after the last step beside those of its unit.
    """

    reads: tuple[Reads, ...]
    steps: int
    last: int


def running_rows(rows: ReadAxis) -> RunningRows | None:
    """Return the steps down a channel; None where the edges would need other steps."""
    unit, lines = rows.unit, rows.advance
    reads: list[Reads] = []
    while (found := sorted(_lines(rows, len(reads)))) and found[0][0] < lines:
        reads.append(tuple(found))
    steps, rest = divmod(rows.extent, lines)
    last = rows.results - steps * unit
    if rest or not 0 < last <= len(reads) - unit:
        return None
    if max(line for row in reads[:unit] for line, _ in row) != lines - 1:
        return None
    return RunningRows(tuple(reads), steps, last)


def _lines(rows: ReadAxis, row: int) -> Reads:
    """Return the lines that a row reads, counted from its unit's first one, were there no edges."""
    a = rows.window
    if not rows.gradient:
        return tuple((row * a.stride - a.before + tap * a.dilation, tap) for tap in range(a.taps))
    places = ((row + a.before - tap * a.dilation, tap) for tap in range(a.taps))
    return tuple((place // a.stride, tap) for place, tap in places if place % a.stride == 0)


def running_block(
    p: DepthwisePlan, r: RunningRows, columns: tuple[Reads, ...], repeats: bool
) -> Block | None:
    """Return the code of a step for some columns of results; None where sums would not stay in time."""
    w, unit = p.columns, p.rows.unit
    staying = len(r.reads) - unit
    order = [
        (place, line, row, i, p.row_taps * tap + column)
        for place, results in users(columns).items()
        for line in range(p.rows.advance)
        for row, reads in enumerate(r.reads)
        for of, tap in reads
        if of == line
        for i, column in results
    ]
    left = Counter((row, i) for _, _, row, i, _ in order)
    complete: set[tuple[int, int]] = set()
    started = {(row, i) for row in range(staying) for i in range(len(columns))}
    values: dict[tuple[int, int], Value] = {}
    for place, line, row, i, tap in order:
        value = values.setdefault((place, line), Value(line * w.extent + place))
        name, is_first = _name(row, i, staying), (row, i) not in started
        started.add((row, i))
        left[row, i] -= 1
        target, source = name, ""
        if not left[row, i]:
            if row >= unit:  # takes the register of a sum that is complete
                if (row - unit, i) not in complete:
                    return None
                target, source = _name(row - unit, i, staying), "" if is_first else name
            else:
                value.stores.append((name, row * w.results + i))
            complete.add((row, i))
        value.products.append(Product(target, f"k{tap}", is_first, source, target != name))
    if len(complete) < len(r.reads) * len(columns):
        return None
    inside = list(values.values())
    for number, value in enumerate(inside[:_LOADED_AHEAD]):
        value.register, value.is_held = f"h{number}", True
        inside.append(Value(value.place + p.rows.advance * w.extent, register=f"h{number}"))
    weights = {product.factor for value in inside for product in value.products}
    return Block(
        inside,
        sorted(weights, key=lambda name: int(name[1:])),
        False,
        sorted({_name(row, i, staying) for row, i in started if row >= staying}),
        [],
        {"from": p.rows.advance * w.extent, "to": unit * w.results},
        repeats,
        [_name(row, i, staying) for row in range(staying) for i in range(len(columns))],
        {_name(row, i, staying): row * w.results + i for row in range(r.last) for i in range(len(columns))},
    )


def _name(row: int, i: int, staying: int) -> str:
    """Return the name of a sum: those that stay have the names of their registers."""
    return f"s{row}_{i}" if row < staying else f"t{row}_{i}"
