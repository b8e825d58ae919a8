"""Estimate of the cycles of the product of a vector and a matrix: a linear layer of one sample.

The DMA sets the pace, as each value that it moves takes part in one product. What counts is how long the DMA
stands still: before the first tile is there, after the last one, and while tiles take longer than their
transfers.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

from tvm_pulp.schedules.dialect import ceil_div
from tvm_pulp.schedules.dma_cycles import DMA_BYTES_A_CYCLE, dma_cycles
from tvm_pulp.schedules.matmul_workload import Blocking, MatmulSizes

# Cycles measured on the simulator, of the generated code as it is.
_BEFORE = 90.0
"""Before the first transfer."""
_AFTER = 110.0
"""From the end of the last load or store: core 0 wakes up, all leave."""
_CYCLES_A_TILE = 40.0
"""Of a worker beside its products: a barrier, the call."""
_CYCLES_OF_CORE_0 = 22.0
"""More of the worker that waits for the DMA."""
_CYCLES_A_TRANSFER = 30.0
"""Of starting one."""
_CYCLES_OF_LOOKING = 25.0
"""More of a tile where only some tiles load an operand, or store."""
_CYCLES_IN_PARTS = 20.0
"""More of a tile where a sum runs over several."""
_CYCLES_OF_THREE = 15.0
"""More of a tile where three copies are told apart."""
_CYCLES_UNEVEN = 50.0
"""Of a tile where not all have the same columns, or steps."""
_CYCLES_A_GAP = 110.0
"""From the end of a load to the start of the next where none is queued."""
_CYCLES_A_PANEL = 14.0
_CYCLES_A_COLUMN = 2.0
"""Of a panel, beside its steps."""
_FREE_COLUMNS = 8
"""Columns whose sums are in registers that need not be saved."""
_CYCLES_OF_SHARING = 20.0
"""Of a tile whose sums several workers share."""
_CYCLES_OF_SUMS = 70.0
"""Of a barrier and adding partial sums up, beside the additions."""
_CYCLES_A_SUM = 30.0
"""Of adding up the partial sums of a result."""


def estimate_vector_cycles(
    w: MatmulSizes, b: Blocking, cores: int, tiles: Iterable[tuple[int, int, int, int, int]]
) -> float:
    """Estimate the cycles of a call: work and DMA of each tile side by side, plus what cannot overlap.

    Parameters
    ----------
    w, b, cores
        Sizes, blocking, number of workers.
    tiles
        Sizes (m, n, k, images) that tiles have, and how many have them.
    """
    total = math.prod(b.counts(w).values())
    periods = b.periods(w)
    sizes = b.tile_bytes(w)
    loads = [total / period for period in periods[:2]]
    stores = total / periods[2] if periods[2] < total else 0.0
    dma_in = sum(count * size for count, size in zip(loads, sizes[:2], strict=True)) / DMA_BYTES_A_CYCLE
    store = _store_cycles(w, b, sizes[2])
    dma_out = total / periods[2] * store
    if b.copies == 2:
        dma_in += _CYCLES_A_GAP * (max(loads) - 1)
        dma_out += _CYCLES_A_GAP * (total / periods[2] - 1)
    transfers = (sum(count for count in loads if count > 1) + stores) / total
    looks = any(1 < count < total for count in (*loads, stores))
    core_0 = _CYCLES_OF_CORE_0 + _CYCLES_A_TRANSFER * transfers
    core_0 += _CYCLES_OF_LOOKING * looks + _CYCLES_OF_THREE * (b.copies == 3)
    around = _CYCLES_UNEVEN * ((w.n % b.tile_n > 0) + (w.k % b.tile_k > 0))
    around += _CYCLES_IN_PARTS * (b.reduction_tiles(w) > 1)
    compute, after = total * around, 0.0
    for m, n, k, _, count in tiles:
        first, others = _work(w, b, (m, n, k), cores)
        compute += count * (_CYCLES_A_TILE + max(first + core_0, others))
    if b.split_k > 1:
        results = 1 if b.whole(w)[2] else total // b.reduction_tiles(w)
        after = _CYCLES_OF_SUMS + _CYCLES_A_SUM * ceil_div(w.n // results, cores)
        compute += total * _CYCLES_OF_SHARING + (results - 1) * after
    start = sum(sizes[:2]) / DMA_BYTES_A_CYCLE
    one = compute / total
    slowest = max(start + compute + store, dma_in + one + store, start + one + dma_out)
    return _BEFORE + slowest + after + _AFTER


def _store_cycles(w: MatmulSizes, b: Blocking, size: int) -> float:
    """Return the cycles of storing a tile of C."""
    whole = b.whole(w)[2] or b.tile_n == w.n
    line = size if whole else b.item * b.tile_n
    return dma_cycles(size, line)


def _work(w: MatmulSizes, b: Blocking, tile: tuple[int, int, int], cores: int) -> tuple[float, float]:
    """Return the cycles of a tile's products of core 0, which has the smallest share, and of the others."""
    _, n, k = tile
    groups = cores // b.split_k
    blocks = ceil_div(n, b.block_columns)
    steps = ceil_div(k, b.split_k)
    most, least = ceil_div(blocks, groups), blocks // groups
    relief = b.relief(w, cores)

    def panel(columns: int, steps: int) -> float:
        saved = 2 * max(0, columns - _FREE_COLUMNS) + 2 * (columns > _FREE_COLUMNS)
        return steps * (2 * columns + 1) + _CYCLES_A_COLUMN * columns + _CYCLES_A_PANEL + saved

    rest = n % b.block_columns or b.block_columns
    others = most * panel(b.block_columns, steps)
    if b.split_k == 1:
        first = max(0, least - 1) * panel(b.block_columns, steps) + min(least, 1) * panel(rest, steps)
    else:
        first = others - most * relief * (2 * b.block_columns + 1)
    return first, others
