"""Concatenation, padding and slices as DMA transfers: through L1, without a loop over elements.

A tile of an argument comes in by one descriptor and leaves by another, the two directions side by side.
What padding adds leaves from a small buffer of constants.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tvm_pulp.schedules.dialect import (
    TO_L1,
    TO_L2,
    L1Allocator,
    barrier,
    ceil_div,
    dma_wait,
    flat_argument,
    index,
    kernel_function,
    parallel,
    sequence,
    serial,
    store,
)
from tvm_pulp.schedules.tile_loop import TiledAxis, TileLoop
from tvm_pulp.schedules.transfers import Box, transfer
from tvm_pulp.target.tvm_names import (
    Buffer,
    Expr,
    PrimFunc,
    Stmt,
    Var,
    arith,
    buffer_dtype,
    buffer_shape,
    const,
)

if TYPE_CHECKING:
    from tvm_pulp.schedules.base import ClusterFeatures

_COPIES = 3
"""Of a tile: one comes in, one is there, one leaves."""
_CONSTANTS = 1024
"""Elements of the buffer of constants."""
_CONSTANTS_SLOT = 4
_CYCLES_A_TILE = 80.0
_DMA_BYTES_A_CYCLE = 8.0
Extents = tuple[int, ...]


@dataclass(frozen=True)
class Region:
    """A box of a tensor of some shape, from its corner on."""

    shape: Extents
    corner: Extents
    extents: Extents

    def tiles(self, elements: int) -> Extents:
        """Return the extents of a tile of at most so many elements: whole along the last axes."""
        sizes = list(self.extents)
        for axis, extent in enumerate(self.extents):
            inner = math.prod(self.extents[axis + 1 :])
            sizes[axis] = min(extent, max(1, elements // inner))
            if inner <= elements:
                break
        return tuple(sizes)


@dataclass(frozen=True)
class MovementWorkload:
    """A function that the template takes: pieces (from, to) of each argument, and regions of constants."""

    function: PrimFunc
    pieces: tuple[tuple[Region, Region], ...]
    value: float
    fills: tuple[Region, ...]

    def tile_elements(self, elements: int) -> int:
        """Return the elements of the largest tile."""
        return max(math.prod(source.tiles(elements)) for source, _ in self.pieces)

    @property
    def constants(self) -> int:
        """Elements of the buffer of constants."""
        return _CONSTANTS if self.fills else 0


class MovementTemplate:
    """The template of the classes with the attribute ``"pulp.movement"``, float32."""

    name = "movement"

    def match(self, function: PrimFunc) -> MovementWorkload | None:
        """Return the workload, None for anything else."""
        movement = function.attrs.get("pulp.movement")
        if movement is None or any(buffer_dtype(p) != "float32" for p in function.params):
            return None
        shape = buffer_shape(function.params[-1])
        pieces = []
        for parameter, piece in zip(function.params, movement["pieces"], strict=False):
            source, result, extents = (
                tuple(int(n) for n in piece[key]) for key in ("source", "result", "extents")
            )
            moved = Region(buffer_shape(parameter), source, extents), Region(shape, result, extents)
            pieces.append(moved)
        covered = sum(math.prod(result.extents) for _, result in pieces)
        fills = _around(pieces[0][1]) if covered < math.prod(shape) else ()
        return MovementWorkload(function, tuple(pieces), float(movement["value"]), fills)

    def knobs(self, workload: MovementWorkload, features: ClusterFeatures) -> dict[str, list[int]]:
        """Return the elements of a tile to choose from."""
        return {"tile_elements": [4096, 3072, 2048, 1024, 512, 256, 64]}

    def default(self, workload: MovementWorkload, features: ClusterFeatures) -> dict[str, int] | None:
        """Return the knobs with the lowest estimate of all that fit L1."""
        choices = [{"tile_elements": n} for n in self.knobs(workload, features)["tile_elements"]]
        fit = [knobs for knobs in choices if self.l1_bytes(workload, knobs) <= features.kernel_l1_bytes]
        return min(fit, key=lambda knobs: self.estimate_cycles(workload, knobs, features), default=None)

    def l1_bytes(self, workload: MovementWorkload, knobs: dict[str, int]) -> int:
        """Return the L1 of the tiles' copies and of the constants."""
        sizes = (_COPIES * workload.tile_elements(knobs["tile_elements"]), workload.constants)
        return sum(ceil_div(size, 4) * 16 for size in sizes)

    def estimate_cycles(
        self, workload: MovementWorkload, knobs: dict[str, int], features: ClusterFeatures
    ) -> float:
        """Estimate the cycles of a call: each piece's transfers, and what its first and last tiles add."""
        total = 0.0
        for source, _ in workload.pieces:
            sizes = source.tiles(knobs["tile_elements"])
            count = math.prod(map(ceil_div, source.extents, sizes))
            total += (count + 1) * (_CYCLES_A_TILE + 4 * math.prod(sizes) / _DMA_BYTES_A_CYCLE)
        return total

    def build(self, workload: MovementWorkload, knobs: dict[str, int], features: ClusterFeatures) -> PrimFunc:
        """Return the function in the cluster dialect."""
        return _Builder(workload, knobs["tile_elements"], features).build()


def _around(piece: Region) -> tuple[Region, ...]:
    """Return regions that cover all that is around a piece of a result.

    Axis by axis what is before and after the piece; on the last one, what is after a row together with what
    is before the next: a line of constants for each row.
    """
    fills = []
    *outer, width = piece.shape
    for axis in range(len(outer)):
        end = piece.corner[axis] + piece.extents[axis]
        for start, extent in ((0, piece.corner[axis]), (end, outer[axis] - end)):
            if extent:
                corner = (*piece.corner[:axis], start, *[0] * (len(outer) - axis))
                extents = (*piece.extents[:axis], extent, *piece.shape[axis + 1 :])
                fills.append(Region(piece.shape, corner, extents))
    rows, before = math.prod(outer), piece.corner[-1]
    end = before + piece.extents[-1]
    gaps: list[tuple[Extents, Extents]] = [
        ((0, end), (rows - 1, before + width - end)),
        ((0, 0), (1, before)),
        ((rows - 1, end), (1, width - end)),
    ]
    fills += [Region((rows, width), corner, extents) for corner, extents in gaps if math.prod(extents)]
    return tuple(fills)


class _Builder:
    def __init__(self, workload: MovementWorkload, elements: int, features: ClusterFeatures) -> None:
        self.workload, self.elements, self.features = workload, elements, features
        self.arguments = [flat_argument(parameter) for parameter in workload.function.params]
        self.analyzer = arith.Analyzer()
        self.l1 = L1Allocator()

    def build(self) -> PrimFunc:
        size = self.workload.tile_elements(self.elements)
        self.buffer, declaration = self.l1.allocate("tile_l1", _COPIES * size, "float32")
        declarations, steps = [declaration], []
        if self.workload.fills:
            constants, declaration = self.l1.allocate("constants_l1", self.workload.constants, "float32")
            declarations.append(declaration)
            steps += self._fill(constants)
        for argument, (source, result) in zip(self.arguments, self.workload.pieces, strict=False):
            steps.append(self._move(argument, source, result))
        return kernel_function(
            self.workload.function,
            self.arguments,
            sequence(declarations, steps),
            self.l1,
            self.features.cores,
            {"pulp.schedule": "movement", "pulp.tile": f"elements {size}"},
        )

    def _fill(self, constants: Buffer) -> list[Stmt]:
        """Return what writes the constants, and their transfers to all around the piece."""
        place, count = Var("i", "int32"), self.workload.constants
        value, slot = const(self.workload.value, "float32"), index(_CONSTANTS_SLOT)
        steps = [parallel(place, count, store(constants, value, [place])), barrier()]
        for fill in self.workload.fills:
            loop = self._loop(fill, count)
            body = self._transfer(loop, loop.tile, slot, fill, self.arguments[-1], constants, index(0), TO_L2)
            # lines between rows run over rows of constants, which must have left before
            steps += [serial(loop.tile, loop.total, body), dma_wait(slot)]
        return steps

    def _move(self, argument: Buffer, source: Region, result: Region) -> Stmt:
        loop = self._loop(source, self.elements)
        size = math.prod(source.tiles(self.elements))

        def start(tile: Expr) -> Expr:
            return loop.copy_start(tile, 1, size, _COPIES)

        def loads(tile: Expr, slot: Expr) -> list[Stmt]:
            return [self._transfer(loop, tile, slot, source, argument, self.buffer, start(tile), TO_L1)]

        def stores(tile: Expr, slot: Expr) -> list[Stmt]:
            to = self.arguments[-1]
            return [self._transfer(loop, tile, slot, result, to, self.buffer, start(tile), TO_L2)]

        return loop.run(loads, stores, lambda tile: sequence())

    def _loop(self, region: Region, elements: int) -> TileLoop:
        pairs = zip(region.extents, region.tiles(elements), strict=True)
        axes = [TiledAxis(Var(f"d{n}", "int32"), extent, size) for n, (extent, size) in enumerate(pairs)]
        return TileLoop(axes, (), self.analyzer)

    def _transfer(
        self,
        loop: TileLoop,
        tile: Expr,
        slot: Expr,
        region: Region,
        tensor: Buffer,
        l1: Buffer,
        l1_start: Expr,
        direction: int,
    ) -> Stmt:
        found = loop.at(tile)
        places = [found[axis.var] for axis in loop.axes]
        low = tuple(start + place.offset for start, place in zip(region.corner, places, strict=True))
        box = Box(region.shape, low, tuple(place.size for place in places))
        return transfer(slot, l1, l1_start, tensor, box, direction, self.analyzer)
