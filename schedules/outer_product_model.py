"""Tiles of an outer product whose pace the DMA sets, the weight gradient of a linear layer of one sample.

Two vectors come and a matrix leaves. What counts is when the first of its tiles leaves, and that another one
waits whenever the DMA has moved one: tiles are small, and core 0 sees to the DMA alone.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

from tvm_pulp.schedules.dma_cycles import DMA_BYTES_A_CYCLE, dma_cycles
from tvm_pulp.schedules.matmul_workload import Blocking, MatmulSizes
from tvm_pulp.schedules.microkernels.outer_product import share_out

# Cycles measured on the simulator, of the generated code as it is.
_BEFORE = 70.0
"""Before the work on the first tile, beside its load."""
_AFTER = 50.0
"""From the end of the last store: core 0 wakes up, all leave."""
_CYCLES_A_TILE = 35.0
"""Of a worker beside its products: a barrier, the call."""
_CYCLES_OF_THREE = 15.0
"""More where three copies are told apart."""
_CYCLES_OF_A_START = 20.0
"""From the barrier to the start of a store."""
_CYCLES_A_LOAD = 100.0
"""From the barrier to a load's end, beside its bytes."""


def overlaps(w: MatmulSizes, b: Blocking, cores: int) -> bool:
    """Tell whether core 0 sees to the transfers while the others work: there are several tiles, and workers.

    A tile's results leave during the work on the next two, so that there must be three copies of them.
    """
    return b.is_outer_product(w) and math.prod(b.counts(w).values()) > 1 and cores > 1 and b.copies > 2


def workers_of(w: MatmulSizes, b: Blocking, cores: int) -> int:
    """Return how many workers share a tile's products."""
    return cores - 1 if overlaps(w, b, cores) else cores


def estimate_outer_product_cycles(
    w: MatmulSizes, b: Blocking, cores: int, tiles: Iterable[tuple[int, int, int, int, int]]
) -> float:
    """Estimate the cycles of a call: all stores, or the work, and what comes before the first and after them.

    Parameters
    ----------
    w, b, cores
        Sizes, blocking, number of workers.
    tiles
        Sizes (m, n, k, images) that tiles have, and how many have them.
    """
    workers, beside = workers_of(w, b, cores), overlaps(w, b, cores)
    units = share_out(b.tile_m, b.tile_n, workers)
    around = _CYCLES_A_TILE + _CYCLES_OF_THREE * (b.copies == 3)
    first = around + units.cycles(b.tile_m, b.tile_n, workers)
    start = _BEFORE + _load_cycles(b.tile_m, b.tile_n) + first + _CYCLES_OF_A_START
    works, stores, steps = 0.0, 0.0, 0.0
    for m, n, _, _, count in tiles:
        work, store = around + units.cycles(m, n, workers), _store_cycles(w, m, n)
        work = max(work, _CYCLES_A_LOAD + _load_cycles(m, n))
        if not beside:  # the stores start and stop with the tiles
            store += _CYCLES_A_LOAD
        works, stores, steps = works + count * work, stores + count * store, steps + count * max(work, store)
    if sum(count > 1 for count in b.counts(w).values()) == 1:  # only the last tile is smaller
        steps = max(works, stores)
    return start + steps + _AFTER


def _load_cycles(m: int, n: int) -> float:
    return 4 * (m + n) / DMA_BYTES_A_CYCLE


def _store_cycles(w: MatmulSizes, m: int, n: int) -> float:
    """Return the cycles of storing a tile of C."""
    return dma_cycles(4 * m * n, 4 * (m * n if n == w.n else n))
