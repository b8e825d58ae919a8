"""Cycles of panels of packed dot products: of a register block, and of a tile that workers share."""

from __future__ import annotations

import itertools
from dataclasses import replace

from tvm_pulp.schedules.microkernels.dot_panel import DotDistances, Epilogue
from tvm_pulp.schedules.microkernels.dot_panel_results import ends_in_halves, keeps_multipliers
from tvm_pulp.schedules.microkernels.shared_columns import step_instructions

_CYCLES_A_BLOCK = 8.0
_CYCLES_A_SEGMENTED_BLOCK = 18.0
_CYCLES_A_TURN = 12.0
"""Of a sum, where it has several."""
_CACHE_LINES = 32
_CYCLES_A_MISSED_LINE = 3.5
_CYCLES_A_LONG_BLOCK = 8.0
_CYCLES_A_CALL = 75.0
_CYCLES_A_PANEL = 120.0
"""Of each region of a tile: its code is not in the instruction cache yet."""


def block_cycles(rows: int, columns: int, d: DotDistances, e: Epilogue) -> float:
    """Return the cycles of a register block: its steps, one an instruction, and its epilogue.

    A core's own instruction cache holds 32 lines of four instructions; of a longer block's some are always
    fetched anew.
    """
    results, step = rows * columns, rows * columns + rows + columns
    if d.taps > 1:
        step = step_instructions(rows, columns, d)
    peeled = e.halfword and d.segments == 1  # the bias comes behind the sum, which starts from products
    fixed = _CYCLES_A_SEGMENTED_BLOCK if d.segments > 1 else _CYCLES_A_BLOCK
    if e.requantize:
        fixed += columns * (2 - keeps_multipliers(rows, columns, d, e)) + (0 if peeled else results)
    halves = ends_in_halves(rows, columns, d, e)
    share = 0.5 if halves else 1.0  # of the results that there is code for
    code = step * (1 + peeled) + share * (results * (3 + (not peeled)) * e.requantize + 3 * rows) + fixed
    fixed += results * halves
    missed = code / 4 - _CACHE_LINES
    fixed += _CYCLES_A_MISSED_LINE * missed + _CYCLES_A_LONG_BLOCK if missed > 0 else 0
    turns = d.turns * (d.segments * (d.depth * step + 2) + _CYCLES_A_TURN * (d.turns > 1))
    return turns + fixed + results * (0.75 + e.cycles)


def tile_cycles(
    rows: int, columns: int, b: tuple[int, int], along_rows: bool, d: DotDistances, e: Epilogue, cores: int
) -> float:
    """Return the cycles of a tile of rows x columns results in blocks of size `b`: of the slowest worker.

    See ``microkernels.quantized_matmul`` for the regions of a tile. Every other one begins with the last
    worker, so that one with a block less in a region has one more in the next.
    """
    heights = [(b[0], rows // b[0]), (rows % b[0], 1 if rows % b[0] else 0)]
    widths = [(b[1], columns // b[1]), (columns % b[1], 1 if columns % b[1] else 0)]
    shares = [0.0] * cores
    d = replace(d, along_rows=along_rows)
    regions = [pair for pair in itertools.product(heights, widths) if pair[0][1] * pair[1][1]]
    for number, ((height, down), (width, across)) in enumerate(regions):
        inner = down if along_rows else across
        each, more = divmod(down * across, cores)
        one = block_cycles(height, width, d, e)
        for worker in range(cores):
            blocks = each + (worker < more)
            if not blocks:
                break
            start = worker * each + min(worker, more)
            calls = _runs(start, start + blocks, inner)
            place = cores - 1 - worker if number % 2 else worker
            shares[place] += blocks * one + calls * _CYCLES_A_CALL + _CYCLES_A_PANEL
    return max(shares)


def _runs(first: int, end: int, inner: int) -> int:
    """Return the calls for a run of blocks: whole lines of ``inner`` blocks take one together."""
    start, stop = -(-first // inner) * inner, end // inner * inner
    if start > stop:
        return 1
    return (first < start) + (start < stop) + (stop < end)
