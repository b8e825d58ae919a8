"""Elementwise kernels over flat tensors: rectifiers and their gradients, sums, the optimiser's step.

Tiles of a run of elements, ping-pong buffers with DMA both ways beside the work; what is overwritten in place
has a third copy. A worker does a run of a tile's elements by a stream.
"""

from __future__ import annotations

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
)
from tvm_pulp.schedules.elementwise_stream import FlatStream, flat_stream
from tvm_pulp.schedules.stages import read_program
from tvm_pulp.schedules.tile_loop import TiledAxis, TileLoop, Transfers
from tvm_pulp.schedules.transfers import Box, transfer
from tvm_pulp.target.errors import UserError
from tvm_pulp.target.tvm_names import (
    Bind,
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

_DMA_BYTES_A_CYCLE = 8.0
_CYCLES_A_TRANSFER = 35.0
_CYCLES_A_TILE = 280.0
_MOST_TILES = 512


@dataclass(frozen=True)
class ElementwiseWorkload:
    """A function that the template takes, and its stream."""

    function: PrimFunc
    flat: FlatStream

    def copies(self, tiles: int) -> list[int]:
        """Return for each tensor its copies in L1."""
        both = zip(self.flat.read, self.flat.written, strict=True)
        return [min(tiles, 3 if read and written else 2) for read, written in both]


class ElementwiseTemplate:
    """The template of functions of one elementwise stage without broadcasting but of single elements."""

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
        least = ceil_div(4 * features.cores, 4) * 4
        sizes = {min(elements, max(least, ceil_div(ceil_div(elements, n), 4) * 4)) for n in counts}
        fixed = {min(elements, size) for size in (512, 1024, 2048)}
        return {"tile_elements": sorted(sizes | fixed, reverse=True)}

    def default(self, workload: ElementwiseWorkload, features: ClusterFeatures) -> dict[str, int] | None:
        """Return the knobs with the lowest estimate of all that fit L1."""
        choices = [{"tile_elements": size} for size in self.knobs(workload, features)["tile_elements"]]
        fit = [knobs for knobs in choices if self.l1_bytes(workload, knobs) <= features.kernel_l1_bytes]
        return min(fit, key=lambda knobs: self.estimate_cycles(workload, knobs, features), default=None)

    def l1_bytes(self, workload: ElementwiseWorkload, knobs: dict[str, int]) -> int:
        """Return the L1 that the tiles need."""
        size = knobs["tile_elements"]
        copies = workload.copies(ceil_div(workload.flat.elements, size))
        return sum(copies) * ceil_div(size, 4) * 16

    def estimate_cycles(
        self, workload: ElementwiseWorkload, knobs: dict[str, int], features: ClusterFeatures
    ) -> float:
        """Estimate the cycles of a call: work and DMA of each tile side by side, plus what cannot overlap."""
        flat, size = workload.flat, knobs["tile_elements"]
        work = flat.cycles_an_element * ceil_div(size, features.cores)
        move = _CYCLES_A_TRANSFER + 4 * size / _DMA_BYTES_A_CYCLE
        inwards, outwards = sum(flat.read) * move, sum(flat.written) * move
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
        self.buffers = []
        self.pitch = ceil_div(self.size, 4) * 4
        for tensor, copies in zip(self.flat.tensors, self.copies, strict=True):
            buffer, declaration = self.l1.allocate(f"{tensor.name}_l1", self.pitch * copies, "float32")
            self.buffers.append(buffer)
            declarations.append(declaration)
        micro_kernel = self.flat.source("elementwise_tile", assembly=self.features.has_xpulp)
        body = self.loop.run(
            self._moves(self.flat.read, TO_L1), self._moves(self.flat.written, TO_L2), self._compute
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
                "pulp.micro_kernels": [micro_kernel],
            },
        )

    def _argument(self, tensor: Expr) -> Expr:
        numbers = (n for n, p in enumerate(self.workload.function.params) if p.same_as(tensor))
        return self.arguments[next(numbers)]

    def _start(self, number: int, tile: Expr) -> Expr:
        if self.copies[number] == 1:
            return index(0)
        return self.analyzer.simplify(tirx.floormod(tile, self.copies[number]) * self.pitch)

    def _moves(self, which: tuple[bool, ...], direction: int) -> Transfers | None:
        """Return the function of the transfers of some tensors; None where there are none."""

        def transfers(tile: Expr, slot: Expr) -> list[Stmt]:
            place = self.loop.at(tile)[self.axis]
            box = Box((self.flat.elements,), (place.offset,), (place.size,))
            return [
                transfer(slot, self.buffers[n], self._start(n, tile), self._argument(t), box, direction,
                         self.analyzer)
                for n, t in enumerate(self.flat.tensors)
                if which[n]
            ]  # fmt: skip

        return transfers if any(which) else None

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
        scalars = [address_of(element(self._argument(s), 0)) for s in self.flat.inputs]
        size = name("elements", self.loop.at(tile)[self.axis].size)
        worker = Var("worker", "int32")
        call = call_extern("int32", "elementwise_tile", worker, size, *pointers, *scalars)
        return sequence(binds, parallel(worker, self.features.cores, Evaluate(call)))
