"""Write an epilogue in the cluster dialect, as a part of its producer's tile loop."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from tvm_pulp.schedules.dialect import (
    TO_L1,
    TO_L2,
    L1Allocator,
    as_int,
    barrier,
    bind,
    dma_wait,
    element,
    index,
    parallel,
    sequence,
)
from tvm_pulp.schedules.elementwise_source import inputs, tile_function
from tvm_pulp.schedules.epilogue import Epilogue
from tvm_pulp.schedules.tile_loop import TileLoop
from tvm_pulp.schedules.transfers import Box, transfer
from tvm_pulp.target.tvm_names import Buffer, Evaluate, Expr, Stmt, Var, address_of, arith, call_extern

if TYPE_CHECKING:
    from tvm_pulp.schedules.base import ClusterFeatures

_SLOT = 4
"""DMA slot of the loads, beside those of `TileLoop`."""


class EpilogueBuilder:
    """Tiles, transfers and work of an epilogue.

    All tensors have tiles of the same box, which lie in L1 like that of the result.

    Parameters
    ----------
    epilogue
        What to do.
    arguments
        The function's parameters → their flat buffers.
    loop
        The producer's tile loop.
    features
        Of the target.
    """

    def __init__(
        self,
        epilogue: Epilogue,
        arguments: Mapping[Buffer, Buffer],
        loop: TileLoop,
        features: ClusterFeatures,
        analyzer: arith.Analyzer,
    ) -> None:
        self.epilogue, self.flat, self.sizes = epilogue, epilogue.flat, epilogue.sizes
        self.arguments, self.loop, self.features, self.analyzer = arguments, loop, features, analyzer
        self.tiles: dict[int, Buffer] = {}
        self.copies: dict[int, int] = {}
        self.counts = self.sizes.copies(loop.total // loop.reduction_tiles, loop.reduction_tiles)

    @property
    def result_copies(self) -> int:
        """Copies of the result's tile."""
        return self.counts[0]

    def declare(self, l1: L1Allocator, result: Buffer, result_elements: int, elements: int) -> list[Stmt]:
        """Allocate the tiles of the other tensors.

        Parameters
        ----------
        l1
            Where to.
        result, result_elements
            The buffer of the result's tile, and the size of a copy of it.
        elements
            Size of a tile of the other tensors, rounded up to whole alignments.
        """
        self.result_elements, self.elements = result_elements, elements
        declarations = []
        for number, tensor in enumerate(self.flat.tensors):
            if number not in self.epilogue.others:
                self.tiles[number] = result
                continue
            copies = self.counts[1] if self.flat.written[number] else 1
            self.copies[number] = copies
            self.tiles[number], declare = l1.allocate(f"{tensor.name}_l1", elements * copies, "float32")
            declarations.append(declare)
        return declarations

    def result_start(self, tile: Expr) -> Expr:
        """Return the element where the result's tile starts."""
        return self._copy(tile, self.result_elements, self.result_copies)

    def stores(self, tile: Expr, slot: Expr, box: Box) -> list[Stmt]:
        """Return the stores of what the epilogue overwrote; the result's is up to the producer."""
        return [self._move(n, tile, slot, box, TO_L2) for n in self.epilogue.others if self.flat.written[n]]

    def _move(self, number: int, tile: Expr, slot: Expr, box: Box, direction: int) -> Stmt:
        tensor = self.arguments[self.flat.tensors[number]]
        start = self._start(number, tile)
        return transfer(slot, self.tiles[number], start, tensor, box, direction, self.analyzer)

    def _start(self, number: int, tile: Expr) -> Expr:
        if number not in self.copies:
            return self.result_start(tile)
        return self._copy(tile, self.elements, self.copies[number])

    def _copy(self, tile: Expr, elements: int, copies: int) -> Expr:
        return self.loop.copy_start(tile, self.loop.reduction_tiles, elements, copies)

    def compute(self, tile: Expr, work: Stmt, box: Box, channels: int) -> Stmt:
        """Return the work on a tile, and that on a result once its last tile is done.

        Parameters
        ----------
        tile
            Number of the tile.
        work
            The producer's; the other tensors are loaded beside the last work on a result.
        box
            Of the result.
        channels
            Number of the box's axis along which the channels run; what is inside of it is a row.
        """
        loads = [self._move(number, tile, index(_SLOT), box, TO_L1) for number in self.epilogue.others]
        steps = [dma_wait(_SLOT)] if loads else []
        steps.append(barrier())
        pointers = []
        for number, buffer in self.tiles.items():
            start = self.analyzer.simplify(self._start(number, tile))
            if as_int(start) is None:
                start, define = bind(f"{buffer.name}_start", start)
                steps.append(define)
            pointers.append(address_of(element(buffer, start)))
        first, rows = box.low[channels], []
        if self.flat.row_scalars:
            length = Box((), (), box.size[channels + 1 :]).elements()
            rows = [self.analyzer.simplify(length), box.size[channels]]
        values = [element(self.arguments[tensor], first) for tensor in self.flat.row_scalars]
        values += [element(self.arguments[scalar], 0) for scalar in inputs(self.flat)]
        worker = Var("worker", "int32")
        size = self.analyzer.simplify(box.elements())
        call = call_extern(
            "int32", "elementwise_tile", worker, size, *rows, *pointers, *map(address_of, values)
        )
        steps.append(parallel(worker, self.features.cores, Evaluate(call)))
        before = self.loop.when_complete(tile, sequence(loads)) if loads else None
        return sequence(before, work, self.loop.when_complete(tile, sequence(steps)))

    def source(self) -> str:
        """Return C of the work on a tile."""
        return tile_function(self.flat, assembly=self.features.has_xpulp, of_box=True)
