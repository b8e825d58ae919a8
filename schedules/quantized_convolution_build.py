"""The tile loop of a quantised convolution and its buffers in L1, from which templates build functions."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Generic

from tvm_pulp.schedules.base import ClusterFeatures
from tvm_pulp.schedules.dialect import (
    TO_L2,
    L1Allocator,
    element,
    flat_argument,
    index,
    kernel_function,
    parallel,
    sequence,
)
from tvm_pulp.schedules.footprint import TileAxis
from tvm_pulp.schedules.microkernels.unpack_weight import unpack_weight_source
from tvm_pulp.schedules.padded_image import source_rows
from tvm_pulp.schedules.quantized_conv2d_workload import QuantizedConv2dWorkload
from tvm_pulp.schedules.quantized_convolution import TYPES, B
from tvm_pulp.schedules.quantized_transfers import load_packed, load_segments
from tvm_pulp.schedules.remove_transfers import in_l1_note
from tvm_pulp.schedules.tile_loop import TiledAxis, TileLoop, Transfers
from tvm_pulp.schedules.transfers import Box, transfer
from tvm_pulp.target.tvm_names import (
    Evaluate,
    Expr,
    PrimFunc,
    Stmt,
    Var,
    address_of,
    arith,
    buffer_dtype,
    call_extern,
)


class ConvolutionBuilder(Generic[B]):
    """The tile loop of a convolution and its buffers in L1, from which a template builds its function.

    Parameters
    ----------
    workload, blocking, features
        The kernel, its bound knobs and the target's.
    axes
        Of the tile loop, outermost first, of variables ``image``, ``row`` and ``channel``.
    scratch
        Where all tensors are in L1: the buffers beside them; None where they are in L2.
    """

    def __init__(
        self,
        workload: QuantizedConv2dWorkload,
        blocking: B,
        features: ClusterFeatures,
        axes: Callable[[Mapping[str, Var]], list[TiledAxis]],
        scratch: Collection[str] | None,
    ) -> None:
        self.scratch = scratch
        self.function, self.s, self.b, self.features = workload.function, workload.sizes, blocking, features
        self.analyzer = arith.Analyzer()
        self.variables = {name: Var(name, "int32") for name in ("image", "row", "channel")}
        self.loop = TileLoop(axes(self.variables), [], self.analyzer)
        self.l1 = L1Allocator()
        self.arguments = [flat_argument(parameter) for parameter in self.function.params]
        self.data, self.weight, *self.terms, self.result = self.arguments
        self.elements = blocking.tile_elements(self.s)

    def allocate(self, periods: Mapping[str, int], copies: Mapping[str, int]) -> None:
        """Place the buffers in L1.

        Parameters
        ----------
        periods
            For how many tiles in a row the contents of each buffer stay the same.
        copies
            Of each buffer: 2 where one is filled or emptied while the other one is used.
        """
        self.periods, self.copies = periods, copies
        self.buffers, self.declarations = {}, []
        types = TYPES | {"result": buffer_dtype(self.result)}
        tensors = {"data": self.data, "weight": self.weight, "result": self.result}
        if self.s.packed:
            tensors["weight_stored"] = self.weight
        if self.terms:
            tensors["bias"] = self.terms[0]
        for name, elements in self.elements.items():
            if self.scratch is not None and name not in self.scratch:
                self.buffers[name] = tensors[name]
                continue
            buffer, declaration = self.l1.allocate(f"{name}_l1", elements * copies[name], types[name])
            self.buffers[name] = buffer
            self.declarations.append(declaration)

    def finish(self, body: Stmt, tile: str, source: str, schedule: str) -> PrimFunc:
        """Return the function, with what its comment says of the tiles and the micro-kernels' C."""
        sources = [unpack_weight_source(assembly=self.features.has_xpulp)] if self.s.packed else []
        attributes = {"pulp.schedule": schedule, "pulp.tile": tile, "pulp.micro_kernels": [*sources, source]}
        if self.in_place:
            attributes["pulp.notes"] = [in_l1_note(self.arguments)]
        return kernel_function(
            self.function,
            self.arguments,
            sequence(self.declarations, body),
            self.l1,
            self.features.cores,
            attributes,
        )

    @property
    def in_place(self) -> bool:
        """Whether all tensors are in L1."""
        return self.scratch is not None

    def axis(self, tile: Expr, *names: str) -> list[TileAxis]:
        """Return what a tile has of the axes ``image``, ``row`` or ``channel``."""
        axes = self.loop.at(tile)
        return [axes[self.variables[name]] for name in names]

    def start(self, name: str, tile: Expr) -> Expr:
        """Return the element of a buffer where a tile's copy starts, or the tile in a tensor in L1."""
        if self.scratch is not None and name not in self.scratch:
            return self._offset(name, tile)
        return self.loop.copy_start(tile, self.periods[name], self.elements[name], self.copies[name])

    def _offset(self, name: str, tile: Expr) -> Expr:
        """Return the element where the rows of a tile of all channels start in a tensor."""
        s = self.s
        image, row = self.axis(tile, "image", "row")
        if name == "data":
            _, _, low, _ = source_rows(s, row, self.analyzer)
            return self.analyzer.simplify((image.offset * s.height + low) * (s.width * s.channels))
        if name == "result":
            pixels = (image.offset * s.rows + row.offset) * s.columns
            return self.analyzer.simplify(pixels * s.outputs)
        return index(0)

    def place(self, name: str, tile: Expr) -> Expr:
        """Return the address of a tile's copy."""
        return address_of(element(self.buffers[name], self.start(name, tile)))

    def workers(self, name: str, *arguments: Expr) -> Stmt:
        """Return a micro-kernel's call by all workers."""
        worker = Var("worker", "int32")
        return parallel(worker, self.features.cores, Evaluate(call_extern("int32", name, worker, *arguments)))

    def load_weights(self, tile: Expr, slot: Expr, shape: tuple[int, int, int], rows: TileAxis) -> list[Stmt]:
        """Return the transfers of the weights of a tile's channels.

        Parameters
        ----------
        tile, slot
            See `TileLoop.run`.
        shape
            Channels, segments of each one's weights, and their bytes.
        rows
            What a tile has of the channels.
        """
        if not self.s.packed:
            start = self.start("weight", tile)
            return load_segments(slot, self.buffers["weight"], start, self.weight, shape, rows, self.analyzer)
        values = shape[1] * shape[2]
        stored, first, count = self.buffers["weight_stored"], rows.offset * values, rows.size * values
        return [load_packed(slot, stored, index(0), self.weight, first, count, self.analyzer)]

    def unpack_weights(self, tile: Expr, channel_values: int, rows: TileAxis) -> Stmt | None:
        """Return the unpacking of what is new of weights of 4 bits, by the workers; None of others."""
        if not self.s.packed:
            return None
        count = self.analyzer.simplify(rows.size * channel_values)
        places = (self.place(name, tile) for name in ("weight_stored", "weight"))
        call = self.workers("unpack_weight_tile", *places, count)
        return self.loop.when_new(tile, self.periods["weight"], call)

    def run(
        self,
        loads: Transfers,
        compute: Callable[[Expr], Stmt],
        prepare: Callable[[Expr], Stmt] | None,
        meanwhile: Sequence[Stmt],
        prepare_every: int = 1,
    ) -> Stmt:
        """Return the tile loop, see `TileLoop.run`, without transfers where the tensors are in L1."""
        transfers = (None, None) if self.in_place else (loads, self.stores)
        return self.loop.run(
            transfers[0], transfers[1], compute, prepare, prepare_every=prepare_every, meanwhile=meanwhile
        )

    def stores(self, tile: Expr, slot: Expr) -> list[Stmt]:
        """Return the transfer of a tile of results."""
        s = self.s
        image, row, channel = self.axis(tile, "image", "row", "channel")
        box = Box(
            (s.images, s.rows, s.columns, s.outputs),
            (image.offset, row.offset, index(0), channel.offset),
            (image.size, row.size, index(s.columns), channel.size),
        )
        start = self.start("result", tile)
        return [transfer(slot, self.buffers["result"], start, self.result, box, TO_L2, self.analyzer)]
