"""Estimate of a matrix multiplication's cycles."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from tvm_pulp.schedules.dialect import ceil_div
from tvm_pulp.schedules.dma_cycles import dma_cycles
from tvm_pulp.schedules.matmul_workload import Blocking, MatmulSizes
from tvm_pulp.schedules.microkernels.operand_walk import LONGEST_ROW
from tvm_pulp.schedules.microkernels.outer_product import share_out
from tvm_pulp.schedules.outer_product_model import estimate_outer_product_cycles
from tvm_pulp.schedules.vector_model import estimate_vector_cycles

# Cycles measured on the simulator, of the generated code as it is.
_START = 70.0
"""Before the first transfer."""
_CYCLES_A_TILE = 100.0
"""Of core 0 beside its work: a barrier, what is to do."""
_CYCLES_A_LOAD = 70.0
"""More where a tile's inputs are waited for and the next ones asked for."""
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
_OWN_CACHE = 128
"""Instructions that stay in a core's own instruction cache."""

Work = Callable[[MatmulSizes, Blocking, int], float]
"""From sizes, blocking and the number of workers to the cycles of the work of all tiles."""


@dataclass(frozen=True)
class MatmulModel:
    """What the search needs to know of the products of a type: tiles, which of them can be built, cycles.

    ``widest`` is the most columns of a register block of one row, ``splits`` tells whether workers can share
    a sum.
    """

    blocking: type[Blocking]
    is_valid: Callable[[MatmulSizes, Blocking, int], bool]
    work: Work
    widest: int = 4
    splits: bool = False


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


def is_valid(w: MatmulSizes, b: Blocking, l1_bytes: int) -> bool:
    """Tell whether the tiles fit L1 and the micro-kernel's immediate operands reach across them."""
    if b.split_k > b.smallest_k(w):
        return False  # a worker would have no step
    if b.block_columns > 4 and b.block_rows > 1:
        return False
    if b.copies > 2 and w.epilogue is not None:
        return False  # an epilogue's own loads run one tile ahead
    # From a row of A to the next an immediate operand must reach; every other distance may be in a register.
    along_rows = b.block_rows > 1 and not w.transpose_a
    return (not along_rows or b.a_pitch(w) <= LONGEST_ROW) and b.l1_bytes(w) <= l1_bytes


def estimate_cycles(w: MatmulSizes, b: Blocking, cores: int, work: Work | None = None) -> float:
    """Estimate the cycles of a call: work and DMA of each tile side by side, plus what cannot overlap.

    ``work`` gives the cycles of the work of all tiles, that of float32 if it is left out.

    Whichever of the work, the DMA in and the DMA out takes longest runs without a gap; the first tile's loads
    come before the work, the last tile's work after the loads, the last tile's store after all.
    """
    if b.is_outer_product(w):
        return estimate_outer_product_cycles(w, b, cores, tile_variants(w, b))
    if b.is_bound_by_dma(w):
        return estimate_vector_cycles(w, b, cores, tile_variants(w, b))
    total = math.prod(b.counts(w).values())
    period_a, period_b, period_c = b.periods(w)
    a_bytes, b_bytes, c_bytes = b.tile_bytes(w)
    whole_a, whole_b, whole_c = b.whole(w)
    lines = (
        _line(w, b, "km" if w.transpose_a else "mk", whole_a),
        _line(w, b, "nk" if w.transpose_b else "kn", whole_b),
        _line(w, b, "mn", whole_c),
    )
    load_a, load_b, store_c = (dma_cycles(*x) for x in zip((a_bytes, b_bytes, c_bytes), lines, strict=True))
    loads = total / min(period_a, period_b)
    dma_in = total / period_a * load_a + total / period_b * load_b
    compute = (work or compute_cycles)(w, b, cores) + total * _CYCLES_A_TILE + loads * _CYCLES_A_LOAD
    if w.epilogue is not None:
        results, move = total / b.reduction_tiles(w), store_c
        dma_in += results * w.epilogue.loads * move
        compute += results * w.epilogue.compute_cycles(c_bytes / 4, b.tile_n, cores)
        store_c *= w.epilogue.stores
    dma_out = total / period_c * store_c
    if b.copies == 2:
        dma_in += _CYCLES_A_GAP * (loads - 1)
        dma_out += _CYCLES_A_GAP * (total / period_c - 1)
    if period_c < total:
        compute += total / period_c * _CYCLES_A_STORE
    for size, line, period in zip(
        (a_bytes, b_bytes, c_bytes), lines, (period_a, period_b, period_c), strict=True
    ):
        compute += total / period * _CYCLES_IN_LINES * (line < size and period < total)
    if b.split_k > 1:
        compute -= total * b.relief(w, cores) * b.share(w, cores) * b.instructions
        rounds = total / period_c
        compute += rounds * (_CYCLES_A_SUM + c_bytes / 4 / cores * (2 * b.split_k + 6))
    first, one = load_a + load_b, compute / total
    return _START + max(first + compute + store_c, dma_in + one + store_c, first + one + dma_out)


def _line(w: MatmulSizes, b: Blocking, axes: str, whole: bool) -> int:
    """Return the bytes of the runs of memory that a tile of an operand lies in.

    ``axes`` are its axes within an image, the inner one last.
    """
    outer, inner = axes[0], axes[1]
    if whole:
        return b.item * w.extent(outer) * w.extent(inner)
    return b.item * b.tile(inner) * (b.tile(outer) if b.tile(inner) == w.extent(inner) else 1)


def compute_cycles(w: MatmulSizes, b: Blocking, cores: int) -> float:
    """Return the cycles of the work of all tiles, edge tiles counted with their own sizes.

    Two workers share a FPU, so that a step of the sum takes the longer of one worker's instructions and two
    workers' multiply-adds.
    """
    cycles = 0.0
    for m, n, k, images, count in tile_variants(w, b):
        if w.is_outer_product:
            cycles += count * images * share_out(b.tile_m, b.tile_n, cores).cycles(m, n, cores)
        else:
            cycles += count * _products_cycles(w, b, (m, n, k, images), cores)
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


FLOAT32 = MatmulModel(Blocking, is_valid, compute_cycles, widest=16, splits=True)
