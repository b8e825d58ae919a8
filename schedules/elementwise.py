"""Elementwise kernels over flat tensors: rectifiers and their gradients, sums, biases, the optimiser's step.

Tiles of a run of elements, ping-pong buffers with DMA both ways beside the work; what is overwritten in place
has a third copy. A worker does a run of a tile's elements by a stream, a row at a time where operands are
broadcast; those are in L1 whole.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tvm_pulp.schedules.bit_mask import GROUP, WORD_BITS
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
)
from tvm_pulp.schedules.elementwise_source import inputs, tile_function
from tvm_pulp.schedules.elementwise_stream import flat_stream
from tvm_pulp.schedules.flat_stream import FlatStream
from tvm_pulp.schedules.stages import read_program
from tvm_pulp.schedules.tile_loop import TiledAxis, TileLoop, Transfers
from tvm_pulp.schedules.transfers import Box, transfer
from tvm_pulp.target.errors import UserError
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
    buffer_shape,
    call_extern,
    tirx,
)

if TYPE_CHECKING:
    from tvm_pulp.schedules.base import ClusterFeatures

_DMA_BYTES_A_CYCLE = 8.0
_CYCLES_A_TRANSFER = 35.0
_CYCLES_A_TILE = 280.0
_CYCLES_A_ROW = 90.0
_MOST_TILES = 512


@dataclass(frozen=True)
class ElementwiseWorkload:
    """A function that the template takes, and its stream."""

    function: PrimFunc
    flat: FlatStream

    def copies(self, tiles: int) -> list[int]:
        """Return for each tensor its copies in L1."""
        kinds = zip(self.flat.read, self.flat.written, self.flat.repeated, strict=True)
        return [1 if repeated else min(tiles, 3 if read and written else 2)
                for read, written, repeated in kinds]  # fmt: skip

    def mask_copies(self, tiles: int) -> int:
        """Return the copies in L1 of each mask."""
        return min(tiles, 2)

    @property
    def granule(self) -> int:
        """Elements of which a tile has a multiple."""
        return GROUP if self.flat.masks else 4

    @property
    def broadcast(self) -> list[Buffer]:
        """Tensors that are in L1 whole."""
        repeated = [t for t, is_it in zip(self.flat.tensors, self.flat.repeated, strict=True) if is_it]
        return [*self.flat.row_scalars, *repeated]


class ElementwiseTemplate:
    """The template of functions of one elementwise stage, see `flat_stream` for what may be broadcast."""

    name = "elementwise"

    def match(self, function: PrimFunc) -> ElementwiseWorkload | None:
        """Return the workload, None for anything else."""
        try:
            flat = flat_stream(read_program(function))
        except UserError:  # the generic lowering says what is wrong with it
            return None
        return None if flat is None else ElementwiseWorkload(function, flat)

    def knobs(self, workload: ElementwiseWorkload, features: ClusterFeatures) -> dict[str, list[int]]:
        """Return tile sizes to choose from."""
        elements = workload.flat.elements
        counts = [1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, _MOST_TILES]
        granule = workload.granule
        least = granule * ceil_div(4 * features.cores, granule)
        sizes = {min(elements, max(least, granule * ceil_div(elements, n * granule))) for n in counts}
        fixed = {min(elements, size) for size in (512, 1024, 2048)}
        return {"tile_elements": sorted(sizes | fixed, reverse=True)}

    def default(self, workload: ElementwiseWorkload, features: ClusterFeatures) -> dict[str, int] | None:
        """Return the knobs with the lowest estimate of all that fit L1."""
        choices = [{"tile_elements": size} for size in self.knobs(workload, features)["tile_elements"]]
        fit = [knobs for knobs in choices if self.l1_bytes(workload, knobs) <= features.kernel_l1_bytes]
        return min(fit, key=lambda knobs: self.estimate_cycles(workload, knobs, features), default=None)

    def l1_bytes(self, workload: ElementwiseWorkload, knobs: dict[str, int]) -> int:
        """Return the L1 that the tiles need."""
        size, flat = knobs["tile_elements"], workload.flat
        copies = workload.copies(ceil_div(flat.elements, size))
        tiled = sum(n for n, repeated in zip(copies, flat.repeated, strict=True) if not repeated)
        whole = sum(ceil_div(_elements(tensor), 4) * 16 for tensor in workload.broadcast)
        masks = len(flat.masks) * workload.mask_copies(ceil_div(flat.elements, size))
        return tiled * ceil_div(size, 4) * 16 + whole + masks * size // 8

    def estimate_cycles(
        self, workload: ElementwiseWorkload, knobs: dict[str, int], features: ClusterFeatures
    ) -> float:
        """Estimate the cycles of a call: work and DMA of each tile side by side, plus what cannot overlap."""
        flat, size = workload.flat, knobs["tile_elements"]
        work: float = flat.cycles_an_element * ceil_div(size, features.cores)
        if flat.row < flat.elements:
            work += _CYCLES_A_ROW * (size / features.cores / flat.row + 1)
        move = _CYCLES_A_TRANSFER + 4 * size / _DMA_BYTES_A_CYCLE
        inwards = (sum(flat.read) - sum(flat.repeated)) * move
        outwards = sum(flat.written) * move
        move_mask = _CYCLES_A_TRANSFER + size / 8 / _DMA_BYTES_A_CYCLE
        made = sum(flat.masks_written)
        inwards, outwards = inwards + (len(flat.masks) - made) * move_mask, outwards + made * move_mask
        tiles = flat.elements / size
        return tiles * max(work + _CYCLES_A_TILE, inwards, outwards) + inwards + outwards

    def build(
        self, workload: ElementwiseWorkload, knobs: dict[str, int], features: ClusterFeatures
    ) -> PrimFunc:
        """Return the function in the cluster dialect."""
        return _Builder(workload, knobs["tile_elements"], features).build()


class _Builder:
    def __init__(self, workload: ElementwiseWorkload, size: int, features: ClusterFeatures) -> None:
        self.workload, self.flat, self.size, self.features = workload, workload.flat, size, features
        self.analyzer = arith.Analyzer()
        self.axis = Var("first", "int32")
        self.loop = TileLoop([TiledAxis(self.axis, self.flat.elements, size)], (), self.analyzer)
        self.arguments = [flat_argument(parameter) for parameter in workload.function.params]
        self.copies = workload.copies(self.loop.total)
        self.l1 = L1Allocator()

    def build(self) -> PrimFunc:
        declarations = []
        self.pitch = ceil_div(self.size, 4) * 4
        self.buffers = []
        for tensor, copies, repeated in zip(self.flat.tensors, self.copies, self.flat.repeated, strict=True):
            size = _elements(tensor) if repeated else self.pitch * copies
            buffer, declaration = self.l1.allocate(f"{tensor.name}_l1", size, "float32")
            self.buffers.append(buffer)
            declarations.append(declaration)
        self.mask_buffers = []
        for tensor in self.flat.masks:
            size = self.pitch // WORD_BITS * self.workload.mask_copies(self.loop.total)
            buffer, declaration = self.l1.allocate(f"{tensor.name}_l1", size, "uint32")
            self.mask_buffers.append(buffer)
            declarations.append(declaration)
        self.row_buffers = []
        for tensor in self.flat.row_scalars:
            buffer, declaration = self.l1.allocate(f"{tensor.name}_l1", _elements(tensor), "float32")
            self.row_buffers.append(buffer)
            declarations.append(declaration)
        masks_read = tuple(not made for made in self.flat.masks_written)
        body = self.loop.run(
            self._moves(self.flat.read, masks_read, TO_L1),
            self._moves(self.flat.written, self.flat.masks_written, TO_L2),
            self._compute,
        )
        return kernel_function(
            self.workload.function,
            self.arguments,
            sequence(declarations, body),
            self.l1,
            self.features.cores,
            {
                "pulp.schedule": "elementwise",
                "pulp.tile": f"elements {self.size}/{self.flat.elements}",
                "pulp.micro_kernels": [tile_function(self.flat, assembly=self.features.has_xpulp)],
            },
        )

    def _argument(self, tensor: Expr) -> Expr:
        numbers = (n for n, p in enumerate(self.workload.function.params) if p.same_as(tensor))
        return self.arguments[next(numbers)]

    def _start(self, number: int, tile: Expr) -> Expr:
        if self.copies[number] == 1:
            return index(0)
        return self.analyzer.simplify(tirx.floormod(tile, self.copies[number]) * self.pitch)

    def _mask_start(self, tile: Expr) -> Expr:
        """Return the word of a mask's buffer where a tile starts."""
        copies = self.workload.mask_copies(self.loop.total)
        return self.analyzer.simplify(tirx.floormod(tile, copies) * (self.pitch // WORD_BITS))

    def _moves(self, which: tuple[bool, ...], masks: tuple[bool, ...], direction: int) -> Transfers | None:
        """Return the function of the transfers of some tensors; None where there are none."""

        def transfers(tile: Expr, slot: Expr) -> list[Stmt]:
            place = self.loop.at(tile)[self.axis]
            box = Box((self.flat.elements,), (place.offset,), (place.size,))
            moved = [
                transfer(slot, self.buffers[n], self._start(n, tile), self._argument(t), box, direction,
                         self.analyzer)
                for n, t in enumerate(self.flat.tensors)
                if which[n] and not self.flat.repeated[n]
            ]  # fmt: skip
            words = Box(
                (self.flat.elements // WORD_BITS,),
                (self.analyzer.simplify(tirx.floordiv(place.offset, WORD_BITS)),),
                (self.analyzer.simplify(tirx.floordiv(place.size, WORD_BITS)),),
            )
            moved += [
                transfer(slot, buffer, self._mask_start(tile), self._argument(mask), words, direction,
                         self.analyzer)
                for mask, buffer, is_moved in zip(self.flat.masks, self.mask_buffers, masks, strict=True)
                if is_moved
            ]  # fmt: skip
            first = direction == TO_L1 and as_int(tile) == 0
            return [*(self._broadcast(slot) if first else []), *moved]

        broadcast = direction == TO_L1 and self.workload.broadcast
        return transfers if any(which) or any(masks) or broadcast else None

    def _broadcast(self, slot: Expr) -> list[Stmt]:
        """Return the transfers of what stays in L1 for all tiles."""
        repeated = [buffer for buffer, is_it in zip(self.buffers, self.flat.repeated, strict=True) if is_it]
        moved = []
        for tensor, buffer in zip(self.workload.broadcast, [*self.row_buffers, *repeated], strict=True):
            box = Box((_elements(tensor),), (index(0),), (index(_elements(tensor)),))
            argument = self._argument(tensor)
            moved.append(transfer(slot, buffer, index(0), argument, box, TO_L1, self.analyzer))
        return moved

    def _compute(self, tile: Expr) -> Stmt:
        binds: list[Stmt] = []

        def name(text: str, value: Expr) -> Expr:
            if as_int(value) is not None or isinstance(value, Var):
                return value
            var = Var(text, "int32")
            binds.append(Bind(var, value))
            return var

        pointers = [
            address_of(element(buffer, name(f"{buffer.name}_start", self._start(n, tile))))
            for n, buffer in enumerate(self.buffers)
        ]
        pointers += [
            address_of(element(buffer, name(f"{buffer.name}_start", self._mask_start(tile))))
            for buffer in self.mask_buffers
        ]
        scalars = [address_of(element(self._argument(s), 0)) for s in inputs(self.flat)]
        rows = [address_of(element(buffer, 0)) for buffer in self.row_buffers]
        place = self.loop.at(tile)[self.axis]
        size = name("elements", place.size)
        position = [name("position", place.offset)] if self.flat.row < self.flat.elements else []
        worker = Var("worker", "int32")
        call = call_extern("int32", "elementwise_tile", worker, size, *position, *pointers, *rows, *scalars)
        return sequence(binds, parallel(worker, self.features.cores, Evaluate(call)))


def _elements(tensor: Buffer) -> int:
    return math.prod(buffer_shape(tensor))
