"""Rows into chosen places of a store, by DMA through L1: a transfer for each row's part of a tile."""

from __future__ import annotations

import math
from dataclasses import dataclass

from tvm_pulp.schedules.base import ClusterFeatures
from tvm_pulp.schedules.dialect import (
    TO_L1,
    TO_L2,
    L1Allocator,
    aligned,
    bind,
    ceil_div,
    dma_1d,
    element,
    flat_argument,
    kernel_function,
    sequence,
    serial,
)
from tvm_pulp.schedules.footprint import TileAxis
from tvm_pulp.schedules.tile_loop import TiledAxis, TileLoop
from tvm_pulp.target.tvm_names import (
    Expr,
    PrimFunc,
    Stmt,
    Var,
    arith,
    buffer_dtype,
    buffer_shape,
    dtype_bytes,
)

_COPIES = 3
"""Of a tile: one comes in, one is there, one leaves."""
_CYCLES_A_TILE = 150.0
_CYCLES_A_ROW = 30.0
_DMA_BYTES_A_CYCLE = 8.0
_TILE_BYTES = (16384, 8192, 4096, 2048, 1024, 512)


@dataclass(frozen=True)
class StoreRowsWorkload:
    """A kernel of the class: rows, elements of each, and bytes of an element."""

    function: PrimFunc
    rows: int
    elements: int
    item_bytes: int


class StoreRowsTemplate:
    """The template of the class ``"store_rows"``."""

    name = "store_rows"

    def match(self, function: PrimFunc) -> StoreRowsWorkload | None:
        """Return the workload, None for anything else."""
        if function.attrs is None or str(function.attrs.get("pulp.operator", "")) != "store_rows":
            return None
        rows, *inner = buffer_shape(function.params[0])
        item_bytes = dtype_bytes(buffer_dtype(function.params[0]))
        return StoreRowsWorkload(function, rows, math.prod(inner), item_bytes)

    def knobs(self, workload: StoreRowsWorkload, features: ClusterFeatures) -> dict[str, list[int]]:
        """Return the most bytes of a tile to choose from: of whole rows, or of a part of one."""
        return {"tile_bytes": list(_TILE_BYTES)}

    def default(self, workload: StoreRowsWorkload, features: ClusterFeatures) -> dict[str, int] | None:
        """Return the knobs with the lowest estimate of all that fit L1."""
        choices = [{"tile_bytes": size} for size in _TILE_BYTES]
        fit = [knobs for knobs in choices if self.l1_bytes(workload, knobs) <= features.kernel_l1_bytes]
        return min(fit, key=lambda knobs: self.estimate_cycles(workload, knobs, features), default=None)

    def l1_bytes(self, workload: StoreRowsWorkload, knobs: dict[str, int]) -> int:
        """Return the L1 of the tiles' copies."""
        rows, elements = _tile(workload, knobs)
        return aligned(_COPIES * aligned(rows * elements, workload.item_bytes) * workload.item_bytes)

    def estimate_cycles(
        self, workload: StoreRowsWorkload, knobs: dict[str, int], features: ClusterFeatures
    ) -> float:
        """Estimate the cycles of a call: each tile's transfers, and what the first and last ones add."""
        rows, elements = _tile(workload, knobs)
        count = ceil_div(workload.rows, rows) * ceil_div(workload.elements, elements)
        move = rows * elements * workload.item_bytes / _DMA_BYTES_A_CYCLE
        return (count + 1) * (_CYCLES_A_TILE + rows * _CYCLES_A_ROW + move)

    def build(
        self, workload: StoreRowsWorkload, knobs: dict[str, int], features: ClusterFeatures
    ) -> PrimFunc:
        """Return the function in the cluster dialect."""
        return _build(workload, *_tile(workload, knobs), features)


def _tile(w: StoreRowsWorkload, knobs: dict[str, int]) -> tuple[int, int]:
    """Return rows, and elements of a row, in a tile."""
    elements = max(knobs["tile_bytes"] // w.item_bytes, 1)
    return min(max(elements // w.elements, 1), w.rows), min(elements, w.elements)


def _build(w: StoreRowsWorkload, rows: int, elements: int, features: ClusterFeatures) -> PrimFunc:
    analyzer, l1 = arith.Analyzer(), L1Allocator()
    row, column = Var("row", "int32"), Var("column", "int32")
    loop = TileLoop([TiledAxis(row, w.rows, rows), TiledAxis(column, w.elements, elements)], [], analyzer)
    source, slots, store = arguments = [flat_argument(parameter) for parameter in w.function.params]
    size = aligned(rows * elements, w.item_bytes)
    tile_l1, declaration = l1.allocate("tile_l1", _COPIES * size, buffer_dtype(source))

    def placed(tile: Expr) -> tuple[TileAxis, TileAxis, Expr]:
        """Return a tile's rows and columns, and where its copy in L1 starts."""
        axes = loop.at(tile)
        return axes[row], axes[column], loop.copy_start(tile, 1, size, _COPIES)

    def loads(tile: Expr, slot: Expr) -> list[Stmt]:
        place, part, start = placed(tile)
        first = analyzer.simplify(place.offset * w.elements + part.offset)
        moved = analyzer.simplify(place.size * part.size * w.item_bytes)
        return [dma_1d(slot, tile_l1, start, source, first, moved, TO_L1)]

    def stores(tile: Expr, slot: Expr) -> list[Stmt]:
        place, part, start = placed(tile)
        i = Var("i", "int32")
        chosen, define = bind("chosen", element(slots, analyzer.simplify(place.offset + i)))
        move = dma_1d(
            slot, tile_l1, analyzer.simplify(start + i * part.size), store,
            analyzer.simplify(chosen * w.elements + part.offset),
            analyzer.simplify(part.size * w.item_bytes), TO_L2,
        )  # fmt: skip
        return [serial(i, place.size, sequence(define, move))]

    return kernel_function(
        w.function,
        arguments,
        sequence(declaration, loop.run(loads, stores, lambda tile: sequence())),
        l1,
        features.cores,
        {
            "pulp.schedule": "store_rows",
            "pulp.tile": f"rows {rows}/{w.rows}, elements {elements}/{w.elements}",
        },
    )
