"""What a block of a depthwise convolution computes: the values it reads, and the products with them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from tvm_pulp.schedules.microkernels.product_order import Product, Value
from tvm_pulp.schedules.microkernels.reads import Reads
from tvm_pulp.schedules.microkernels.straight_line import Block

if TYPE_CHECKING:
    from tvm_pulp.schedules.microkernels.depthwise_plan import DepthwisePlan


@dataclass(frozen=True)
class Use:
    """A place of the source, the products it takes part in as (row, column, tap), and where it stays.

    See `Value` for ``register`` and ``is_held``.
    """

    place: int
    products: tuple[tuple[int, int, int], ...]
    register: str = ""
    is_held: bool = False
    is_outside: bool = False


def uses_of(
    p: DepthwisePlan,
    lines: tuple[Reads, ...],
    block: tuple[Reads, ...],
    registers: int,
    outside: frozenset[int],
) -> list[Use]:
    """Return the places that a block reads, line by line, each once.

    Up to ``registers`` of them, which the block before has read as well, come first. Of three lines in a row,
    each the next block's one before, the first one stays, and the second one takes its registers. Lines
    ``outside`` of the image at the edge are the first ones to stay.
    """
    across, down = users(block), users(lines)
    uses = {
        (line, place): Use(
            line * p.columns.extent + place,
            tuple((row, i, tap * p.row_taps + column) for row, tap in rows for i, column in results),
        )
        for line, rows in down.items()
        for place, results in across.items()
    }
    stays: dict[int, int] = {}  # line that the block before has read, too → line that takes its registers
    for line in sorted(down, key=lambda line: (line not in outside, -line if p.upward else line)):
        following = line + p.step
        if line not in stays.values() and following in down:
            stays[line] = following
    pairs = [((line, place), (stays[line], place)) for line in stays for place in across]
    for number, (held, next_held) in enumerate(pairs[:registers]):
        is_outside = held[0] in outside
        uses[held] = replace(uses[held], register=f"c{number}", is_held=True, is_outside=is_outside)
        uses[next_held] = replace(uses[next_held], register=f"c{number}")
    return sorted(uses.values(), key=lambda use: not use.is_held)


def users(reads: Sequence[Iterable[tuple[int, int]]]) -> dict[int, list[tuple[int, int]]]:
    """Return for each place along an axis, in order, the results and taps that it takes part in."""
    found: dict[int, list[tuple[int, int]]] = {}
    for result, pairs in enumerate(reads):
        for place, tap in pairs:
            found.setdefault(place, []).append((result, tap))
    return dict(sorted(found.items()))


def result_block(p: DepthwisePlan, uses: list[Use], shape: tuple[int, int]) -> Block:
    """Return the code for a block of results: each value of the source is loaded once.

    Rows of taps that are taken after others add to the results that are there.
    """
    w, adds = p.columns, p.taken[0] > 0
    left = Counter((row, i) for use in uses for row, i, _ in use.products)
    if not adds:
        uses = _early_sums_first(uses, left)
    points = [(row, i) for row in range(shape[0]) for i in range(shape[1])]
    zeros = [] if adds else [row * w.results + i for row, i in points if not left[row, i]]
    started: set[tuple[int, int]] = set()
    values = []
    for use in uses:
        value = _value(use)
        for row, i, tap in use.products:
            name, at = f"s{row}_{i}", row * w.results + i
            is_first = (row, i) not in started
            if is_first and adds:
                value.factors.append((name, at))
            value.products.append(Product(name, f"k{tap}", is_first and not adds))
            started.add((row, i))
            left[row, i] -= 1
            if not left[row, i]:
                value.stores.append((name, at))
        values.append(value)
    kept = sorted({product.factor for value in values for product in value.products}, key=_number)
    steps = {"from": p.step * w.extent, "to": (-1 if p.upward else 1) * p.rows.unit * w.results}
    if adds:
        steps["with"] = steps["to"]
    if not values:
        steps = {"to": steps["to"]} if zeros else {}
    return Block(values, kept, False, [f"s{row}_{i}" for row, i in sorted(started)], zeros, steps)


def _value(use: Use) -> Value:
    return Value(use.place, register=use.register, is_held=use.is_held, is_outside=use.is_outside)


def _early_sums_first(uses: list[Use], products: Counter[tuple[int, int]]) -> list[Use]:
    """Take first what completes sums of held values only: their stores are spread over the other products."""
    held = [use for use in uses if use.is_held]
    of_held = Counter((row, i) for use in held for row, i, _ in use.products)
    early = {result for result, number in of_held.items() if number == products[result]}
    parts = [
        replace(use, products=tuple(p for p in use.products if (p[:2] in early) == is_early))
        for is_early in (True, False)
        for use in held
    ]
    return [*(part for part in parts if part.products), *(use for use in uses if not use.is_held)]


def _number(name: str) -> int:
    return int(name[1:])


def sum_block(p: DepthwisePlan, uses: list[Use]) -> Block:
    """Return the code that adds the products of a block of the output's gradient and its windows."""
    w = p.columns
    loaded: set[tuple[int, int]] = set()
    values = []
    for use in uses:
        value = _value(use)
        for row, i, tap in use.products:
            factor = f"g{row}_{i}"
            if (row, i) not in loaded:
                loaded.add((row, i))
                value.factors.append((factor, row * w.results + i))
            value.products.append(Product(f"s{tap}", factor))
        values.append(value)
    kept = sorted({product.target for value in values for product in value.products}, key=_number)
    steps = {"from": p.step * w.extent, "with": p.rows.unit * w.results}
    return Block(
        values, kept, True, [f"g{row}_{i}" for row, i in sorted(loaded)], [], steps if values else {}
    )
