"""What the templates of quantised convolutions share: knobs by a model of their sizes, and tiles in L1."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

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
from tvm_pulp.schedules.quantized_conv2d_workload import QuantizedConv2dSizes, QuantizedConv2dWorkload
from tvm_pulp.schedules.tile_loop import TiledAxis, TileLoop
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

TYPES = {"data": "uint8", "planes": "uint32", "weight": "int8", "bias": "int32"}
"""Of the buffers in L1 but the result, which has its argument's."""


class Blocking(Protocol):
    """Bound knobs of a template."""

    def knobs(self) -> dict[str, int]:
        """Return the knobs."""
        ...

    def tile_elements(self, s: QuantizedConv2dSizes) -> dict[str, int]:
        """Return the elements of a tile of each buffer in L1."""
        ...


B = TypeVar("B", bound=Blocking)


@dataclass(frozen=True)
class ConvolutionModel(Generic[B]):
    """The functions of a template's model, see ``quantized_conv2d_model``.

    Attributes
    ----------
    read_workload, search
        Of a PrimFunc: the workload, or None; of sizes, cores and bytes of L1: the best blocking, or None.
    blocking
        Of sizes and knobs.
    l1_bytes, estimate_cycles
        Of sizes and a blocking (and cores).
    """

    read_workload: Callable[[PrimFunc], QuantizedConv2dWorkload | None]
    search: Callable[[QuantizedConv2dSizes, int, int], B | None]
    blocking: Callable[[QuantizedConv2dSizes, Mapping[str, int]], B]
    l1_bytes: Callable[[QuantizedConv2dSizes, B], int]
    estimate_cycles: Callable[[QuantizedConv2dSizes, B, int], float]


class ConvolutionTemplate(Generic[B]):
    """A template of the functions with an attribute; its subclass gives knobs and builds."""

    name: str
    attribute: str
    model: ConvolutionModel[B]

    def match(self, function: PrimFunc) -> QuantizedConv2dWorkload | None:
        """Return the workload, None for anything else and for what the micro-kernels do not serve."""
        if function.attrs is None or self.attribute not in function.attrs:
            return None
        return self.model.read_workload(function)

    def default(self, workload: QuantizedConv2dWorkload, features: ClusterFeatures) -> dict[str, int] | None:
        """Return the knobs with the lowest estimate of all that fit L1; None where none do."""
        found = self.model.search(workload.sizes, features.cores, features.kernel_l1_bytes)
        return None if found is None else found.knobs()

    def l1_bytes(self, workload: QuantizedConv2dWorkload, knobs: dict[str, int]) -> int:
        """Return the L1 that the tiles need."""
        return self.model.l1_bytes(workload.sizes, self.model.blocking(workload.sizes, knobs))

    def estimate_cycles(
        self, workload: QuantizedConv2dWorkload, knobs: dict[str, int], features: ClusterFeatures
    ) -> float:
        """Estimate the cycles of a call, see the template's model."""
        blocking = self.model.blocking(workload.sizes, knobs)
        return self.model.estimate_cycles(workload.sizes, blocking, features.cores)


class ConvolutionBuilder(Generic[B]):
    """The tile loop of a convolution and its buffers in L1, from which a template builds its function.

    Parameters
    ----------
    workload, blocking, features
        The kernel, its bound knobs and the target's.
    axes
        Of the tile loop, outermost first, of variables ``image``, ``row`` and ``channel``.
    """

    def __init__(
        self,
        workload: QuantizedConv2dWorkload,
        blocking: B,
        features: ClusterFeatures,
        axes: Callable[[Mapping[str, Var]], list[TiledAxis]],
    ) -> None:
        self.function, self.s, self.b, self.features = workload.function, workload.sizes, blocking, features
        self.analyzer = arith.Analyzer()
        self.variables = {name: Var(name, "int32") for name in ("image", "row", "channel")}
        self.loop = TileLoop(axes(self.variables), [], self.analyzer)
        self.l1 = L1Allocator()
        self.arguments = [flat_argument(parameter) for parameter in self.function.params]
        self.data, self.weight, *self.vectors, self.result = self.arguments
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
        for name, elements in self.elements.items():
            buffer, declaration = self.l1.allocate(f"{name}_l1", elements * copies[name], types[name])
            self.buffers[name] = buffer
            self.declarations.append(declaration)

    def finish(self, body: Stmt, tile: str, source: str, schedule: str) -> PrimFunc:
        """Return the function, with what its comment says of the tiles and the micro-kernels' C."""
        return kernel_function(
            self.function,
            self.arguments,
            sequence(self.declarations, body),
            self.l1,
            self.features.cores,
            {"pulp.schedule": schedule, "pulp.tile": tile, "pulp.micro_kernels": [source]},
        )

    def axis(self, tile: Expr, *names: str) -> list[TileAxis]:
        """Return what a tile has of the axes ``image``, ``row`` or ``channel``."""
        axes = self.loop.at(tile)
        return [axes[self.variables[name]] for name in names]

    def start(self, name: str, tile: Expr) -> Expr:
        """Return the element of a buffer where a tile's copy starts."""
        return self.loop.copy_start(tile, self.periods[name], self.elements[name], self.copies[name])

    def place(self, name: str, tile: Expr) -> Expr:
        """Return the address of a tile's copy."""
        return address_of(element(self.buffers[name], self.start(name, tile)))

    def workers(self, name: str, *arguments: Expr) -> Stmt:
        """Return a micro-kernel's call by all workers."""
        worker = Var("worker", "int32")
        return parallel(worker, self.features.cores, Evaluate(call_extern("int32", name, worker, *arguments)))

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
