"""Softmax-cross-entropy: loss, gradient by the logits, or both in one pass over the logits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tvm_pulp.schedules.dialect import (
    barrier,
    ceil_div,
    element,
    flat_argument,
    kernel_function,
    sequence,
)
from tvm_pulp.schedules.microkernels.cross_entropy import CrossEntropySettings, cross_entropy_source
from tvm_pulp.schedules.row_tiles import RowTensor, RowTiles, call_workers
from tvm_pulp.target.tvm_names import Buffer, Expr, PrimFunc, Stmt, address_of, buffer_shape

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
        self.workload, self.cores = workload, cores
        self.parts = _parts(rows, cores)
        self.flat = {name: flat_argument(buffer) for name, buffer in workload.arguments.items()}
        tensors = {
            name: RowTensor(argument, 1 if name == "labels" else workload.classes, name == "gradient")
            for name, argument in self.flat.items()
            if name != "loss"
        }
        self.tiles = RowTiles(tensors, workload.rows, rows)
        self.l1 = self.tiles.l1
        self.totals = address_of(element(self.tiles.allocate("totals", rows * self.parts), 0))
        self.largest = address_of(element(self.tiles.allocate("largest", rows), 0))
        self.losses = []
        if "loss" in self.flat:
            self.losses = [address_of(element(self.tiles.allocate("losses", cores), 0))]

    def build(self) -> PrimFunc:
        body = [self.tiles.run(self._compute)]
        if self.losses:
            # after the stores of gradients there is a barrier already
            body += [] if "gradient" in self.flat else [barrier()]
            pointers = [*self.losses, address_of(element(self.flat["loss"], 0))]
            body.append(call_workers(self.cores, "cross_entropy_loss", pointers))
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
            sequence(self.tiles.declarations, *body),
            self.l1,
            self.cores,
            {
                "pulp.schedule": "cross_entropy",
                "pulp.tile": f"rows {self.tiles.tile}/{self.workload.rows}",
                "pulp.micro_kernels": [cross_entropy_source(settings)],
            },
        )

    def _compute(self, tile: Expr) -> Stmt:
        size = self.tiles.size(tile)
        logits, labels = (self.tiles.pointer(name, tile) for name in ("logits", "labels"))
        statistics = [self.totals, self.largest]
        gradient = [self.tiles.pointer("gradient", tile)] if "gradient" in self.flat else []
        return sequence(
            call_workers(self.cores, "cross_entropy_exponentials", [size, logits, *statistics, *gradient]),
            barrier() if self.parts > 1 else None,
            call_workers(
                self.cores,
                "cross_entropy_results",
                [size, tile, logits, labels, *statistics, *gradient, *self.losses],
            ),
        )
