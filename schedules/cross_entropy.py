"""Softmax-cross-entropy: loss, gradient by the logits, or both in one pass over the logits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tvm_pulp.schedules.dialect import (
    TO_L1,
    TO_L2,
    L1Allocator,
    barrier,
    ceil_div,
    element,
    flat_argument,
    index,
    kernel_function,
    parallel,
    sequence,
)
from tvm_pulp.schedules.microkernels.cross_entropy import CrossEntropySettings, cross_entropy_source
from tvm_pulp.schedules.tile_loop import TiledAxis, TileLoop, Transfers
from tvm_pulp.schedules.transfers import Box, transfer
from tvm_pulp.target.tvm_names import (
    Buffer,
    Evaluate,
    Expr,
    PrimFunc,
    Stmt,
    Var,
    address_of,
    arith,
    buffer_dtype,
    buffer_shape,
    call_extern,
)

if TYPE_CHECKING:
    from tvm_pulp.schedules.base import ClusterFeatures

_RESULTS = {
    "cross_entropy": ("loss",),
    "cross_entropy_gradient": ("gradient",),
    "cross_entropy_training": ("loss", "gradient"),
}
_CYCLES_AN_EXPONENTIAL = 45.0
_CYCLES_A_ROW = 120.0
_CYCLES_A_TILE = 300.0


@dataclass(frozen=True)
class CrossEntropyWorkload:
    """A function that the template takes: its arguments by what they are."""

    function: PrimFunc
    rows: int
    classes: int
    scale: float
    arguments: dict[str, Buffer]


class CrossEntropyTemplate:
    """The template of the classes "cross_entropy", "cross_entropy_gradient" and "cross_entropy_training"."""

    name = "cross_entropy"

    def match(self, function: PrimFunc) -> CrossEntropyWorkload | None:
        """Return the workload, None for anything else."""
        results = _RESULTS.get(str(function.attrs.get("pulp.operator", "")))
        if results is None or "pulp.cross_entropy" not in function.attrs:
            return None
        rows, classes = buffer_shape(function.params[0])
        scale = float(function.attrs["pulp.cross_entropy"]["scale"])
        arguments = dict(zip(("logits", "labels", *results), function.params, strict=True))
        return CrossEntropyWorkload(function, rows, classes, scale, arguments)

    def knobs(self, workload: CrossEntropyWorkload, features: ClusterFeatures) -> dict[str, list[int]]:
        """Return numbers of rows of a tile to choose from; the workers are what the L1 depends on besides."""
        counts = [2**n for n in range(workload.rows.bit_length() + 1)]
        rows = sorted({ceil_div(workload.rows, n) for n in counts}, reverse=True)
        return {"tile_rows": rows, "workers": [features.cores]}

    def default(self, workload: CrossEntropyWorkload, features: ClusterFeatures) -> dict[str, int] | None:
        """Return the knobs with the lowest estimate of all that fit L1, None where a row does not fit."""
        every = self.knobs(workload, features)["tile_rows"]
        choices = [{"tile_rows": rows, "workers": features.cores} for rows in every]
        fit = [knobs for knobs in choices if self.l1_bytes(workload, knobs) <= features.kernel_l1_bytes]
        return min(fit, key=lambda knobs: self.estimate_cycles(workload, knobs, features), default=None)

    def l1_bytes(self, workload: CrossEntropyWorkload, knobs: dict[str, int]) -> int:
        """Return the L1 that the tiles need."""
        return _Builder(workload, knobs["tile_rows"], knobs["workers"]).l1.peak

    def estimate_cycles(
        self, workload: CrossEntropyWorkload, knobs: dict[str, int], features: ClusterFeatures
    ) -> float:
        """Estimate the cycles of a call: exponentials, whole rows' maxima, what cannot overlap."""
        rows, workers = knobs["tile_rows"], knobs["workers"]
        parts = _parts(rows, workers)
        rounds = ceil_div(rows, workers // parts)
        row = _CYCLES_AN_EXPONENTIAL * ceil_div(workload.classes, parts) + 4 * workload.classes
        tiles = ceil_div(workload.rows, rows)
        return tiles * (_CYCLES_A_TILE + rounds * (row + _CYCLES_A_ROW))

    def build(
        self, workload: CrossEntropyWorkload, knobs: dict[str, int], features: ClusterFeatures
    ) -> PrimFunc:
        """Return the function in the cluster dialect."""
        return _Builder(workload, knobs["tile_rows"], knobs["workers"]).build()


def _parts(rows: int, cores: int) -> int:
    """Return how many workers share a row of a tile."""
    return max(1, cores // rows)


class _Builder:
    def __init__(self, workload: CrossEntropyWorkload, rows: int, cores: int) -> None:
        self.workload, self.rows, self.cores = workload, rows, cores
        self.analyzer = arith.Analyzer()
        self.axis = Var("row", "int32")
        self.loop = TileLoop([TiledAxis(self.axis, workload.rows, rows)], (), self.analyzer)
        self.parts = _parts(rows, cores)
        self.flat = {name: flat_argument(buffer) for name, buffer in workload.arguments.items()}
        self.tiled = [name for name in ("logits", "labels", "gradient") if name in self.flat]
        self.l1 = L1Allocator()
        self.declarations: list[Stmt] = []
        copies = min(2, self.loop.total)
        self.buffers: dict[str, Buffer] = {
            name: self._allocate(name, copies * self._size(name), buffer_dtype(self.flat[name]))
            for name in self.tiled
        }
        self.totals = self._allocate("totals", rows * self.parts, "float32")
        self.largest = self._allocate("largest", rows, "float32")
        self.losses = self._allocate("losses", cores, "float32") if "loss" in self.flat else None

    def _allocate(self, name: str, elements: int, dtype: str) -> Buffer:
        buffer, declaration = self.l1.allocate(f"{name}_l1", elements, dtype)
        self.declarations.append(declaration)
        return buffer

    def _size(self, name: str) -> int:
        """Return the elements of a tensor's tile."""
        return self.rows * (1 if name == "labels" else self.workload.classes)

    def build(self) -> PrimFunc:
        stores = self._moves(("gradient",), TO_L2) if "gradient" in self.flat else None
        body = [self.loop.run(self._moves(("logits", "labels"), TO_L1), stores, self._compute)]
        if self.losses is not None:
            if stores is None:
                body.append(barrier())
            pointers = [address_of(element(b, 0)) for b in (self.losses, self.flat["loss"])]
            body.append(self._call("cross_entropy_loss", [], pointers))
        settings = CrossEntropySettings(
            self.workload.classes,
            self.workload.scale,
            "loss" in self.flat,
            "gradient" in self.flat,
            self.parts,
        )
        return kernel_function(
            self.workload.function,
            list(self.flat.values()),
            sequence(self.declarations, *body),
            self.l1,
            self.cores,
            {
                "pulp.schedule": "cross_entropy",
                "pulp.tile": f"rows {self.rows}/{self.workload.rows}",
                "pulp.micro_kernels": [cross_entropy_source(settings)],
            },
        )

    def _moves(self, names: tuple[str, ...], direction: int) -> Transfers:
        def transfers(tile: Expr, slot: Expr) -> list[Stmt]:
            place = self.loop.at(tile)[self.axis]
            moved = []
            for name in names:
                shape = buffer_shape(self.workload.arguments[name])
                box = Box(shape, (place.offset, *[index(0)] * (len(shape) - 1)),
                          (place.size, *map(index, shape[1:])))  # fmt: skip
                moved.append(
                    transfer(slot, self.buffers[name], self._start(name, tile), self.flat[name], box,
                             direction, self.analyzer)
                )  # fmt: skip
            return moved

        return transfers

    def _start(self, name: str, tile: Expr) -> Expr:
        return self.loop.copy_start(tile, 1, self._size(name))

    def _compute(self, tile: Expr) -> Stmt:
        at = {name: address_of(element(self.buffers[name], self._start(name, tile))) for name in self.tiled}
        totals, largest = address_of(element(self.totals, 0)), address_of(element(self.largest, 0))
        size = self.loop.at(tile)[self.axis].size
        gradient = [at["gradient"]] if "gradient" in at else []
        losses = [] if self.losses is None else [address_of(element(self.losses, 0))]
        return sequence(
            self._call("cross_entropy_exponentials", [size], [at["logits"], totals, largest, *gradient]),
            barrier() if self.parts > 1 else None,
            self._call(
                "cross_entropy_results",
                [size, tile],
                [at["logits"], at["labels"], totals, largest, *gradient, *losses],
            ),
        )

    def _call(self, name: str, numbers: list[Expr], pointers: list[Expr]) -> Stmt:
        worker = Var("worker", "int32")
        call = call_extern("int32", name, worker, *numbers, *pointers)
        return parallel(worker, self.cores, Evaluate(call))
