"""Sizes of a matrix multiplication and of its tiles."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Self

from tvm_pulp.schedules.dialect import ALIGNMENT, ceil_div
from tvm_pulp.schedules.epilogue import Epilogue, EpilogueSizes
from tvm_pulp.schedules.microkernels.vector_product import LONGEST_SUM
from tvm_pulp.target.tvm_names import PrimFunc

LOOP_ORDERS = ("bmn", "bnm", "mbn", "nbm", "mnb", "nmb")
"""Orders of the tile loops over batch, rows and columns; the sum always runs inside."""

_LARGEST_WHOLE = 2048
"""Bytes up to which a tensor is moved as a whole: once instead of a few bytes for each tile."""
_LARGEST_WHOLE_VECTOR = 512
"""The same of the product of a vector and a matrix."""
_CYCLES_OF_RELIEF = 60
"""About what a tile's transfers take core 0."""


@dataclass(frozen=True)
class MatmulSizes:
    """``C[b] = op(A[b]) · op(B[b])``; see docs/architecture.md, section 2, for the attributes."""

    m: int
    n: int
    k: int
    transpose_a: bool
    transpose_b: bool
    batch: int
    batch_a: bool
    batch_b: bool
    reduce_batch: bool
    epilogue: EpilogueSizes | None = None

    @property
    def reduction(self) -> str:
        """Axes that are summed over."""
        return "bk" if self.reduce_batch else "k"

    @property
    def a_axes(self) -> str:
        """Axes that A depends on."""
        return "mk" + ("b" if self.batch_a else "")

    @property
    def b_axes(self) -> str:
        """Axes that B depends on."""
        return "kn" + ("b" if self.batch_b else "")

    @property
    def c_axes(self) -> str:
        """Axes that C depends on."""
        return "mn" + ("" if self.reduce_batch else "b")

    @property
    def is_outer_product(self) -> bool:
        """Whether each result is one product, not a sum."""
        return self.k == 1 and not self.reduce_batch

    @property
    def elements(self) -> tuple[int, int, int]:
        """Elements of A, B and C."""
        return (
            self.m * self.k * (self.batch if self.batch_a else 1),
            self.k * self.n * (self.batch if self.batch_b else 1),
            self.m * self.n * (1 if self.reduce_batch else self.batch),
        )

    def extent(self, axis: str) -> int:
        """Return the extent of an axis: ``"b"``, ``"m"``, ``"n"`` or ``"k"``."""
        return {"b": self.batch, "m": self.m, "n": self.n, "k": self.k}[axis]


@dataclass(frozen=True)
class MatmulWorkload:
    """A kernel of the matmul class, and what follows in it."""

    function: PrimFunc
    sizes: MatmulSizes
    epilogue: Epilogue | None = None

    @property
    def name(self) -> str:
        """Name of the kernel."""
        return str(self.function.attrs.get("global_symbol", "matmul"))


@dataclass(frozen=True)
class Blocking:
    """Bound knobs.

    Attributes
    ----------
    tile_m, tile_n, tile_k, tile_batch : int
        Tile sizes.
    block_rows, block_columns : int
        The register block.
    order : int
        Of the tile loops, a number of `LOOP_ORDERS`.
    copies : int
        Of the tiles that change: 2, or 3 where the DMA must not stand still, or 4, which are told apart
        faster.
    split_k : int
        Workers that share a block's sum; their partial sums are added in a tree.
    item : int
        Bytes of an element.
    moves_whole : bool
        Whether a small tensor can lie in L1 as a whole.
    has_vectors : bool
        Whether there is a micro-kernel for a vector and a matrix.
    """

    item: ClassVar[int] = 4
    moves_whole: ClassVar[bool] = True
    has_vectors: ClassVar[bool] = True

    tile_m: int
    tile_n: int
    tile_k: int
    tile_batch: int
    block_rows: int
    block_columns: int
    order: int
    copies: int = 2
    split_k: int = 1

    @classmethod
    def of(cls, workload: MatmulSizes, knobs: Mapping[str, int]) -> Self:
        """Return the blocking for knobs, clipped to the workload's extents.

        Records from before there were ``copies`` and ``split_k`` mean 2 and 1.
        """
        w = workload
        return cls(
            min(knobs["tile_m"], w.m),
            min(knobs["tile_n"], w.n),
            min(knobs["tile_k"], w.k),
            min(knobs["tile_batch"], w.batch),
            min(knobs["block_rows"], w.m, knobs["tile_m"]),
            min(knobs["block_columns"], w.n, knobs["tile_n"]),
            knobs["order"],
            knobs.get("copies", 2),
            knobs.get("split_k", 1),
        )

    def tile(self, axis: str) -> int:
        """Return the tile size of an axis: ``"b"``, ``"m"``, ``"n"`` or ``"k"``."""
        return {"b": self.tile_batch, "m": self.tile_m, "n": self.tile_n, "k": self.tile_k}[axis]

    def relief(self, w: MatmulSizes, cores: int) -> int:
        """Return the steps of a shared sum that core 0 is spared, as it sees to the DMA too."""
        if self.split_k == 1 or all(count == 1 for count in self.counts(w).values()):
            return 0
        steps = _CYCLES_OF_RELIEF // (self.share(w, cores) * self.instructions)
        return min(steps, self.smallest_k(w) // self.split_k // 4)

    def is_vector_product(self, w: MatmulSizes) -> bool:
        """Whether the micro-kernel is that of a vector and a matrix."""
        short = ceil_div(w.k, self.split_k) <= LONGEST_SUM
        return self.has_vectors and w.m == 1 and w.batch == 1 and w.k > 1 and short

    def is_outer_product(self, w: MatmulSizes) -> bool:
        """Whether it is an outer product whose pace the DMA sets, see `outer_product_model`."""
        return self.has_vectors and w.is_outer_product and w.batch == 1 and w.epilogue is None

    def is_bound_by_dma(self, w: MatmulSizes) -> bool:
        """Whether each value of a tensor that is moved takes part in one product, see `vector_model`."""
        return self.is_outer_product(w) or (w.epilogue is None and self.is_vector_product(w))

    @property
    def ahead(self) -> int:
        """By how many tiles the loads run ahead of the work."""
        return min(self.copies - 1, 2)

    @property
    def instructions(self) -> int:
        """Instructions of a step of a register block: products and loads."""
        return self.block_rows * self.block_columns + self.block_rows + self.block_columns

    def share(self, w: MatmulSizes, cores: int) -> int:
        """Return the register blocks of a full tile that the worker with most of them has."""
        blocks = ceil_div(self.tile_m, self.block_rows) * ceil_div(self.tile_n, self.block_columns)
        return ceil_div(blocks * self.images_c(w) * self.split_k, cores)

    def smallest_k(self, w: MatmulSizes) -> int:
        """Return the steps of the sum in the smallest tile."""
        return w.k % self.tile_k or self.tile_k

    def counts(self, w: MatmulSizes) -> dict[str, int]:
        """Return the number of tiles along each axis."""
        return {
            "b": ceil_div(w.batch, self.tile_batch),
            "m": ceil_div(w.m, self.tile_m),
            "n": ceil_div(w.n, self.tile_n),
            "k": ceil_div(w.k, self.tile_k),
        }

    def periods(self, w: MatmulSizes) -> tuple[int, int, int]:
        """Return for how many tiles in a row A's, B's and C's boxes stay the same."""
        total = math.prod(self.counts(w).values())
        a, b, c = (
            total if whole else same_for
            for whole, same_for in zip(self.whole(w), self._tile_periods(w), strict=True)
        )
        return a, b, c

    def _tile_periods(self, w: MatmulSizes) -> tuple[int, int, int]:
        counts = self.counts(w)
        order = self.loop_order(w)
        a, b, c = (_period(order, counts, axes) for axes in (w.a_axes, w.b_axes, w.c_axes))
        return a, b, c

    def whole(self, w: MatmulSizes) -> tuple[bool, bool, bool]:
        """Tell whether A, B and C lie in L1 as a whole though a tile needs a part of them only."""
        total = math.prod(self.counts(w).values())
        a, b, c = (
            self.moves_whole and self.item * size <= _LARGEST_WHOLE and same_for < total
            for size, same_for in zip(w.elements, self._tile_periods(w), strict=True)
        )
        if self.is_outer_product(w):  # the first tile should not wait for all of a vector
            return False, False, False
        if self.is_vector_product(w):  # the last store comes after all: it should be short
            c = c and self.item * w.n <= _LARGEST_WHOLE_VECTOR
        return a, b, c and w.epilogue is None

    def loop_order(self, w: MatmulSizes) -> str:
        """Return the axes of the tile loop, outermost first."""
        return "".join(axis for axis in LOOP_ORDERS[self.order] if axis not in w.reduction) + w.reduction

    def images_c(self, w: MatmulSizes) -> int:
        """Return the images of a tile of C."""
        return 1 if w.reduce_batch else self.tile_batch

    def a_pitch(self, w: MatmulSizes) -> int:
        """Return the row length of A as it lies in L1."""
        axis = "m" if w.transpose_a else "k"
        return w.extent(axis) if self.whole(w)[0] else self.tile(axis)

    def b_pitch(self, w: MatmulSizes) -> int:
        """Return the row length of B as it lies in L1."""
        axis = "k" if w.transpose_b else "n"
        return w.extent(axis) if self.whole(w)[1] else self.tile(axis)

    def tile_elements(self, w: MatmulSizes) -> tuple[int, int, int]:
        """Return the elements of A, B and C that lie in L1 at a time, rounded up to whole alignments."""
        tiles = (
            # an outer product's rows are loaded ahead, also behind the last one, where the next tile arrives
            self.tile_m * self.tile_k * (self.tile_batch if w.batch_a else 1) + self.is_outer_product(w),
            self.tile_k * self.tile_n * (self.tile_batch if w.batch_b else 1),
            self.tile_m * self.tile_n * self.images_c(w),
        )
        step = ALIGNMENT // self.item
        a, b, c = (
            ceil_div(size if whole else tile, step) * step
            for size, tile, whole in zip(w.elements, tiles, self.whole(w), strict=True)
        )
        return a, b, c

    def tile_bytes(self, w: MatmulSizes) -> tuple[int, int, int]:
        """Return the bytes of a tile of A, B and C."""
        a, b, c = (size * self.item for size in self.tile_elements(w))
        return a, b, c

    def l1_bytes(self, w: MatmulSizes) -> int:
        """Return the bytes of all tiles, copies of those that change from tile to tile, and partial sums."""
        total = math.prod(self.counts(w).values())
        sizes = list(zip(self.tile_bytes(w), self.periods(w), strict=True))
        plain = sizes if w.epilogue is None else sizes[:2]
        found = sum(size * (self.copies if same_for < total else 1) for size, same_for in plain)
        if w.epilogue is not None:
            reduced = self.reduction_tiles(w)
            found += w.epilogue.l1_bytes(sizes[2][0], sizes[2][0], total // reduced, reduced)
        return found + (self.split_k - 1) * sizes[2][0]

    def reduction_tiles(self, w: MatmulSizes) -> int:
        """Return the tiles of the tile loop that make up one of C."""
        counts = self.counts(w)
        return math.prod(counts[axis] for axis in w.reduction)


def _period(order: str, counts: Mapping[str, int], used: str) -> int:
    """As ``tile_loop.period``, on names of axes: the search for tile sizes asks often."""
    product = 1
    for axis in reversed(order):
        if axis in used and counts[axis] > 1:
            break
        product *= counts[axis]
    return product
