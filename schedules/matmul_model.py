"""Estimate of a matrix multiplication's cycles, and the search for the tile sizes with the lowest."""

from __future__ import annotations

import heapq
import itertools
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import lru_cache

from tvm_pulp.schedules.dialect import ceil_div
from tvm_pulp.schedules.epilogue import is_about
from tvm_pulp.schedules.matmul_workload import LOOP_ORDERS, Blocking, MatmulSizes
from tvm_pulp.schedules.microkernels.panel import LONGEST_ROW

_CYCLES_A_TILE = 150.0
_CYCLES_A_BLOCK = 60.0
_CYCLES_A_PANEL = 80.0
_CYCLES_A_PRODUCT = 2.6
"""Of an outer product, counted from the instructions of its loop: about 20 for 8 results."""
_DMA_BYTES_A_CYCLE = 8.0
_CYCLES_A_LINE = 1.0
_KEPT = 12
"""Tile sizes for which other register blocks are tried."""

Work = Callable[[MatmulSizes, Blocking, int], float]
"""From sizes, blocking and the number of workers to the cycles of the work of all tiles."""


@dataclass(frozen=True)
class MatmulModel:
    """What the search needs to know of the products of a type: tiles, which of them can be built, cycles."""

    blocking: type[Blocking]
    is_valid: Callable[[MatmulSizes, Blocking, int], bool]
    work: Work


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


def block_sizes(extent: int) -> list[int]:
    """Return the rows or columns that a register block may have, the best one for large tiles first."""
    return sorted({min(extent, size) for size in (4, 2, 1)}, reverse=True)


def is_valid(w: MatmulSizes, b: Blocking, l1_bytes: int) -> bool:
    """Tell whether the tiles fit L1 and the micro-kernel's immediate operands reach across them."""
    # From a row of A to the next an immediate operand must reach; every other distance may be in a register.
    along_rows = b.block_rows > 1 and not w.transpose_a
    return (not along_rows or b.a_pitch(w) <= LONGEST_ROW) and b.l1_bytes(w) <= l1_bytes


def estimate_cycles(w: MatmulSizes, b: Blocking, cores: int, work: Work | None = None) -> float:
    """Estimate the cycles of a call: work and DMA of each tile side by side, plus what cannot overlap.

    ``work`` gives the cycles of the work of all tiles, that of float32 if it is left out.

    Whichever of the work, the DMA in and the DMA out takes longest runs without a gap; the first tile's loads
    come before the work, the last tile's work after the loads, the last tile's store after all.
    """
    total = math.prod(b.counts(w).values())
    period_a, period_b, period_c = b.periods(w)
    a_bytes, b_bytes, c_bytes = b.tile_bytes(w)
    a_lines = _lines(w, b, *(("k", "m") if w.transpose_a else ("m", "k")), b.tile_batch if w.batch_a else 1)
    b_lines = _lines(w, b, *(("n", "k") if w.transpose_b else ("k", "n")), b.tile_batch if w.batch_b else 1)
    c_lines = _lines(w, b, "m", "n", b.images_c(w))
    load_a = a_bytes / _DMA_BYTES_A_CYCLE + _CYCLES_A_LINE * a_lines
    load_b = b_bytes / _DMA_BYTES_A_CYCLE + _CYCLES_A_LINE * b_lines
    store_c = c_bytes / _DMA_BYTES_A_CYCLE + _CYCLES_A_LINE * c_lines
    dma_in = total / period_a * load_a + total / period_b * load_b
    compute = (work or compute_cycles)(w, b, cores)
    if w.epilogue is not None:
        results, move = total / b.reduction_tiles(w), store_c
        dma_in += results * w.epilogue.loads * move
        compute += results * w.epilogue.compute_cycles(c_bytes / 4, b.tile_n, cores)
        store_c *= w.epilogue.stores
    dma_out = total / period_c * store_c
    first, one = load_a + load_b, compute / total + _CYCLES_A_TILE
    return max(
        first + compute + total * _CYCLES_A_TILE + store_c, dma_in + one + store_c, first + one + dma_out
    )


def _lines(w: MatmulSizes, b: Blocking, outer: str, inner: str, images: int) -> int:
    """Return the runs of memory that a tile of an operand ``[images][outer][inner]`` lies in."""
    if b.tile(inner) < w.extent(inner):
        return images * b.tile(outer)
    return images if b.tile(outer) < w.extent(outer) else 1


def compute_cycles(w: MatmulSizes, b: Blocking, cores: int) -> float:
    """Return the cycles of the work of all tiles, edge tiles counted with their own sizes.

    Two workers share a FPU, so that a step of the sum takes the longer of one worker's instructions and two
    workers' multiply-adds.
    """
    if w.is_outer_product:
        tiles = math.prod(b.counts(w).values())
        return _CYCLES_A_PRODUCT * w.batch * w.m * w.n / cores + _CYCLES_A_PANEL * tiles
    rows, columns = b.block_rows, b.block_columns
    issue = rows * columns + rows + columns
    cycles = 0.0
    for m, n, k, images, count in tile_variants(w, b):
        segments, separate = (images, 1) if w.reduce_batch else (1, images)
        blocks = ceil_div(m, rows) * ceil_div(n, columns) * separate
        share = ceil_div(blocks, cores)
        step = max(issue, (2 if blocks > cores // 2 else 1) * rows * columns)
        panels = min(share, ceil_div(share * columns, n) + 1)
        one = share * (segments * (k * step + 8) + _CYCLES_A_BLOCK) + panels * _CYCLES_A_PANEL
        cycles += one * count
    return cycles


def tile_variants(w: MatmulSizes, b: Blocking) -> Iterator[tuple[int, int, int, int, int]]:
    """Yield the sizes (m, n, k, images) that tiles have, those of edge tiles too, and how many have them."""
    variants = []
    for extent, tile in ((w.m, b.tile_m), (w.n, b.tile_n), (w.k, b.tile_k), (w.batch, b.tile_batch)):
        whole, rest = divmod(extent, tile)
        variants.append([(tile, whole), (rest, 1)] if rest else [(tile, whole)])
    for axes in itertools.product(*variants):
        (m, n, k, images), counts = zip(*axes, strict=True)
        yield m, n, k, images, math.prod(counts)


def _orders(w: MatmulSizes, b: Blocking) -> list[int]:
    """Return one loop order for each order of the axes that have more than one tile."""
    counts = b.counts(w)
    seen: dict[str, int] = {}
    for number, order in enumerate(LOOP_ORDERS):
        real = "".join(axis for axis in order if counts[axis] > 1 and axis not in w.reduction)
        seen.setdefault(real, number)
    return list(seen.values())


def search(w: MatmulSizes, cores: int, l1_bytes: int) -> Blocking | None:
    """Return the blocking with the lowest estimate that fits ``l1_bytes``; None where none does.

    With an epilogue it is that of the product alone, if it fits and nothing is better by far.
    """
    best = search_blocking(w, cores, l1_bytes, FLOAT32)
    if best is not None and w.epilogue is not None:
        alone = search(replace(w, epilogue=None), cores, l1_bytes)
        if alone is not None and is_valid(w, alone, l1_bytes):
            estimates = (estimate_cycles(w, b, cores) for b in (alone, best))
            return alone if is_about(*estimates) else best
    return best


@lru_cache(maxsize=4096)
def search_blocking(w: MatmulSizes, cores: int, l1_bytes: int, model: MatmulModel) -> Blocking | None:
    """Return the blocking with the lowest estimate for products of some type; None where none fits."""
    for least in (8, 1):  # tiny tiles only where nothing else fits
        found = _search(w, cores, l1_bytes, least, model)
        if found is not None:
            return found
    return None


def _search(w: MatmulSizes, cores: int, l1_bytes: int, least: int, model: MatmulModel) -> Blocking | None:
    rows, columns = block_sizes(w.m), block_sizes(w.n)
    best: list[tuple[float, int, Blocking]] = []
    number = 0

    def consider(b: Blocking) -> None:
        nonlocal number
        if not model.is_valid(w, b, l1_bytes):
            return
        for order in _orders(w, b):
            number += 1
            ordered = replace(b, order=order)
            entry = (-estimate_cycles(w, ordered, cores, model.work), number, ordered)
            if len(best) < _KEPT:
                heapq.heappush(best, entry)
            else:
                heapq.heappushpop(best, entry)

    candidates = ((w.m, 4, least), (w.n, 4, least), (w.k, 1, 4 * least), (w.batch, 1, 1))
    sizes = [[t for t in tile_sizes(e, step) if t >= min(e, low)] for e, step, low in candidates]
    for m, n, k, images in itertools.product(*sizes):
        operands = m * k * (images if w.batch_a else 1) + k * n * (images if w.batch_b else 1)
        if model.blocking.item * (operands + m * n) <= l1_bytes:
            consider(model.blocking(m, n, k, images, min(rows[0], m), min(columns[0], n), 0))
    for _, _, b in list(best):
        for r, c in itertools.product(rows, columns):
            if (r, c) != (b.block_rows, b.block_columns) and r <= b.tile_m and c <= b.tile_n:
                consider(replace(b, block_rows=r, block_columns=c))
    return max(best)[2] if best else None


FLOAT32 = MatmulModel(Blocking, is_valid, compute_cycles)
