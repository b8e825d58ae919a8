"""Maximum pooling and its gradient: tiles of whole images (a channel of a sample)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tvm_pulp.schedules.dialect import barrier, ceil_div, flat_argument, index, kernel_function, sequence
from tvm_pulp.schedules.microkernels.max_pool import max_pool_gradient_source, max_pool_source
from tvm_pulp.schedules.microkernels.max_pool_assembly import window_cycles
from tvm_pulp.schedules.microkernels.max_pool_settings import MaxPoolSettings
from tvm_pulp.schedules.row_tiles import RowTensor, RowTiles, call_workers
from tvm_pulp.target.tvm_names import Expr, PrimFunc, Stmt, buffer_shape

if TYPE_CHECKING:
    from tvm_pulp.schedules.base import ClusterFeatures

_TENSORS = {
    "max_pool2d": ("data", "output"),
    "max_pool2d_data_gradient": ("data", "output_gradient", "data_gradient"),
}
"""Buffers of each operator class."""
_LARGEST_WINDOW = 16
"""Taps up to which a window is written out."""
_CYCLES_A_TILE = 300.0
_CYCLES_A_ROW = 60.0
_CYCLES_A_PHASE = 80.0
_DMA_BYTES_A_CYCLE = 8.0


@dataclass(frozen=True)
class MaxPoolWorkload:
    """A function that the template takes."""

    function: PrimFunc
    operator: str
    images: int
    settings: MaxPoolSettings

    @property
    def elements(self) -> dict[str, int]:
        """Elements of an image of each tensor."""
        image, pooled = (a * b for a, b in (self.settings.image, self.settings.pooled))
        return {name: image if name.startswith("data") else pooled for name in _TENSORS[self.operator]}


class MaxPoolTemplate:
    """The template of the classes "max_pool2d" and "max_pool2d_data_gradient", small windows."""

    name = "max_pool"

    def match(self, function: PrimFunc) -> MaxPoolWorkload | None:
        """Return the workload, None for anything else."""
        operator = str(function.attrs.get("pulp.operator", ""))
        if operator not in _TENSORS:
            return None
        pool = function.attrs["pulp.pool2d"]
        shapes = {name: buffer_shape(p) for name, p in zip(_TENSORS[operator], function.params, strict=True)}
        data = shapes["data"]
        pooled = shapes["output" if operator == "max_pool2d" else "output_gradient"]
        window, strides, dilation = (_pair(pool[key]) for key in ("window", "strides", "dilation"))
        if dilation != (1, 1) or window[0] * window[1] > _LARGEST_WINDOW:
            return None
        before = _pair(pool["padding"][:2])
        settings = MaxPoolSettings(_pair(data[2:]), _pair(pooled[2:]), window, strides, before)
        return MaxPoolWorkload(function, operator, data[0] * data[1], settings)

    def knobs(self, workload: MaxPoolWorkload, features: ClusterFeatures) -> dict[str, list[int]]:
        """Return numbers of images of a tile to choose from."""
        images, cores = workload.images, features.cores
        counts = {ceil_div(images, n) for n in (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64)}
        counts |= {min(images, n * cores) for n in (1, 2, 3, 4, 6, 8)} | {1}
        return {"tile_images": sorted(counts, reverse=True)}

    def default(self, workload: MaxPoolWorkload, features: ClusterFeatures) -> dict[str, int] | None:
        """Return the knobs with the lowest estimate of all that fit L1, None where an image does not fit."""
        choices = [{"tile_images": images} for images in self.knobs(workload, features)["tile_images"]]
        fit = [knobs for knobs in choices if self.l1_bytes(workload, knobs) <= features.kernel_l1_bytes]
        return min(fit, key=lambda knobs: self.estimate_cycles(workload, knobs, features), default=None)

    def l1_bytes(self, workload: MaxPoolWorkload, knobs: dict[str, int]) -> int:
        """Return the L1 that the tiles need."""
        return _tiles(workload, knobs).l1.peak

    def estimate_cycles(
        self, workload: MaxPoolWorkload, knobs: dict[str, int], features: ClusterFeatures
    ) -> float:
        """Estimate the cycles of a call: work and DMA of each tile side by side, plus what cannot overlap."""
        s, images = workload.settings, knobs["tile_images"]
        taps, results = s.window[0] * s.window[1], s.pooled[0] * s.pooled[1]
        forward = workload.operator == "max_pool2d"
        if s.fits_registers and features.has_xpulp:
            a_window = window_cycles(*s.window, forward=forward, partition=s.is_partition)
        else:
            a_window = (2 if forward else 5 if s.is_partition else 9) * taps + 8.0
        rows = s.pooled[0] * (0 if s.is_partition and not forward else _CYCLES_A_ROW)
        work = (results * a_window + rows) * images / features.cores
        if not forward and not s.is_partition:
            work += s.image[0] * s.image[1] * images / features.cores + s.phases * _CYCLES_A_PHASE
        sizes = workload.elements
        written = [n for name, n in sizes.items() if name in ("output", "data_gradient")]
        moves = [
            4 * images * n / _DMA_BYTES_A_CYCLE for n in (sum(sizes.values()) - sum(written), sum(written))
        ]
        tiles = workload.images / images
        return tiles * max(work + _CYCLES_A_TILE, *moves) + sum(moves)

    def build(self, workload: MaxPoolWorkload, knobs: dict[str, int], features: ClusterFeatures) -> PrimFunc:
        """Return the function in the cluster dialect."""
        tiles = _tiles(workload, knobs)
        forward = workload.operator == "max_pool2d"

        def compute(tile: Expr) -> Stmt:
            pointers = [tiles.pointer(name, tile) for name in tiles.tensors]
            size, settings = tiles.size(tile), workload.settings
            if forward:
                return call_workers(features.cores, "max_pool_forward", [size, *pointers])
            steps = []
            if not settings.is_partition:
                steps = [call_workers(features.cores, "max_pool_clear", [size, pointers[-1]]), barrier()]
            for phase in range(settings.phases):
                steps += [barrier()] if phase else []
                steps.append(
                    call_workers(features.cores, "max_pool_backward", [size, index(phase), *pointers])
                )
            return sequence(steps)

        return kernel_function(
            workload.function,
            [tensor.argument for tensor in tiles.tensors.values()],
            sequence(tiles.declarations, tiles.run(compute)),
            tiles.l1,
            features.cores,
            {
                "pulp.schedule": "max_pool",
                "pulp.tile": f"images {knobs['tile_images']}/{workload.images}",
                "pulp.micro_kernels": [
                    (max_pool_source if forward else max_pool_gradient_source)(
                        workload.settings, assembly=features.has_xpulp
                    )
                ],
            },
        )


def _pair(values: Sequence[int]) -> tuple[int, int]:
    first, second = values
    return int(first), int(second)


def _tiles(workload: MaxPoolWorkload, knobs: dict[str, int]) -> RowTiles:
    parameters = dict(zip(_TENSORS[workload.operator], workload.function.params, strict=True))
    tensors = {
        name: RowTensor(flat_argument(parameters[name]), elements, name in ("output", "data_gradient"))
        for name, elements in workload.elements.items()
    }
    return RowTiles(tensors, workload.images, knobs["tile_images"])
