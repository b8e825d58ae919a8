"""Write a batch normalisation with bound knobs in the cluster dialect."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tvm_pulp.schedules.batch_norm_tiles import NormTiles, NormWorkload
from tvm_pulp.schedules.dialect import (
    TO_L1,
    TO_L2,
    L1Allocator,
    as_int,
    element,
    flat_argument,
    index,
    kernel_function,
    parallel,
    sequence,
)
from tvm_pulp.schedules.footprint import TileAxis
from tvm_pulp.schedules.microkernels.batch_norm import batch_norm_source, overlapped_source
from tvm_pulp.schedules.overlapped_loop import OverlappedLoop, SweepStep
from tvm_pulp.schedules.piece_loop import Piece, PieceLoop
from tvm_pulp.schedules.tile_loop import TiledAxis, TileLoop
from tvm_pulp.schedules.transfers import Box, transfer
from tvm_pulp.target.tvm_names import (
    Bind,
    Buffer,
    Evaluate,
    Expr,
    PrimFunc,
    Stmt,
    Var,
    address_of,
    arith,
    call_extern,
    tirx,
)

if TYPE_CHECKING:
    from tvm_pulp.schedules.base import ClusterFeatures


class BatchNormBuilder:
    """Builds one function; see `BatchNormTemplate`."""

    def __init__(self, workload: NormWorkload, tiles: NormTiles, features: ClusterFeatures) -> None:
        self.workload = workload
        self.s = s = workload.sizes
        self.t = tiles
        self.features = features
        self.analyzer = arith.Analyzer()
        self.channel, self.image, self.pixel = (Var(name, "int32") for name in ("channel", "image", "pixel"))
        axes = [
            TiledAxis(self.channel, s.channels, tiles.tile_channels),
            TiledAxis(self.image, s.images, tiles.tile_images),
            TiledAxis(self.pixel, s.pixels, tiles.tile_pixels),
        ]
        self.loop = TileLoop(axes, (), self.analyzer)
        arguments = [flat_argument(parameter) for parameter in workload.function.params]
        self.arguments = arguments
        if s.backward:
            self.gradient, self.data, *self.vectors = arguments
            self.result = self.vectors.pop(4)
        else:
            self.data, *self.vectors = arguments
            self.result = self.vectors.pop(3 if s.biased else 2)
            if s.biased:  # in the order of the C function's parameters: what only a bias needs comes last
                self.vectors.insert(-1, self.vectors.pop(2))
        self.l1 = L1Allocator()

    def build(self) -> PrimFunc:
        """Return the function."""
        s, t = self.s, self.t
        elements = t.elements()
        declarations: list[Stmt] = []

        def tiles(name: str, copies: int) -> Buffer:
            buffer, declaration = self.l1.allocate(name, elements * copies, "float32")
            declarations.append(declaration)
            return buffer

        read, overwritten = t.copies(s)
        self.tile_l1 = tiles("data_l1", read if s.backward or t.separate else overwritten)
        self.worked_on = self.tile_l1  # what holds the results in the end
        if s.backward:
            self.gradient_l1 = self.worked_on = tiles("gradient_l1", read if t.separate else overwritten)
        if t.separate:
            self.worked_on = tiles("result_l1", read)
        self.state, third = self.l1.allocate("state", t.state_elements(self.features.cores), "float32")
        if t.overlapped:
            overlapped = OverlappedLoop(t.counts(s)[0], t.pieces(s), self.analyzer)
            body = overlapped.run(self._loads, self._stores, self._overlapped_step)
        elif t.streamed:
            pieces = PieceLoop(t.order(s), self.analyzer)
            read_only = self._load_read_only if s.backward else None
            body = pieces.run(self._load_piece, self._store_piece, self._step, read_only)
        else:
            body = self.loop.run(self._loads, self._stores, self._compute)
        return kernel_function(
            self.workload.function,
            self.arguments,
            sequence(declarations, third, body),
            self.l1,
            self.features.cores,
            {
                "pulp.schedule": "batch_norm",
                "pulp.tile": self._describe(),
                "pulp.micro_kernels": [self._source()],
            },
        )

    def _source(self) -> str:
        s, t, assembly = self.s, self.t, self.features.has_xpulp
        if t.overlapped:
            return overlapped_source(
                s,
                channels=t.tile_channels,
                parts=t.parts,
                pieces=t.pieces(s),
                cores=self.features.cores,
                assembly=assembly,
            )
        return batch_norm_source(
            s,
            parts=t.parts,
            kept=t.keeps(s),
            resident=not t.streamed,
            assembly=assembly,
            separate=bool(t.separate),
            whole_rounds=t.has_whole_rounds(s),
            relief=t.relief(s) if t.streamed else None,
        )

    def _describe(self) -> str:
        s, t = self.s, self.t
        if t.streamed:
            kept = f"{t.kept} of {t.order(s).pieces} pieces kept in {t.slots} slots"
            return f"images {t.tile_images}/{s.images}, pixels {t.tile_pixels}/{s.pixels}, {kept}"
        if t.overlapped and t.tile_channels == 1:
            return (
                f"images {t.tile_images}/{s.images}, pixels {t.tile_pixels}/{s.pixels}, two channels at once"
            )
        twice = ", two tiles at once" if t.overlapped else ""
        return f"channels {t.tile_channels}/{s.channels}, {t.parts} workers a channel{twice}"

    # pipeline

    def _copy(self, tile: Expr, copies: int) -> Expr:
        """Return the element where a tile's copy starts."""
        if copies == 1:
            return index(0)
        return self.analyzer.simplify(tirx.floormod(tile, copies) * self.t.elements())

    def _places(self, tile: Expr) -> tuple[Expr, Expr]:
        """Return where a tile's copies start: of what is only read, and of what is worked on in place."""
        read, overwritten = self.t.copies(self.s)
        return self._copy(tile, read), self._copy(tile, read if self.t.separate else overwritten)

    def _inputs(self, places: tuple[Expr, Expr]) -> list[tuple[Buffer, Buffer, Expr]]:
        """Return the L1 buffer of each tensor that is read, the argument, and the start of a tile's copy."""
        read_at, worked_at = places
        last_at = read_at if self.t.separate else worked_at
        if self.s.backward:
            return [(self.tile_l1, self.data, read_at), (self.gradient_l1, self.gradient, last_at)]
        return [(self.tile_l1, self.data, last_at)]

    def _box(self, axes: dict[Var, TileAxis]) -> Box:
        s = self.s
        order = (axes[self.image], axes[self.channel], axes[self.pixel])
        return Box(
            (s.images, s.channels, s.pixels),
            tuple(axis.offset for axis in order),
            tuple(axis.size for axis in order),
        )

    def _load(self, tile: Expr, inputs: list[tuple[Buffer, Buffer, Expr]], slot: Expr) -> list[Stmt]:
        box = self._box(self.loop.at(tile))
        return [transfer(slot, l1, at, argument, box, TO_L1, self.analyzer) for l1, argument, at in inputs]

    def _store(self, tile: Expr, place: Expr, slot: Expr) -> list[Stmt]:
        box = self._box(self.loop.at(tile))
        return [transfer(slot, self.worked_on, place, self.result, box, TO_L2, self.analyzer)]

    def _loads(self, tile: Expr, slot: Expr) -> list[Stmt]:
        return self._load(tile, self._inputs(self._places(tile)), slot)

    def _stores(self, tile: Expr, slot: Expr) -> list[Stmt]:
        return self._store(tile, self._places(tile)[1], slot)

    def _in_ring(self, slot: Expr) -> Expr:
        return self.analyzer.simplify(slot * self.t.elements())

    def _load_piece(self, number: Expr, slot: Expr, dma_slot: Expr) -> list[Stmt]:
        """Return the loads of the tensor that results take the place of."""
        return self._load(number, self._inputs((self._in_ring(slot), self._in_ring(slot)))[-1:], dma_slot)

    def _load_read_only(self, number: Expr, slot: Expr, dma_slot: Expr) -> list[Stmt]:
        return self._load(number, self._inputs((self._in_ring(slot), self._in_ring(slot)))[:-1], dma_slot)

    def _store_piece(self, number: Expr, slot: Expr, dma_slot: Expr) -> list[Stmt]:
        return self._store(number, self._in_ring(slot), dma_slot)

    def _compute(self, tile: Expr) -> Stmt:
        """Return the work on a resident tile."""
        axes = self.loop.at(tile)
        names = _Names(self.analyzer)
        pointers = self._pointers(names, self._places(tile))
        if self.t.separate:
            start = names.name("result_start", self._places(tile)[1])
            pointers.append(address_of(element(self.worked_on, start)))
        half = self.t.state_elements(self.features.cores) // 2
        pointers += [address_of(element(self.state, at)) for at in (0, half)]
        vectors = self._channel_vectors(names, axes)
        return self._call(names, "batch_norm_tile", *pointers,
                          names.name("channels", axes[self.channel].size), *vectors)  # fmt: skip

    def _step(self, piece: Piece) -> Stmt:
        """Return a sweep over a piece of a streamed channel."""
        axes = self.loop.at(piece.number)
        names = _Names(self.analyzer)
        start = self._in_ring(piece.slot)
        pointers = [*self._pointers(names, (start, start)), address_of(element(self.state, 0))]
        vectors = self._channel_vectors(names, axes)
        return self._call(
            names, "batch_norm_step", *pointers,
            names.name("sweep", piece.sweep),
            names.name("is_first", piece.is_first),
            names.name("is_kept", piece.is_kept),
            names.name("elements", axes[self.image].size * axes[self.pixel].size), *vectors,
        )  # fmt: skip

    def _overlapped_step(self, step: SweepStep) -> Stmt:
        """Return a sweep for sums and one for results."""
        t = self.t
        names = _Names(self.analyzer)
        pointers = [
            address_of(element(self.worked_on, names.name(f"{text}_start", self._places(tile)[1])))
            for text, tile in (("summed", step.first), ("ready", step.second))
        ]
        if t.tile_channels == 1:
            place = names.name("piece", step.own)
        else:
            place = names.name("odd", tirx.floormod(step.group, 2))
        return self._call(
            names, "batch_norm_overlapped", *pointers, address_of(element(self.state, 0)),
            names.name("has_sums", step.has_first), names.name("has_results", step.has_second), place,
            names.name("channel", step.group * t.tile_channels),
            *(address_of(element(vector, 0)) for vector in self.vectors),
        )  # fmt: skip

    def _pointers(self, names: _Names, places: tuple[Expr, Expr]) -> list[Expr]:
        return [
            address_of(element(l1, names.name(f"{argument.name}_start", at)))
            for l1, argument, at in self._inputs(places)
        ]

    def _channel_vectors(self, names: _Names, axes: dict[Var, TileAxis]) -> list[Expr]:
        first = names.name("first_channel", axes[self.channel].offset)
        return [address_of(element(vector, first)) for vector in self.vectors]

    def _call(self, names: _Names, function: str, *arguments: Expr) -> Stmt:
        worker = Var("worker", "int32")
        call = call_extern("int32", function, worker, *arguments)
        return sequence(names.binds, parallel(worker, self.features.cores, Evaluate(call)))


class _Names:
    """Names for expressions that are neither constants nor variables."""

    def __init__(self, analyzer: arith.Analyzer) -> None:
        self.analyzer = analyzer
        self.binds: list[Stmt] = []

    def name(self, text: str, value: Expr) -> Expr:
        """Return a variable with the value, or the value itself."""
        value = self.analyzer.simplify(value)
        if as_int(value) is not None or isinstance(value, Var):
            return value
        var = Var(text, "int32")
        self.binds.append(Bind(var, value))
        return var
