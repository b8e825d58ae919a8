"""Tiles of whole rows: tensors whose first axis is shared, copied to and from L1 beside the work.

For kernels that work on each row (a sample's logits, a channel's image) by itself.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from tvm_pulp.schedules.dialect import TO_L1, TO_L2, L1Allocator, element, index, parallel
from tvm_pulp.schedules.tile_loop import TiledAxis, TileLoop, Transfers
from tvm_pulp.schedules.transfers import Box, transfer
from tvm_pulp.target.tvm_names import (
    Buffer,
    Evaluate,
    Expr,
    Stmt,
    Var,
    address_of,
    arith,
    buffer_dtype,
    call_extern,
)


@dataclass(frozen=True)
class RowTensor:
    """A tensor of ``rows`` rows.

    Attributes
    ----------
    argument : Buffer
        The flat argument.
    elements : int
        Of a row.
    written : bool
        Whether it is a result.
    """

    argument: Buffer
    elements: int
    written: bool


class RowTiles:
    """The tiles of a kernel.

    Parameters
    ----------
    tensors
        By name.
    rows
        Rows of each tensor.
    tile
        Rows of a tile; the last one may be smaller.
    """

    def __init__(self, tensors: Mapping[str, RowTensor], rows: int, tile: int) -> None:
        self.tensors, self.rows, self.tile = tensors, rows, tile
        self.analyzer = arith.Analyzer()
        self.axis = Var("row", "int32")
        self.loop = TileLoop([TiledAxis(self.axis, rows, tile)], (), self.analyzer)
        self.l1 = L1Allocator()
        self.declarations: list[Stmt] = []
        copies = min(2, self.loop.total)
        self.buffers = {
            name: self.allocate(name, copies * tile * tensor.elements, buffer_dtype(tensor.argument))
            for name, tensor in tensors.items()
        }

    def allocate(self, name: str, elements: int, dtype: str = "float32") -> Buffer:
        """Return a further buffer in L1."""
        buffer, declaration = self.l1.allocate(f"{name}_l1", elements, dtype)
        self.declarations.append(declaration)
        return buffer

    def run(self, compute: Callable[[Expr], Stmt]) -> Stmt:
        """Return the loop over the tiles."""
        names = [name for name, tensor in self.tensors.items() if not tensor.written]
        results = [name for name, tensor in self.tensors.items() if tensor.written]
        stores = self._moves(results, TO_L2) if results else None
        return self.loop.run(self._moves(names, TO_L1), stores, compute)

    def size(self, tile: Expr) -> Expr:
        """Return the rows of a tile."""
        return self.loop.at(tile)[self.axis].size

    def pointer(self, name: str, tile: Expr) -> Expr:
        """Return where a tensor's tile starts in L1."""
        return address_of(element(self.buffers[name], self._start(name, tile)))

    def _start(self, name: str, tile: Expr) -> Expr:
        return self.loop.copy_start(tile, 1, self.tile * self.tensors[name].elements)

    def _moves(self, names: Sequence[str], direction: int) -> Transfers:
        def transfers(tile: Expr, slot: Expr) -> list[Stmt]:
            place = self.loop.at(tile)[self.axis]
            moved = []
            for name in names:
                tensor = self.tensors[name]
                shape = (self.rows, tensor.elements)
                box = Box(shape, (place.offset, index(0)), (place.size, index(tensor.elements)))
                start = self._start(name, tile)
                moved.append(
                    transfer(slot, self.buffers[name], start, tensor.argument, box, direction, self.analyzer)
                )
            return moved

        return transfers


def call_workers(cores: int, name: str, arguments: Sequence[Expr]) -> Stmt:
    """Return the call of a micro-kernel by every worker, whose number is the first argument."""
    worker = Var("worker", "int32")
    return parallel(worker, cores, Evaluate(call_extern("int32", name, worker, *arguments)))
