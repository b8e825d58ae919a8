"""Blocks of depthwise convolutions: the choice of the one that is fastest (see also `depthwise_blocks`).

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
from tvm_pulp.schedules.microkernels.depthwise_blocks import result_block, sum_block, users, uses_of
from tvm_pulp.schedules.microkernels.depthwise_running import (
    RunningRows,
    running_block,
    running_rows,
)
from tvm_pulp.schedules.microkernels.fpu import cycles_with_shared_fpu
from tvm_pulp.schedules.microkernels.reads import ReadAxis, Reads, runs, strips
from tvm_pulp.schedules.microkernels.straight_line import Block

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
_IN_STEP, _HELD_IN_STEP, _SUMS_IN_STEP = 3.0, 0.2, 0.6
"""Cycles in which two workers that share an FPU both leave it idle, at the ends of a block; the same where
values stay in registers from block to block, of blocks of results and of the weight gradient."""
_HELD_BLOCKS = 4
"""Blocks of a walk from which on values stay in registers: the first ones are loaded before it."""
_LARGEST_WHOLE = 400
"""Results of a channel up to which walks may take whole channels: enough of them fit L1."""
_VALUES_A_PART = 1024
"""Values of a channel that are worked on in one go: more are not in one tile, or several workers'."""
_FEW_WALKS = 3
"""Walks a channel up to which one more is faster than a longer one of results that starts with zeros."""
_C_LOOP, _NEXT_STRIP, _STRIP_CYCLES, _CHANNEL_CYCLES = 5.0, 4.0, 8.0, 60.0
"""Cycles beside straight-line code: of a loop in C, of a strip, of the first one of a kind, of a channel."""


@dataclass(frozen=True)
class DepthwisePlan:
    """A depthwise step and its blocks of a unit of rows times ``strip`` columns.

    Where ``merged``, the unit at the edge where walks start (the bottom one if they go ``upward``) has the
    code of its neighbour: what it reads beyond the edge are zeros in registers, not in memory. With
    ``running`` a walk takes whole channels, see `depthwise_running`.
    """

    rows: ReadAxis
    columns: ReadAxis
    taken: tuple[int, ...]
    sums: bool
    assembly: bool
    strip: int = 1
    upward: bool = False
    merged: bool = False
    running: RunningRows | None = None

    @property
    def row_unit(self) -> int:
        """Of how many rows the number of a share's rows is a multiple; a channel ends with what is left."""
        return self.rows.results if self.running else self.rows.unit

    @property
    def row_taps(self) -> int:
        """Number of taps of a row."""
        return self.columns.window.taps

    def row_runs(self) -> list[tuple[int, int]]:
        """Return start and end of runs of row units that are alike."""
        h = self.rows
        if self.running:
            return [(0, self.running.steps)]

        def signature(unit: int) -> object:
            return [
                [read for read in reads if read[1] in self.taken] for reads in h.block(unit * h.unit, h.unit)
            ]

        units = list(range(self.units))
        found = [(begin, end) for begin, end, _ in runs(units, signature)]
        if self.merged and self.upward:
            found[-2:] = [(found[-2][0], found[-1][1])]
        elif self.merged:
            found[:2] = [(found[0][0], found[1][1])]
        return found

    @property
    def units(self) -> int:
        """Number of row units."""
        return ceil_div(self.rows.results, self.rows.unit)

    @property
    def step(self) -> int:
        """Distance in the source's lines from a block of a walk to the next."""
        return -self.rows.advance if self.upward else self.rows.advance

    def lines(self, unit: int) -> tuple[Reads, ...]:
        """Return the lines that the rows of a unit read with the taps that are taken."""
        rows = self.rows.block(unit * self.rows.unit, self.rows.unit)
        return tuple(tuple(read for read in reads if read[1] in self.taken) for reads in rows)

    def is_edge(self, run: tuple[int, int]) -> bool:
        """Tell whether a run holds a unit at the edge with the code of its neighbours."""
        return self.merged and (run[1] == self.units if self.upward else run[0] == 0)

    def outside(self, run: tuple[int, int]) -> frozenset[int]:
        """Return the lines of a run's blocks that lie outside of the image for the unit at the edge."""
        if not self.is_edge(run):
            return frozenset()
        edge, neighbour = (run[1] - 1, run[1] - 2) if self.upward else (run[0], run[0] + 1)
        inside, needed = ({line for reads in self.lines(u) for line, _ in reads} for u in (edge, neighbour))
        return frozenset(needed - inside)

    def strips(self) -> list[tuple[int, int, int]]:
        """Return runs of strips that are alike: first column, columns of a strip, number of strips."""
        return strips(self.columns, self.strip)

    @property
    def _repeats(self) -> bool:
        """Whether there are several strips, which pointers go back for."""
        return self.strip < self.columns.results

    def block(self, run: tuple[int, int], first: int, count: int, alike: int) -> Block:
        """Return the code for a unit of a run of them and ``alike`` strips of ``count`` columns."""
        begin, end = run
        if self.running:
            block = running_block(self, self.running, self.columns.block(first, count), self._repeats)
            assert block is not None
            return block
        lines = self.lines(begin + 1 if self.is_edge(run) and not self.upward else begin)
        columns = self.columns.block(first, count)

        def write(registers: int) -> Block:
            uses = uses_of(self, lines, columns, registers, self.outside(run))
            found = sum_block(self, uses) if self.sums else result_block(self, uses, (len(lines), count))
            return replace(found, repeats=self._repeats)

        block = write(0)
        few = end - begin < _HELD_BLOCKS and not self.is_edge(run)
        if few or not self.assembly or not block.has_assembly:
            return block
        with_all = write(_REGISTERS)
        return with_all if with_all.has_assembly else write(block.free_registers)


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
        if taken == every and assembly:
            candidates += [
                merged
                for p in candidates
                for merged in (replace(p, merged=True), replace(p, merged=True, upward=True))
                if _may_merge(merged)
            ]
            candidates += _running_plans(
                s, DepthwisePlan(ReadAxis(s.height, gradient), columns, taken, sums, True)
            )
        found.append(min(candidates, key=_cost))
    if len({p.rows.group for p in found}) > 1:
        found = [replace(p, rows=replace(p.rows, group=1)) for p in found]
    return found


def _running_plans(s: Conv2dSizes, p: DepthwisePlan) -> list[DepthwisePlan]:
    """Return plans whose sums stay in registers."""
    rows = None if p.sums else running_rows(p.rows)
    if rows is None or p.rows.results * p.columns.results > _LARGEST_WHOLE:
        return []
    found = []
    for strip in range(p.columns.unit, p.columns.results + p.columns.unit, p.columns.unit):
        plan = replace(p, strip=strip, running=rows)
        blocks = [
            running_block(plan, rows, p.columns.block(first, count), plan._repeats)
            for first, count, alike in plan.strips()
        ]
        if all(block is not None and block.has_assembly for block in blocks):
            found.append(plan)
    return found


def _may_merge(p: DepthwisePlan) -> bool:
    """Tell whether the unit at the edge reads what its neighbour does, but for values that stay."""
    if p.upward and (p.sums or p.rows.results % p.rows.unit):
        return False
    plain = replace(p, merged=False).row_runs()
    run = plain[-1] if p.upward else plain[0]
    if len(plain) < 2 or run[1] - run[0] > 1:
        return False
    edge, neighbour = (run[0], run[0] - 1) if p.upward else (run[0], run[0] + 1)
    ours, theirs = p.lines(edge), p.lines(neighbour)
    if len(ours) != len(theirs) or any(not set(a) <= set(b) for a, b in zip(ours, theirs, strict=True)):
        return False
    merged = p.row_runs()[-1 if p.upward else 0]
    walks = len(plain) * len(p.strips())
    if merged[1] - merged[0] < _HELD_BLOCKS and (p.sums or walks <= _FEW_WALKS):
        return False
    outside = p.outside(merged)
    for first, count, alike in p.strips():
        block = p.block(merged, first, count, alike)
        places = len(users(p.columns.block(first, count)))
        if not block.has_assembly or len(block.outside) < len(outside) * places:
            return False
    return True


def _passes(s: Conv2dSizes, every: tuple[int, ...]) -> list[tuple[int, ...]]:
    """Return the rows of taps that are taken at a time, where there are too many for registers."""
    if s.taps <= _MOST_KEPT:
        return [every]
    at_once = 1 if s.kind == WEIGHT_GRADIENT else max(1, _MOST_KEPT // s.width.taps)
    return [every[first : first + at_once] for first in range(0, len(every), at_once)]


def _cost(p: DepthwisePlan) -> float:
    """Return about how many cycles workers take for one channel of an image; a large one in several parts."""
    values = (p.rows.results + p.rows.extent) * (p.columns.results + p.columns.extent) / 2
    start, work = plane_parts(p)
    return max(1.0, values / _VALUES_A_PART) * start + work


@lru_cache(maxsize=1024)
def plane_parts(p: DepthwisePlan) -> tuple[float, float]:
    """Return the cycles that a worker takes to start with a channel of an image, and for all its rows."""
    start, work, instructions = _CHANNEL_CYCLES, 0.0, 0.0
    for begin, end in p.row_runs():
        for first, count, alike in p.strips():
            block = p.block((begin, end), first, count, alike)
            cycles, length = _block_cycles(p, block)
            first_loads = block.before
            start += alike * (first_loads + _NEXT_STRIP) + _STRIP_CYCLES
            work += alike * (end - begin) * cycles
            instructions += length + block.before
    fetch = _FIRST_FETCH if 4 * instructions <= _SHARED_BYTES else _MISS
    return start + max(0.0, instructions - _STAY) * fetch, work


def _block_cycles(p: DepthwisePlan, block: Block) -> tuple[float, float]:
    """Return the cycles and the instructions of a block."""
    instructions = float(block.instructions)
    if p.assembly and block.has_assembly:  # products alternate with accesses
        held_in_step = _SUMS_IN_STEP if p.sums else _HELD_IN_STEP
        cycles = max(2.0 * block.products, instructions) + (held_in_step if block.held else _IN_STEP)
    else:
        live = len(block.kept) + len(block.temporaries) + 8  # the compiler loads early
        instructions += len(block.steps) + _C_LOOP + 2 * max(0, live - _REGISTERS)
        cycles = cycles_with_shared_fpu(instructions, block.products)
    sizes, extra = zip(*_LOOP_FETCH, strict=True)
    return cycles + instructions * float(np.interp(4 * instructions, sizes, extra)), instructions
