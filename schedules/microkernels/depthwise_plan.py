"""Blocks of depthwise convolutions: what a block computes, and the choice of the one that is fastest.

A block is ``unit`` rows times ``strip`` columns of results (or, for the weight gradient, of the output's
gradient), in straight-line code. The block is what has the fewest cycles, as two workers share an FPU, code
that does not stay in a core's own instruction cache counted.
"""

from __future__ import annotations

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
_IN_STEP = 3.0
"""Cycles in which two workers that share an FPU both leave it idle, at the ends of a block."""
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

    def block(self, unit: int, first: int, count: int) -> Block:
        """Return the code for a unit of rows and ``count`` columns from ``first`` on."""
        lines = self.rows.block(unit * self.rows.unit, self.rows.unit)
        columns = self.columns.block(first, count)
        return _sum_block(self, lines, columns) if self.sums else _result_block(self, lines, columns)


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


@lru_cache(maxsize=1024)
def plane_cycles(p: DepthwisePlan) -> float:
    """Return about how many cycles a worker takes for one channel of an image."""
    work, instructions = _CHANNEL_CYCLES, 0.0
    for begin, end in p.row_runs():
        for first, count, alike in strips(p.columns, p.strip):
            block = p.block(begin, first, count)
            cycles, length = _block_cycles(p, block)
            work += alike * ((end - begin) * cycles + _NEXT_STRIP) + _STRIP_CYCLES
            instructions += length
    fetch = _FIRST_FETCH if 4 * instructions <= _SHARED_BYTES else _MISS
    return work + max(0.0, instructions - _STAY) * fetch


def _block_cycles(p: DepthwisePlan, block: Block) -> tuple[float, float]:
    """Return the cycles and the instructions of a block."""
    instructions = float(block.instructions)
    if p.assembly and block.has_assembly:  # products alternate with accesses
        cycles = max(2.0 * block.products, instructions) + _IN_STEP
    else:
        live = len(block.kept) + len(block.temporaries) + 8  # the compiler loads early
        instructions += len(block.steps) + _C_LOOP + 2 * max(0, live - _REGISTERS)
        cycles = cycles_with_shared_fpu(instructions, block.products)
    sizes, extra = zip(*_LOOP_FETCH, strict=True)
    return cycles + instructions * float(np.interp(4 * instructions, sizes, extra)), instructions


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
    """Return the code for a block of results: line by line of the source, each value loaded once.

    Rows of taps that are taken after others add to the results that are there.
    """
    w, adds = p.columns, p.taken[0] > 0
    left = {
        (row, i): sum(tap in p.taken for _, tap in down) * len(across)
        for row, down in enumerate(lines)
        for i, across in enumerate(block)
    }
    zeros = [row * w.results + i for (row, i), number in left.items() if not number and not adds]
    started: set[tuple[int, int]] = set()
    values = []
    for line, uses in _by_line(p, lines).items():
        for place, results in _by_place(block).items():
            value = Value(line * w.extent + place)
            for row, tap in uses:
                for i, column in results:
                    name, at = f"s{row}_{i}", row * w.results + i
                    is_first = (row, i) not in started
                    if is_first and adds:
                        value.factors.append((name, at))
                    factor = f"k{tap * p.row_taps + column}"
                    value.products.append(Product(name, factor, is_first and not adds))
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


def _number(name: str) -> int:
    return int(name[1:])


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
