"""Write a batch normalisation with bound knobs in the cluster dialect."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tvm_pulp.schedules.dialect import (
    TO_L1,
    TO_L2,
    L1Allocator,
    as_int,
    ceil_div,
    element,
    flat_argument,
    index,
    kernel_function,
    parallel,
    sequence,
    when,
)
from tvm_pulp.schedules.footprint import TileAxis
from tvm_pulp.schedules.microkernels.batch_norm import STATE_OF_A_WORKER, batch_norm_source
from tvm_pulp.schedules.microkernels.batch_norm_streams import SWEEPS, NormSizes
from tvm_pulp.schedules.tile_loop import TiledAxis, TileLoop
from tvm_pulp.schedules.transfers import Box, transfer
from tvm_pulp.target.tvm_names import (
    EQ,
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


@dataclass(frozen=True)
class NormWorkload:
    """A function that the template takes, and its sizes."""

    function: PrimFunc
    sizes: NormSizes


@dataclass(frozen=True)
class NormTiles:
    """The knobs: what a tile holds of the data ``[images][channels][pixels]``.

    Attributes
    ----------
    tile_channels, tile_images, tile_pixels : int
        A tile's size; of a resident one all images and pixels, of a streamed one a single channel.
    parts : int
        Workers that share a channel of a resident tile; all of them share a streamed one.
    streamed : int
        Whether a channel passes through L1 once a sweep.
    separate : int
        Whether the results of a resident tile have L1 of their own, so that the tile stays as it is: for
        tensors that live in L1.
    """

    tile_channels: int
    parts: int
    streamed: int
    tile_images: int
    tile_pixels: int
    separate: int = 0

    def valid(self, s: NormSizes) -> NormTiles:
        """Return the tiles with what the mode prescribes."""
        if self.streamed:
            return NormTiles(1, 1, 1, self.tile_images, self.tile_pixels)
        return NormTiles(self.tile_channels, self.parts, 0, s.images, s.pixels, self.separate)

    def counts(self, s: NormSizes) -> tuple[int, int, int]:
        """Return the number of tiles along channels, images and pixels."""
        return (
            ceil_div(s.channels, self.tile_channels),
            ceil_div(s.images, self.tile_images),
            ceil_div(s.pixels, self.tile_pixels),
        )

    def elements(self) -> int:
        """Return the elements of a tile, rounded up so that each copy is aligned."""
        return ceil_div(self.tile_channels * self.tile_images * self.tile_pixels, 4) * 4

    def state_elements(self, cores: int) -> int:
        """Return the floats of L1 beside the tiles."""
        return STATE_OF_A_WORKER * cores if self.streamed else 2 * self.tile_channels * self.parts

    def copies(self, s: NormSizes) -> tuple[int, int]:
        """Return the copies of a tile that is only read, and of one that is overwritten and stored.

        While one is worked on in place, the one before it leaves and the next one comes.
        """
        steps = math.prod(self.counts(s)) * (SWEEPS if self.streamed else 1)
        return min(steps, 2), min(steps, 3)

    def l1_bytes(self, s: NormSizes, cores: int) -> int:
        """Return the L1 that all copies need."""
        read, overwritten = self.copies(s)
        tensors = 2 if s.backward else 1
        copies = read * (tensors + 1) if self.separate else read * (tensors - 1) + overwritten
        return 16 * (copies * ceil_div(self.elements(), 4) + ceil_div(self.state_elements(cores), 4))


class BatchNormBuilder:
    """Builds one function; see `BatchNormTemplate`."""

    def __init__(self, workload: NormWorkload, tiles: NormTiles, features: ClusterFeatures) -> None:
        self.workload = workload
        self.s = s = workload.sizes
        self.t = tiles
        self.features = features
        self.analyzer = arith.Analyzer()
        self.channel, self.sweep, self.image, self.pixel = (
            Var(name, "int32") for name in ("channel", "sweep", "image", "pixel")
        )
        axes = [
            TiledAxis(self.channel, s.channels, tiles.tile_channels),
            TiledAxis(self.sweep, SWEEPS if tiles.streamed else 1, 1),
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
                "pulp.micro_kernels": [
                    batch_norm_source(
                        s,
                        parts=t.parts,
                        resident=not t.streamed,
                        assembly=self.features.has_xpulp,
                        separate=bool(t.separate),
                    )
                ],
            },
        )

    def _describe(self) -> str:
        s, t = self.s, self.t
        if t.streamed:
            return f"images {t.tile_images}/{s.images}, pixels {t.tile_pixels}/{s.pixels}, once a sweep"
        return f"channels {t.tile_channels}/{s.channels}, {t.parts} workers a channel"

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

    def _inputs(self, tile: Expr) -> list[tuple[Buffer, Buffer, Expr]]:
        """Return the L1 buffer of each tensor that is read, the argument, and the start of a tile's copy."""
        read_at, worked_at = self._places(tile)
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

    def _loads(self, tile: Expr, slot: Expr) -> list[Stmt]:
        box = self._box(self.loop.at(tile))
        return [
            transfer(slot, l1, at, argument, box, TO_L1, self.analyzer)
            for l1, argument, at in self._inputs(tile)
        ]

    def _stores(self, tile: Expr, slot: Expr) -> list[Stmt]:
        axes = self.loop.at(tile)
        at = self._places(tile)[1]
        step = transfer(slot, self.worked_on, at, self.result, self._box(axes), TO_L2, self.analyzer)
        if not self.t.streamed:
            return [step]
        last = self.analyzer.simplify(EQ(axes[self.sweep].offset, SWEEPS - 1))
        return [step] if self.analyzer.can_prove(last) else [when(last, step)]

    def _compute(self, tile: Expr) -> Stmt:
        axes = self.loop.at(tile)
        binds: list[Stmt] = []

        def name(text: str, value: Expr) -> Expr:
            value = self.analyzer.simplify(value)
            if as_int(value) is not None or isinstance(value, Var):
                return value
            var = Var(text, "int32")
            binds.append(Bind(var, value))
            return var

        pointers = [
            address_of(element(l1, name(f"{argument.name}_start", at)))
            for l1, argument, at in self._inputs(tile)
        ]
        if self.t.separate:
            pointers.append(address_of(element(self.worked_on, name("result_start", self._places(tile)[1]))))
        pointers.append(address_of(element(self.state, 0)))
        first = name("first_channel", axes[self.channel].offset)
        vectors = [address_of(element(vector, first)) for vector in self.vectors]
        worker = Var("worker", "int32")
        if self.t.streamed:
            image, pixel = axes[self.image], axes[self.pixel]
            call = call_extern(
                "int32", "batch_norm_step", worker, *pointers,
                name("sweep", axes[self.sweep].offset),
                name("is_first", tirx.Cast("int32", EQ(image.offset + pixel.offset, 0))),
                name("elements", image.size * pixel.size), *vectors,
            )  # fmt: skip
        else:
            half = self.t.state_elements(self.features.cores) // 2
            call = call_extern(
                "int32", "batch_norm_tile", worker, *pointers, address_of(element(self.state, half)),
                name("channels", axes[self.channel].size), *vectors,
            )  # fmt: skip
        return sequence(binds, parallel(worker, self.features.cores, Evaluate(call)))
