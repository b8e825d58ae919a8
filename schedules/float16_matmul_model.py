"""Tiles of a float16 matrix multiplication, and an estimate of its cycles."""

from __future__ import annotations

import math
from typing import ClassVar

from tvm_pulp.schedules.dialect import ceil_div
from tvm_pulp.schedules.matmul_model import MatmulModel, tile_variants
from tvm_pulp.schedules.matmul_workload import Blocking, MatmulSizes

_CYCLES_A_BLOCK = 70.0
_CYCLES_A_PANEL = 80.0
_CYCLES_A_SEGMENT = 12.0
_CYCLES_A_PARTIAL_SUM = 2.0
_CYCLES_A_PRODUCT = 1.3
"""Of an outer product: ten instructions for 8 results, if the columns are whole groups."""


class Float16Blocking(Blocking):
    """Bound knobs; beside the tiles there are partial sums in float32 where a sum is in several tiles."""

    item: ClassVar[int] = 2
    moves_whole: ClassVar[bool] = False
    has_vectors: ClassVar[bool] = False

    def l1_bytes(self, w: MatmulSizes) -> int:
        """Return the bytes of all tiles and of the partial sums."""
        sums = 4 * self.tile_elements(w)[2] if self.reduction_tiles(w) > 1 else 0
        return super().l1_bytes(w) + sums


def is_valid(w: MatmulSizes, b: Blocking, l1_bytes: int) -> bool:
    """Tell whether the tiles fit L1."""
    if b.copies > 2 and w.epilogue is not None:
        return False
    return b.l1_bytes(w) <= l1_bytes


def step_instructions(w: MatmulSizes, rows: int, columns: int) -> int:
    """Return the instructions of two terms of a block's sum: products, loads, interleaving."""
    loads_a = 2 * rows if w.transpose_a else rows
    loads_b = columns if w.transpose_b else 2 * columns
    return rows * columns + loads_a + loads_b


def compute_cycles(w: MatmulSizes, b: Blocking, cores: int) -> float:
    """Return the cycles of the work of all tiles, edge tiles counted with their own sizes.

    Two workers share a FPU, so that a step of the sum takes the longer of one worker's instructions and two
    workers' products.
    """
    assert isinstance(b, Float16Blocking)
    if w.is_outer_product:
        tiles = math.prod(b.counts(w).values())
        return _CYCLES_A_PRODUCT * w.batch * w.m * w.n / cores + _CYCLES_A_PANEL * tiles
    rows, columns = b.block_rows, b.block_columns
    issue = step_instructions(w, rows, columns)
    partial = _CYCLES_A_PARTIAL_SUM * rows * columns if b.reduction_tiles(w) > 1 else 0.0
    cycles = 0.0
    for m, n, k, images, count in tile_variants(w, b):
        segments, separate = (images, 1) if w.reduce_batch else (1, images)
        blocks = ceil_div(m, rows) * ceil_div(n, columns) * separate
        share = ceil_div(blocks, cores)
        step = max(issue, (2 if blocks > cores // 2 else 1) * rows * columns)
        panels = min(share, ceil_div(share * columns, n) + 1)
        block = segments * (ceil_div(k, 2) * step + _CYCLES_A_SEGMENT) + _CYCLES_A_BLOCK + partial
        cycles += (share * block + panels * _CYCLES_A_PANEL) * count
    return cycles


FLOAT16 = MatmulModel(Float16Blocking, is_valid, compute_cycles)
