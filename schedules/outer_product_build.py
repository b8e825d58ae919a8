"""Write an outer product whose pace the DMA sets in the cluster dialect."""

from __future__ import annotations

from dataclasses import replace

from tvm_pulp.schedules.dialect import barrier, bind, dma_wait, index, sequence, serial, when
from tvm_pulp.schedules.matmul_build import Axes, MatmulBuilder
from tvm_pulp.schedules.matmul_kernels import tile_extents
from tvm_pulp.schedules.microkernels.matmul import distances
from tvm_pulp.schedules.microkernels.outer_product import outer_product_source, share_out
from tvm_pulp.schedules.outer_product_model import overlaps, workers_of
from tvm_pulp.schedules.transfers import Box
from tvm_pulp.target.tvm_names import EQ, Expr, PrimFunc, Select, Stmt, arith, tirx

_LOADS = 0
"""DMA slot of what comes; two more take turns with what leaves."""


class OuterProductBuilder(MatmulBuilder):
    """Builds one function; see `outer_product_model`."""

    def _axes(self, tile: Expr) -> Axes:
        """Return offset and size of each axis; where one is cut, its size is told from the tile's number."""
        axes = self.loop.at(tile)
        for axis in self.loop.axes:
            rest = axis.extent % axis.tile
            if rest and axis.count == self.loop.total:
                size = Select(EQ(tile, axis.count - 1), index(rest), index(axis.tile))
                axes[axis.var] = replace(axes[axis.var], size=self.analyzer.simplify(size))
        return axes

    def _box(self, axes: Axes, batched: bool, outer: str, inner: str) -> tuple[Box, Expr, Expr]:
        """Return what a tile has of a vector, without what would fill up a row: there is one."""
        low = [axes[self.variables[axis]].offset for axis in (outer, inner)]
        size = [axes[self.variables[axis]].size for axis in (outer, inner)]
        box = Box((self.w.extent(outer), self.w.extent(inner)), tuple(low), tuple(size))
        return box, index(0), index(0)

    def _micro_kernel(self) -> str:
        w, b, cores = self.w, self.b, self.features.cores
        workers = workers_of(w, b, cores)
        return outer_product_source(
            b.tile_n,
            tile_extents(w.n, b.tile_n),
            share_out(b.tile_m, b.tile_n, workers),
            distances(w.transpose_a, w.transpose_b, b.a_pitch(w), b.b_pitch(w)),
            workers,
            assembly=self.features.has_xpulp,
        )

    def build(self) -> PrimFunc:
        """Return the function."""
        function = super().build()
        if overlaps(self.w, self.b, self.features.cores):
            return function.with_attr("pulp.core_0_moves", 1)
        return function

    def _run(self) -> Stmt:
        """Return the pipeline; beside the work on a tile the one before leaves, and the next one comes."""
        loop = self.loop
        if not overlaps(self.w, self.b, self.features.cores):
            return super()._run()
        tile, last = loop.tile, loop.total - 1
        previous, define_previous = bind("previous", tile - 1)
        following, define_following = bind("following", tile + 1)
        self.analyzer.update(previous, arith.ConstIntBound(0, last - 1), True)
        self.analyzer.update(following, arith.ConstIntBound(1, last), True)
        # The store first: the DMA shall not stand still. What left two tiles ago is waited for.
        body = sequence(
            dma_wait(_LOADS),
            barrier(),
            when(tile > 0, sequence(define_previous, *self._stores(previous, _slot(tile)))),
            when(tile < last, sequence(define_following, *self._loads(following, index(_LOADS)))),
            self._compute(tile),
            dma_wait(_slot(tile + 1)),
        )
        return sequence(
            *self._loads(index(0), index(_LOADS)),
            serial(tile, loop.total, body),
            barrier(),
            *self._stores(index(last), _slot(index(last + 1))),
            dma_wait(_slot(index(last))),
            dma_wait(_slot(index(last + 1))),
        )


def _slot(tile: Expr) -> Expr:
    """Return the slot of what leaves beside a tile."""
    return arith.Analyzer().simplify(tirx.floormod(tile, 2) + (_LOADS + 1))
