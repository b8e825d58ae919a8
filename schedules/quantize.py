"""Float32 images to bytes with their channels innermost: tiles of pixels, DMA both ways beside the work."""

from __future__ import annotations

import math
from dataclasses import dataclass

from tvm_pulp.schedules.base import ClusterFeatures
from tvm_pulp.schedules.dialect import (
    TO_L1,
    TO_L2,
    L1Allocator,
    ceil_div,
    element,
    flat_argument,
    index,
    kernel_function,
    parallel,
    sequence,
)
from tvm_pulp.schedules.matmul_model import tile_sizes
from tvm_pulp.schedules.microkernels.assembly import bits_float
from tvm_pulp.schedules.microkernels.quantize import QuantizeSettings, quantize_source
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
    buffer_shape,
    call_extern,
)

_CYCLES_AN_ELEMENT = 10.0
_CYCLES_A_TILE = 250.0
_DMA_BYTES_A_CYCLE = 8.0


@dataclass(frozen=True)
class QuantizeWorkload:
    """A kernel of the class: data [images, channels, pixels], result [images, pixels, channels]."""

    function: PrimFunc
    images: int
    channels: int
    pixels: int
    settings: QuantizeSettings


class QuantizeTemplate:
    """The template of functions with the attribute ``"pulp.quantize"``."""

    name = "quantize"

    def match(self, function: PrimFunc) -> QuantizeWorkload | None:
        """Return the workload; None for anything else, and for other orders of axes."""
        if function.attrs is None or "pulp.quantize" not in function.attrs:
            return None
        value = function.attrs["pulp.quantize"]
        shape, axes = buffer_shape(function.params[0]), [int(axis) for axis in value["axes"]]
        if axes == sorted(axes):
            images, channels, pixels = 1, 1, math.prod(shape)
        elif axes == [0, *range(2, len(shape)), 1]:
            images, channels, pixels = shape[0], shape[1], math.prod(shape[2:])
        else:
            return None
        reciprocal = bits_float(int(value["reciprocal_bits"]))
        settings = QuantizeSettings(reciprocal, int(value["zero_point"]), channels)
        return QuantizeWorkload(function, images, channels, pixels, settings)

    def knobs(self, workload: QuantizeWorkload, features: ClusterFeatures) -> dict[str, list[int]]:
        """Return tile sizes to choose from."""
        return {"tile_pixels": tile_sizes(workload.pixels, 2)}

    def default(self, workload: QuantizeWorkload, features: ClusterFeatures) -> dict[str, int] | None:
        """Return the knobs with the lowest estimate of all that fit L1; None where none do."""
        choices = [{"tile_pixels": size} for size in self.knobs(workload, features)["tile_pixels"]]
        fit = [knobs for knobs in choices if self.l1_bytes(workload, knobs) <= features.kernel_l1_bytes]
        return min(fit, key=lambda knobs: self.estimate_cycles(workload, knobs, features), default=None)

    def l1_bytes(self, workload: QuantizeWorkload, knobs: dict[str, int]) -> int:
        """Return the L1 that the tiles need."""
        elements = knobs["tile_pixels"] * workload.channels
        copies = 2 if _tiles(workload, knobs) > 1 else 1
        return sum(ceil_div(copies * elements * item, 16) * 16 for item in (4, 1))

    def estimate_cycles(
        self, workload: QuantizeWorkload, knobs: dict[str, int], features: ClusterFeatures
    ) -> float:
        """Estimate the cycles of a call: work and DMA of each tile side by side, plus what cannot overlap."""
        elements, tiles = knobs["tile_pixels"] * workload.channels, _tiles(workload, knobs)
        work = ceil_div(elements, features.cores) * _CYCLES_AN_ELEMENT + _CYCLES_A_TILE
        load = 4 * elements / _DMA_BYTES_A_CYCLE + 12 * workload.channels
        return tiles * max(work, load) + load + elements / _DMA_BYTES_A_CYCLE

    def build(self, workload: QuantizeWorkload, knobs: dict[str, int], features: ClusterFeatures) -> PrimFunc:
        """Return the function in the cluster dialect."""
        return _build(workload, knobs["tile_pixels"], features)


def _tiles(w: QuantizeWorkload, knobs: dict[str, int]) -> int:
    return w.images * ceil_div(w.pixels, knobs["tile_pixels"])


def _build(w: QuantizeWorkload, tile_pixels: int, features: ClusterFeatures) -> PrimFunc:
    analyzer, l1 = arith.Analyzer(), L1Allocator()
    image, pixel = Var("image", "int32"), Var("pixel", "int32")
    loop = TileLoop([TiledAxis(image, w.images, 1), TiledAxis(pixel, w.pixels, tile_pixels)], [], analyzer)
    data, result = arguments = [flat_argument(parameter) for parameter in w.function.params]
    elements, copies = tile_pixels * w.channels, min(loop.total, 2)
    data_l1, declare_data = l1.allocate("data_l1", elements * copies, "float32")
    result_l1, declare_result = l1.allocate("result_l1", elements * copies, "uint8")

    def start(tile: Expr) -> Expr:
        return loop.copy_start(tile, 1, elements)

    def loads(tile: Expr, slot: Expr) -> list[Stmt]:
        axes = loop.at(tile)
        box = Box(
            (w.images, w.channels, w.pixels),
            (axes[image].offset, index(0), axes[pixel].offset),
            (index(1), index(w.channels), axes[pixel].size),
        )
        return [transfer(slot, data_l1, start(tile), data, box, TO_L1, analyzer)]

    def stores(tile: Expr, slot: Expr) -> list[Stmt]:
        axes = loop.at(tile)
        box = Box(
            (w.images, w.pixels, w.channels),
            (axes[image].offset, axes[pixel].offset, index(0)),
            (index(1), axes[pixel].size, index(w.channels)),
        )
        return [transfer(slot, result_l1, start(tile), result, box, TO_L2, analyzer)]

    def compute(tile: Expr) -> Stmt:
        worker = Var("worker", "int32")
        places = [address_of(element(buffer, start(tile))) for buffer in (data_l1, result_l1)]
        call = call_extern("int32", "quantize_tile", worker, *places, loop.at(tile)[pixel].size)
        return parallel(worker, features.cores, Evaluate(call))

    return kernel_function(
        w.function,
        arguments,
        sequence(declare_data, declare_result, loop.run(loads, stores, compute)),
        l1,
        features.cores,
        {
            "pulp.schedule": "quantize",
            "pulp.tile": f"pixels {tile_pixels}/{w.pixels}",
            "pulp.micro_kernels": [quantize_source(w.settings, assembly=features.has_xpulp)],
        },
    )
