"""Blocks of depthwise convolutions: what a block computes, and the choice of the one that is fastest.

A block is ``unit`` rows times ``strip`` columns of results (or, for the weight gradient, of the output's
gradient), in straight-line code. The block is what has the fewest cycles, as two workers share an FPU, code
that does not stay in a core's own instruction cache counted.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np

from tvm_pulp.schedules.conv2d_workload import DATA_GRADIENT, WEIGHT_GRADIENT, Conv2dSizes
from tvm_pulp.schedules.dialect import ceil_div
from tvm_pulp.schedules.microkernels.fpu import cycles_with_shared_fpu
from tvm_pulp.schedules.microkernels.reads import ReadAxis, Reads, runs, strips
from tvm_pulp.schedules.microkernels.straight_line import Block, Product, Value

_MOST_KEPT = 12
"""Weights, or sums of the weight gradient, that are kept in registers at a time."""
_REGISTERS = 26
"""Registers that the compiler has for values."""
_LOOP_FETCH = ((320.0, 0.0), (384.0, 0.04), (512.0, 0.15), (640.0, 0.25), (1024.0, 0.43), (2048.0, 0.5))
"""Cycles an instruction takes longer in loops of so many bytes: a core's own cache holds 512."""
_STAY = 46
"""Instructions that are still in a core's own cache when they are needed again."""
_FIRST_FETCH, _MISS = 1.05, 5.0
"""Cycles that the others take longer the first time: from the cache that all workers share, or from L2."""
_SHARED_BYTES = 3000
"""Code that stays in the shared cache of 4 KiB beside the rest of the kernel."""
_IN_STEP, _HELD_IN_STEP = 3.0, 1.5
"""Cycles in which two workers that share an FPU both leave it idle, at the ends of a block; the same where
values stay in registers from block to block."""
_HELD_BLOCKS = 4
"""Blocks of a walk from which on values stay in registers: the first ones are loaded before it."""
_C_LOOP, _NEXT_STRIP, _STRIP_CYCLES, _CHANNEL_CYCLES = 5.0, 4.0, 8.0, 60.0
"""Cycles beside straight-line code: of a loop in C, of a strip, of the first one of a kind, of a channel."""


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

    def block(self, run: tuple[int, int], first: int, count: int) -> Block:
        """Return the code for a unit of a run of them and ``count`` columns from ``first`` on."""
        begin, end = run
        lines = self.rows.block(begin * self.rows.unit, self.rows.unit)
        columns = self.columns.block(first, count)

        def write(registers: int) -> Block:
            uses = _uses(self, lines, columns, registers)
            return _sum_block(self, uses) if self.sums else _result_block(self, uses, (len(lines), count))

        block = write(0)
        if end - begin < _HELD_BLOCKS or not self.assembly or not block.has_assembly:
            return block
        return write(block.free_registers)


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
    for taken in _passes(s, every):
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


def _passes(s: Conv2dSizes, every: tuple[int, ...]) -> list[tuple[int, ...]]:
    """Return the rows of taps that are taken at a time, where there are too many for registers."""
    if s.taps <= _MOST_KEPT:
        return [every]
    at_once = 1 if s.kind == WEIGHT_GRADIENT else max(1, _MOST_KEPT // s.width.taps)
    return [every[first : first + at_once] for first in range(0, len(every), at_once)]


def plane_cycles(p: DepthwisePlan) -> float:
    """Return about how many cycles a worker takes for one channel of an image."""
    return sum(plane_parts(p))


@lru_cache(maxsize=1024)
def plane_parts(p: DepthwisePlan) -> tuple[float, float]:
    """Return the cycles that a worker takes to start with a channel of an image, and for all its rows."""
    start, work, instructions = _CHANNEL_CYCLES, 0.0, 0.0
    for begin, end in p.row_runs():
        for first, count, alike in strips(p.columns, p.strip):
            block = p.block((begin, end), first, count)
            cycles, length = _block_cycles(p, block)
            start += alike * (len(block.held) + _NEXT_STRIP) + _STRIP_CYCLES
            work += alike * (end - begin) * cycles
            instructions += length + len(block.held)
    fetch = _FIRST_FETCH if 4 * instructions <= _SHARED_BYTES else _MISS
    return start + max(0.0, instructions - _STAY) * fetch, work


def _block_cycles(p: DepthwisePlan, block: Block) -> tuple[float, float]:
    """Return the cycles and the instructions of a block."""
    instructions = float(block.instructions)
    if p.assembly and block.has_assembly:  # products alternate with accesses
        cycles = max(2.0 * block.products, instructions) + (_HELD_IN_STEP if block.held else _IN_STEP)
    else:
        live = len(block.kept) + len(block.temporaries) + 8  # the compiler loads early
        instructions += len(block.steps) + _C_LOOP + 2 * max(0, live - _REGISTERS)
        cycles = cycles_with_shared_fpu(instructions, block.products)
    sizes, extra = zip(*_LOOP_FETCH, strict=True)
    return cycles + instructions * float(np.interp(4 * instructions, sizes, extra)), instructions


@dataclass(frozen=True)
class _Use:
    """A place of the source, the products it takes part in as (row, column, tap), and where it stays.

    See `Value` for ``register`` and ``is_held``.
    """

    place: int
    products: tuple[tuple[int, int, int], ...]
    register: str = ""
    is_held: bool = False


def _uses(p: DepthwisePlan, lines: tuple[Reads, ...], block: tuple[Reads, ...], registers: int) -> list[_Use]:
    """Return the places that a block reads, line by line, each once.

    Up to ``registers`` of them, which the block before has read as well, come first. Of three lines in a row,
    each the next block's one before, the first one stays, and the second one takes its registers.
    """
    across = _users(block)
    down = _users([[read for read in reads if read[1] in p.taken] for reads in lines])
    uses = {
        (line, place): _Use(
            line * p.columns.extent + place,
            tuple((row, i, tap * p.row_taps + column) for row, tap in rows for i, column in results),
        )
        for line, rows in down.items()
        for place, results in across.items()
    }
    stays: dict[int, int] = {}  # line that the block before has read, too → line that takes its registers
    for line in down:
        following = line + p.rows.advance
        if line not in stays.values() and following in down:
            stays[line] = following
    pairs = [((line, place), (stays[line], place)) for line in stays for place in across]
    for number, (held, next_held) in enumerate(pairs[:registers]):
        uses[held] = replace(uses[held], register=f"c{number}", is_held=True)
        uses[next_held] = replace(uses[next_held], register=f"c{number}")
    return sorted(uses.values(), key=lambda use: not use.is_held)


def _users(reads: Sequence[Iterable[tuple[int, int]]]) -> dict[int, list[tuple[int, int]]]:
    """Return for each place along an axis, in order, the results and taps that it takes part in."""
    found: dict[int, list[tuple[int, int]]] = {}
    for result, pairs in enumerate(reads):
        for place, tap in pairs:
            found.setdefault(place, []).append((result, tap))
    return dict(sorted(found.items()))


def _result_block(p: DepthwisePlan, uses: list[_Use], shape: tuple[int, int]) -> Block:
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
        value = Value(use.place, register=use.register, is_held=use.is_held)
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
    steps = {"from": p.rows.advance * w.extent, "to": p.rows.unit * w.results}
    if adds:
        steps["with"] = steps["to"]
    if not values:
        steps = {"to": steps["to"]} if zeros else {}
    return Block(values, kept, False, [f"s{row}_{i}" for row, i in sorted(started)], zeros, steps)


def _early_sums_first(uses: list[_Use], products: Counter[tuple[int, int]]) -> list[_Use]:
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


def _sum_block(p: DepthwisePlan, uses: list[_Use]) -> Block:
    """Return the code that adds the products of a block of the output's gradient and its windows."""
    w = p.columns
    loaded: set[tuple[int, int]] = set()
    values = []
    for use in uses:
        value = Value(use.place, register=use.register, is_held=use.is_held)
        for row, i, tap in use.products:
            factor = f"g{row}_{i}"
            if (row, i) not in loaded:
                loaded.add((row, i))
                value.factors.append((factor, row * w.results + i))
            value.products.append(Product(f"s{tap}", factor))
        values.append(value)
    kept = sorted({product.target for value in values for product in value.products}, key=_number)
    steps = {"from": p.rows.advance * w.extent, "with": p.rows.unit * w.results}
    return Block(
        values, kept, True, [f"g{row}_{i}" for row, i in sorted(loaded)], [], steps if values else {}
    )
