"""Search for the tile sizes of a matrix multiplication with the lowest estimate."""

from __future__ import annotations

import heapq
import itertools
from dataclasses import replace
from functools import lru_cache

from tvm_pulp.schedules.dialect import ceil_div
from tvm_pulp.schedules.epilogue import is_about
from tvm_pulp.schedules.matmul_model import FLOAT32, MatmulModel, estimate_cycles, tile_sizes
from tvm_pulp.schedules.matmul_workload import LOOP_ORDERS, Blocking, MatmulSizes

_KEPT = 12
"""Tile sizes for which other register blocks are tried."""


def block_sizes(extent: int, widest: int = 4) -> list[int]:
    """Return the rows or columns that a register block may have, the best one for large tiles first."""
    sizes = (size for size in (16, 8, 4, 2, 1) if size <= widest)
    return sorted({min(extent, size) for size in sizes}, reverse=True)


def block_columns(w: MatmulSizes, model: MatmulModel) -> list[int]:
    """Return the columns that a register block may have: more than four with one row only.

    With nine (five) of them seven workers have nearly all of a tile of 64 (32), and core 0 sees to the DMA.
    """
    if w.m > 1:
        return block_sizes(w.n)
    widest = min(w.n, model.widest)
    return sorted({*block_sizes(w.n, widest), *(size for size in (5, 9) if size <= widest)}, reverse=True)


def split_sizes(w: MatmulSizes, cores: int, model: MatmulModel) -> list[int]:
    """Return how many workers may share a block's sum: divisors of their number, up to the sum's steps."""
    if w.is_outer_product or not model.splits:
        return [1]
    return [count for count in range(1, cores + 1) if cores % count == 0 and count <= w.k]


def even_columns(w: MatmulSizes, cores: int) -> list[int]:
    """Return further sizes of tiles, for which all workers but core 0 have as many columns of a product."""
    if not w.is_outer_product:
        return []
    return [size for width in (4, 8, 12, 16) if (size := (cores - 1) * width) < w.n]


def copy_counts(w: MatmulSizes) -> list[int]:
    """Return how many copies there may be of the tiles that change."""
    if w.epilogue is not None:
        return [2]
    return [2, 3, 4] if w.m == 1 or w.is_outer_product else [2, 3]


def _orders(w: MatmulSizes, b: Blocking) -> list[int]:
    """Return one loop order for each order of the axes that have more than one tile."""
    counts = b.counts(w)
    seen: dict[str, int] = {}
    for number, order in enumerate(LOOP_ORDERS):
        real = "".join(axis for axis in order if counts[axis] > 1 and axis not in w.reduction)
        seen.setdefault(real, number)
    return list(seen.values())


def search(w: MatmulSizes, cores: int, l1_bytes: int, model: MatmulModel = FLOAT32) -> Blocking | None:
    """Return the blocking with the lowest estimate that fits ``l1_bytes``; None where none does.

    With an epilogue it is that of the product alone if it fits; where rows of channels make short tiles slow,
    only if nothing is better by far.
    """
    best = _search_all(w, cores, l1_bytes, model)
    alone = None
    if best is not None and w.epilogue is not None:
        alone = search(replace(w, epilogue=None), cores, l1_bytes, model)
    if best is None or alone is None or w.epilogue is None:
        return best
    alone = replace(alone, copies=best.copies)
    if not model.is_valid(w, alone, l1_bytes):
        return best
    if not w.epilogue.by_channel:
        return alone
    estimates = (estimate_cycles(w, b, cores, model.work) for b in (alone, best))
    return alone if is_about(*estimates) else best


@lru_cache(maxsize=4096)
def _search_all(w: MatmulSizes, cores: int, l1_bytes: int, model: MatmulModel) -> Blocking | None:
    for least in (4, 1):  # tiny tiles only where nothing else fits
        found = _search(w, cores, l1_bytes, least, model)
        if found is not None:
            return found
    return None


def _search(w: MatmulSizes, cores: int, l1_bytes: int, least: int, model: MatmulModel) -> Blocking | None:
    rows, columns = block_sizes(w.m), block_columns(w, model)
    splits, copy_numbers = split_sizes(w, cores, model), copy_counts(w)
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

    # few blocks: all workers share each sum, or none does; the rest is tried for the best tile sizes only
    few = ceil_div(w.m, rows[0]) * ceil_div(w.n, 4) * w.batch < 4 * cores
    ways = list(itertools.product(copy_numbers, {1, splits[-1]} if few else {1}, [min(4, w.n)]))
    if w.m == 1:  # little work: how it is shared out matters more than the tiles' sizes
        ways = list(itertools.product(copy_numbers[-1:], {1, splits[-1]}, columns))
    candidates = ((w.m, 4, least), (w.n, 4, least), (w.k, 1, 4 * least), (w.batch, 1, 1))
    sizes = [[t for t in tile_sizes(e, step) if t >= min(e, low)] for e, step, low in candidates]
    sizes[1] += [t for t in even_columns(w, cores) if t not in sizes[1]]
    for m, n, k, images in itertools.product(*sizes):
        operands = m * k * (images if w.batch_a else 1) + k * n * (images if w.batch_b else 1)
        if model.blocking.item * (operands + m * n) <= l1_bytes:
            for copies, split, width in ways:
                consider(model.blocking(m, n, k, images, min(rows[0], m), min(width, n), 0, copies, split))
    for _, _, b in list(best):
        for r, c, split in itertools.product(rows, columns, splits):
            if (
                (r, c, split) != (b.block_rows, b.block_columns, b.split_k)
                and r <= b.tile_m
                and c <= b.tile_n
            ):
                consider(replace(b, block_rows=r, block_columns=c, split_k=split))
    return max(best)[2] if best else None
