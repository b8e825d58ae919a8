"""Estimate of a matrix multiplication's cycles, and the search for the tile sizes with the lowest."""

from __future__ import annotations

import heapq
import itertools
import math
from dataclasses import replace
from functools import lru_cache

from tvm_pulp.schedules.dialect import ceil_div
from tvm_pulp.schedules.matmul_workload import LOOP_ORDERS, Blocking, MatmulSizes
from tvm_pulp.schedules.microkernels.outer_product import GROUP, cycles_of_group, row_parts
from tvm_pulp.schedules.microkernels.panel import LONGEST_ROW

# Cycles measured on the simulator, of the generated code as it is.
_START = 70.0
"""Before the first transfer."""
_CYCLES_A_TILE = 170.0
"""Of core 0 beside its work: waiting, a barrier, starting the next load."""
_CYCLES_IN_LINES = 30.0
"""More where a tile is not one run of memory."""
_CYCLES_A_STORE = 60.0
"""More where a tile's results leave with it."""
_CYCLES_A_GAP = 110.0
"""From the end of a load to the start of the next where none is queued."""
_CYCLES_A_SUM = 90.0
"""Of a barrier and adding partial sums up, beside the additions."""
_CYCLES_A_PANEL = 55.0
_CYCLES_A_BLOCK = 26.0
_CYCLES_A_RESULT = 1.6
"""Of a block, beside its steps: each result is stored, and its sum started."""
_CYCLES_A_SEGMENT = 14.0
_DMA_BYTES_A_CYCLE = 8.0
_BURST_BYTES = 256
_CYCLES_A_BURST = 1.0
_OWN_CACHE = 128
"""Instructions that stay in a core's own instruction cache."""
LARGEST_BLOCK = 16
"""Sums that a register block holds."""
_KEPT = 12
"""Tile sizes for which other register blocks are tried."""


def tile_sizes(extent: int, multiple: int) -> list[int]:
    """Return sizes that split an axis evenly, rounded up to a multiple where a tile is longer than that."""
    sizes = set()
    for count in (1, 2, 3, 4, 5, 6, 8, 10, 12, 16, 20, 24, 32, 48, 64, 96, 128, 256, 512, 1024, 2048, 4096):
        size = ceil_div(extent, count)
        if size > multiple:
            size = ceil_div(size, multiple) * multiple
        sizes.add(min(size, extent))
        if size <= multiple:
            break
    return sorted(sizes, reverse=True)


def block_sizes(extent: int, other: int = 0) -> list[int]:
    """Return the rows or columns that a register block may have, the best one for large tiles first.

    With only one row, ``other``, there may be as many columns as there are sums in registers.
    """
    sizes = (LARGEST_BLOCK, 8, 4, 2, 1) if other == 1 else (4, 2, 1)
    return sorted({min(extent, size) for size in sizes}, reverse=True)


def split_sizes(w: MatmulSizes, cores: int) -> list[int]:
    """Return how many workers may share a block's sum: divisors of their number, up to the sum's steps."""
    if w.is_outer_product:
        return [1]
    return [count for count in range(1, cores + 1) if cores % count == 0 and count <= w.k]


def is_valid(w: MatmulSizes, b: Blocking, l1_bytes: int) -> bool:
    """Tell whether the tiles fit L1 and the micro-kernel's immediate operands reach across them."""
    if b.split_k > b.smallest_k(w):
        return False  # a worker would have no step
    if b.block_columns > 4 and b.block_rows > 1:
        return False
    # From a row of A to the next an immediate operand must reach; every other distance may be in a register.
    along_rows = b.block_rows > 1 and not w.transpose_a
    return (not along_rows or b.a_pitch(w) <= LONGEST_ROW) and b.l1_bytes(w) <= l1_bytes


def estimate_cycles(w: MatmulSizes, b: Blocking, cores: int) -> float:
    """Estimate the cycles of a call: work and DMA of each tile side by side, plus what cannot overlap.

    Whichever of the work, the DMA in and the DMA out takes longest runs without a gap; the first tile's loads
    come before the work, the last tile's work after the loads, the last tile's store after all.
    """
    total = math.prod(b.counts(w).values())
    period_a, period_b, period_c = b.periods(w)
    a_bytes, b_bytes, c_bytes = b.tile_bytes(w)
    whole_a, whole_b, whole_c = b.whole(w)
    lines = (
        _line(w, b, "km" if w.transpose_a else "mk", whole_a),
        _line(w, b, "nk" if w.transpose_b else "kn", whole_b),
        _line(w, b, "mn", whole_c),
    )
    load_a, load_b, store_c = (_dma_cycles(*x) for x in zip((a_bytes, b_bytes, c_bytes), lines, strict=True))
    loads = total / min(period_a, period_b)
    dma_in = total / period_a * load_a + total / period_b * load_b
    dma_out = total / period_c * store_c
    if b.copies == 2:
        dma_in += _CYCLES_A_GAP * (loads - 1)
        dma_out += _CYCLES_A_GAP * (total / period_c - 1)
    compute = compute_cycles(w, b, cores) + total * _CYCLES_A_TILE
    if period_c < total:
        compute += total / period_c * _CYCLES_A_STORE
    for size, line, period in zip(
        (a_bytes, b_bytes, c_bytes), lines, (period_a, period_b, period_c), strict=True
    ):
        compute += total / period * _CYCLES_IN_LINES * (4 * line < size and period < total)
    if b.split_k > 1:
        compute -= total * b.relief(w, cores) * b.share(w, cores) * b.instructions
        rounds = total / period_c
        compute += rounds * (_CYCLES_A_SUM + c_bytes / 4 / cores * (2 * b.split_k + 6))
    first, one = load_a + load_b, compute / total
    return _START + max(first + compute + store_c, dma_in + one + store_c, first + one + dma_out)


def _line(w: MatmulSizes, b: Blocking, axes: str, whole: bool) -> int:
    """Return the elements of the runs of memory that a tile of an operand lies in.

    ``axes`` are its axes within an image, the inner one last.
    """
    outer, inner = axes[0], axes[1]
    if whole:
        return w.extent(outer) * w.extent(inner)
    return b.tile(inner) * (b.tile(outer) if b.tile(inner) == w.extent(inner) else 1)


def _dma_cycles(size: int, line: int) -> float:
    """Return the cycles of moving ``size`` bytes in lines of ``line`` elements: a burst costs one more."""
    bytes_a_line = min(4 * line, size)
    bursts = size / bytes_a_line * ceil_div(bytes_a_line, _BURST_BYTES)
    return size / _DMA_BYTES_A_CYCLE + _CYCLES_A_BURST * bursts


def compute_cycles(w: MatmulSizes, b: Blocking, cores: int) -> float:
    """Return the cycles of the work of all tiles, edge tiles counted with their own sizes.

    Two workers share a FPU, so that a step of the sum takes the longer of one worker's instructions and two
    workers' multiply-adds.
    """
    variants = []
    for extent, tile in ((w.m, b.tile_m), (w.n, b.tile_n), (w.k, b.tile_k), (w.batch, b.tile_batch)):
        whole, rest = divmod(extent, tile)
        variants.append([(tile, whole), (rest, 1)] if rest else [(tile, whole)])
    cycles = 0.0
    for (m, m_count), (n, n_count), (k, k_count), (images, batch_count) in itertools.product(*variants):
        if w.is_outer_product:
            one = images * _outer_product_cycles(m, n, b, cores)
        else:
            one = _products_cycles(w, b, (m, n, k, images), cores)
        cycles += one * m_count * n_count * k_count * batch_count
    return cycles


def _outer_product_cycles(m: int, n: int, b: Blocking, cores: int) -> float:
    parts = row_parts(b.tile_m, b.tile_n, cores)
    units = ceil_div(ceil_div(n, GROUP) * parts, cores)
    return units * cycles_of_group(ceil_div(m, parts), min(n, GROUP))


def _products_cycles(w: MatmulSizes, b: Blocking, tile: tuple[int, int, int, int], cores: int) -> float:
    """Return the cycles of the work of a tile of the given sizes."""
    m, n, k, images = tile
    rows, columns, groups = b.block_rows, b.block_columns, cores // b.split_k
    k = ceil_div(k, b.split_k)
    segments, separate = (images, 1) if w.reduce_batch else (1, images)
    blocks = ceil_div(m, rows) * ceil_div(n, columns) * separate
    share = ceil_div(blocks, groups)
    busy = min(cores, blocks * b.split_k)
    products, instructions = rows * columns, b.instructions
    step = max(instructions, (2 if busy > cores // 2 else 1) * products)
    panels = min(share, ceil_div(share * columns, n) + 1)
    around = _CYCLES_A_BLOCK + _CYCLES_A_RESULT * products
    if w.k > b.tile_k:
        around += 10.0 + 4.0 * products  # what is there is read and added to
    if 3 * instructions + products + _CYCLES_A_BLOCK > _OWN_CACHE:
        around += 0.5 * (2 * instructions + products)  # the code around the loop is fetched again each time
    around += segments * _CYCLES_A_SEGMENT * w.reduce_batch
    return share * (segments * k * step + around) + panels * _CYCLES_A_PANEL


def _orders(w: MatmulSizes, b: Blocking) -> list[int]:
    """Return one loop order for each order of the axes that have more than one tile."""
    counts = b.counts(w)
    seen: dict[str, int] = {}
    for number, order in enumerate(LOOP_ORDERS):
        real = "".join(axis for axis in order if counts[axis] > 1 and axis not in w.reduction)
        seen.setdefault(real, number)
    return list(seen.values())


@lru_cache(maxsize=4096)
def search(w: MatmulSizes, cores: int, l1_bytes: int) -> Blocking | None:
    """Return the blocking with the lowest estimate that fits ``l1_bytes``; None where none does."""
    for least in (4, 1):  # tiny tiles only where nothing else fits
        found = _search(w, cores, l1_bytes, least)
        if found is not None:
            return found
    return None


def _search(w: MatmulSizes, cores: int, l1_bytes: int, least: int) -> Blocking | None:
    rows, columns, splits = block_sizes(w.m), block_sizes(w.n, w.m), split_sizes(w, cores)
    best: list[tuple[float, int, Blocking]] = []
    number = 0

    def consider(b: Blocking) -> None:
        nonlocal number
        if not is_valid(w, b, l1_bytes):
            return
        for order in _orders(w, b):
            number += 1
            ordered = replace(b, order=order)
            entry = (-estimate_cycles(w, ordered, cores), number, ordered)
            if len(best) < _KEPT:
                heapq.heappush(best, entry)
            else:
                heapq.heappushpop(best, entry)

    # few blocks: all workers share each sum, or none does; the rest is tried for the best tile sizes only
    few = ceil_div(w.m, rows[0]) * ceil_div(w.n, 4) * w.batch < 4 * cores
    ways = [(2, 1), (3, 1), *([(copies, splits[-1]) for copies in (2, 3)] if few and len(splits) > 1 else [])]
    candidates = ((w.m, 4, least), (w.n, 4, least), (w.k, 1, 4 * least), (w.batch, 1, 1))
    sizes = [[t for t in tile_sizes(e, step) if t >= min(e, low)] for e, step, low in candidates]
    for m, n, k, images in itertools.product(*sizes):
        operands = m * k * (images if w.batch_a else 1) + k * n * (images if w.batch_b else 1)
        if 4 * (operands + m * n) <= l1_bytes:
            for copies, split in ways:
                consider(Blocking(m, n, k, images, min(rows[0], m), min(4, n), 0, copies, split))
    for _, _, b in list(best):
        for r, c, split in itertools.product(rows, columns, splits):
            if (
                (r, c, split) != (b.block_rows, b.block_columns, b.split_k)
                and r <= b.tile_m
                and c <= b.tile_n
            ):
                consider(replace(b, block_rows=r, block_columns=c, split_k=split))
    return max(best)[2] if best else None
