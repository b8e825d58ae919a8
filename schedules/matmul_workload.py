"""Sizes of a matrix multiplication and of its tiles."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Self

from tvm_pulp.schedules.dialect import ALIGNMENT, ceil_div
from tvm_pulp.schedules.epilogue import Epilogue, EpilogueSizes
from tvm_pulp.target.tvm_names import PrimFunc

LOOP_ORDERS = ("bmn", "bnm", "mbn", "nbm", "mnb", "nmb")
"""Orders of the tile loops over batch, rows and columns; the sum always runs inside."""


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
    """Bound knobs: tile sizes, register block, order of the tile loops.

    ``item`` is the bytes of an element.
    """

    item: ClassVar[int] = 4

    tile_m: int
    tile_n: int
    tile_k: int
    tile_batch: int
    block_rows: int
    block_columns: int
    order: int

    @classmethod
    def of(cls, workload: MatmulSizes, knobs: Mapping[str, int]) -> Self:
        """Return the blocking for knobs, clipped to the workload's extents."""
        w = workload
        return cls(
            min(knobs["tile_m"], w.m),
            min(knobs["tile_n"], w.n),
            min(knobs["tile_k"], w.k),
            min(knobs["tile_batch"], w.batch),
            min(knobs["block_rows"], w.m, knobs["tile_m"]),
            min(knobs["block_columns"], w.n, knobs["tile_n"]),
            knobs["order"],
        )

    def tile(self, axis: str) -> int:
        """Return the tile size of an axis: ``"b"``, ``"m"``, ``"n"`` or ``"k"``."""
        return {"b": self.tile_batch, "m": self.tile_m, "n": self.tile_n, "k": self.tile_k}[axis]

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
        counts = self.counts(w)
        order = self.loop_order(w)
        a, b, c = (_period(order, counts, axes) for axes in (w.a_axes, w.b_axes, w.c_axes))
        return a, b, c

    def loop_order(self, w: MatmulSizes) -> str:
        """Return the axes of the tile loop, outermost first."""
        return "".join(axis for axis in LOOP_ORDERS[self.order] if axis not in w.reduction) + w.reduction

    def images_c(self, w: MatmulSizes) -> int:
        """Return the images of a tile of C."""
        return 1 if w.reduce_batch else self.tile_batch

    def a_pitch(self, w: MatmulSizes) -> int:
        """Return the row length of A's tile."""
        return self.tile_m if w.transpose_a else self.tile_k

    def b_pitch(self, w: MatmulSizes) -> int:
        """Return the row length of B's tile."""
        return self.tile_k if w.transpose_b else self.tile_n

    def tile_elements(self, w: MatmulSizes) -> tuple[int, int, int]:
        """Return the elements of a tile of A, B and C, rounded up to whole alignments."""
        a = self.tile_m * self.tile_k * (self.tile_batch if w.batch_a else 1)
        b = self.tile_k * self.tile_n * (self.tile_batch if w.batch_b else 1)
        c = self.tile_m * self.tile_n * self.images_c(w)
        step = ALIGNMENT // self.item
        a, b, c = (ceil_div(size, step) * step for size in (a, b, c))
        return a, b, c

    def tile_bytes(self, w: MatmulSizes) -> tuple[int, int, int]:
        """Return the bytes of a tile of A, B and C."""
        a, b, c = (size * self.item for size in self.tile_elements(w))
        return a, b, c

    def l1_bytes(self, w: MatmulSizes) -> int:
        """Return the bytes of all tiles, two copies of those that change from tile to tile."""
        total = math.prod(self.counts(w).values())
        sizes = list(zip(self.tile_bytes(w), self.periods(w), strict=True))
        plain = sizes if w.epilogue is None else sizes[:2]
        found = sum(size * (2 if same_for < total else 1) for size, same_for in plain)
        if w.epilogue is not None:
            reduced = self.reduction_tiles(w)
            found += w.epilogue.l1_bytes(sizes[2][0], sizes[2][0], total // reduced, reduced)
        return found

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
