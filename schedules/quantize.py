"""Float32 images to bytes with their channels innermost, and back: tiles of pixels, DMA beside the work."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from tvm_pulp.schedules.base import ClusterFeatures
from tvm_pulp.schedules.dialect import (
    TO_L1,
    TO_L2,
    L1Allocator,
    aligned,
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
from tvm_pulp.schedules.microkernels.dequantize import DequantizeSettings, dequantize_source
from tvm_pulp.schedules.microkernels.quantize import QuantizeSettings, quantize_source
from tvm_pulp.schedules.tile_loop import TiledAxis, TileLoop
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

_CYCLES_AN_ELEMENT, _CYCLES_OF_PLAIN_C = 4.2, 25.0
_CYCLES_A_TILE = 250.0
_CYCLES_A_TRANSFER = 60.0
_AHEAD = 2
"""Tiles by which loads run ahead of the work, so that the DMA does not stand still."""
_DRIVING_BLOCKS = 4
"""Passes of the loop in assembly that take as long as worker 0 drives the DMA for a tile."""
_FEWEST_CHANNELS = 32
"""Of bytes that become floats: workers share out words of four channels."""
_FIRST = 4
"""What part of the others the first tile is, as a divisor."""
_DMA_BYTES_A_CYCLE = 8.0


@dataclass(frozen=True)
class QuantizeWorkload:
    """A kernel of the classes: floats [images, channels, pixels], bytes [images, pixels, channels]."""

    function: PrimFunc
    images: int
    channels: int
    pixels: int
    settings: QuantizeSettings | DequantizeSettings

    @property
    def has_assembly(self) -> bool:
        """Whether there is assembly for these channels."""
        return not isinstance(self.settings, QuantizeSettings) or self.settings.has_words

    @property
    def block(self) -> int:
        """Pixels of a pass of the loop in assembly, where workers share out pixels."""
        return self.settings.pixels if isinstance(self.settings, QuantizeSettings) else 1


class QuantizeTemplate:
    """The template of functions with the attribute ``"pulp.quantize"`` or ``"pulp.dequantize"``."""

    name = "quantize"

    def match(self, function: PrimFunc) -> QuantizeWorkload | None:
        """Return the workload; None for anything else, and for other orders of axes."""
        attributes = function.attrs or {}
        if "pulp.quantize" in attributes:
            value = attributes["pulp.quantize"]
            extents = _extents(buffer_shape(function.params[0]), [int(axis) for axis in value["axes"]])
            if extents is None:
                return None
            reciprocal = bits_float(int(value["reciprocal_bits"]))
            settings = QuantizeSettings(reciprocal, int(value["zero_point"]), extents[1])
            return QuantizeWorkload(function, *extents, settings)
        if "pulp.dequantize" in attributes:
            value = attributes["pulp.dequantize"]
            axes = [int(axis) for axis in value["axes"]]
            back = [axes.index(axis) for axis in range(len(axes))]
            extents = _extents(buffer_shape(function.params[1]), back)
            if extents is None or extents[1] % 4 or extents[1] < _FEWEST_CHANNELS:
                return None
            scale = bits_float(int(value["scale_bits"]))
            inverse = DequantizeSettings(scale, int(value["zero_point"]), extents[1])
            return QuantizeWorkload(function, *extents, inverse)
        return None

    def knobs(self, workload: QuantizeWorkload, features: ClusterFeatures) -> dict[str, list[int]]:
        """Return tile sizes to choose from."""
        if not workload.has_assembly:
            return {"tile_pixels": tile_sizes(workload.pixels, 2)}
        if isinstance(workload.settings, DequantizeSettings):
            return {"tile_pixels": tile_sizes(workload.pixels, 1)}
        block = workload.block
        even, less = features.cores * block, _DRIVING_BLOCKS * block  # what is shared out without a rest
        sizes = tile_sizes(workload.pixels + less, even)
        return {"tile_pixels": sorted({min(size - less, workload.pixels) for size in sizes if size > less})}

    def default(self, workload: QuantizeWorkload, features: ClusterFeatures) -> dict[str, int] | None:
        """Return the knobs with the lowest estimate of all that fit L1; None where none do."""
        choices = [{"tile_pixels": size} for size in self.knobs(workload, features)["tile_pixels"]]
        fit = [knobs for knobs in choices if self.l1_bytes(workload, knobs) <= features.kernel_l1_bytes]
        return min(fit, key=lambda knobs: self.estimate_cycles(workload, knobs, features), default=None)

    def l1_bytes(self, workload: QuantizeWorkload, knobs: dict[str, int]) -> int:
        """Return the L1 that the tiles need."""
        elements = knobs["tile_pixels"] * workload.channels
        copies = min(_tiles(workload, knobs), _AHEAD + 1)
        return sum(copies * aligned(elements * item) for item in (4, 1))

    def estimate_cycles(
        self, workload: QuantizeWorkload, knobs: dict[str, int], features: ClusterFeatures
    ) -> float:
        """Estimate the cycles of a call: work and DMA side by side, and what cannot overlap."""
        elements, tiles = knobs["tile_pixels"] * workload.channels, _tiles(workload, knobs)
        is_fast = features.has_xpulp and workload.has_assembly
        an_element = _CYCLES_AN_ELEMENT if is_fast else _CYCLES_OF_PLAIN_C
        work = ceil_div(elements, features.cores) * an_element + _CYCLES_A_TILE
        load = 4 * elements / _DMA_BYTES_A_CYCLE + 12 * workload.channels
        first = load * (1 - _lacks(workload, knobs["tile_pixels"]) / knobs["tile_pixels"])
        return tiles * max(work, load) + first + elements / _DMA_BYTES_A_CYCLE + 2 * _CYCLES_A_TRANSFER

    def build(self, workload: QuantizeWorkload, knobs: dict[str, int], features: ClusterFeatures) -> PrimFunc:
        """Return the function in the cluster dialect."""
        return _build(workload, knobs["tile_pixels"], features)


def _extents(shape: Sequence[int], axes: list[int]) -> tuple[int, int, int] | None:
    """Return images, channels and pixels of floats whose channels become innermost; None for others."""
    if axes == sorted(axes):
        images, channels, pixels = 1, 1, math.prod(shape)
    elif axes == [0, *range(2, len(shape)), 1]:
        images, channels, pixels = shape[0], shape[1], math.prod(shape[2:])
    else:
        return None
    return (1, 1, images * pixels) if channels == 1 else (images, channels, pixels)


def _lacks(w: QuantizeWorkload, tile_pixels: int) -> int:
    """Return by how many pixels the first tile of the only image is shorter: little is waited for."""
    if w.images > 1 or tile_pixels >= w.pixels:
        return 0
    whole = 4 * w.block
    return max(tile_pixels - ceil_div(tile_pixels, _FIRST * whole) * whole, 0)


def _tiles(w: QuantizeWorkload, knobs: dict[str, int]) -> int:
    size = knobs["tile_pixels"]
    return w.images * ceil_div(w.pixels + _lacks(w, size), size)


def _source(settings: QuantizeSettings | DequantizeSettings, features: ClusterFeatures) -> str:
    if isinstance(settings, QuantizeSettings):
        return quantize_source(settings, assembly=features.has_xpulp)
    return dequantize_source(settings, assembly=features.has_xpulp)


def _build(w: QuantizeWorkload, tile_pixels: int, features: ClusterFeatures) -> PrimFunc:
    analyzer, l1 = arith.Analyzer(), L1Allocator()
    image, pixel = Var("image", "int32"), Var("pixel", "int32")
    axes = [TiledAxis(image, w.images, 1), TiledAxis(pixel, w.pixels, tile_pixels, _lacks(w, tile_pixels))]
    loop = TileLoop(axes, [], analyzer, _AHEAD)
    data, result = arguments = [flat_argument(parameter) for parameter in w.function.params]
    elements, copies = tile_pixels * w.channels, min(loop.total, _AHEAD + 1)
    sizes = {"float32": aligned(elements, 4), "uint8": aligned(elements)}
    quantizes = isinstance(w.settings, QuantizeSettings)
    types = ("float32", "uint8") if quantizes else ("uint8", "float32")
    data_l1, declare_data = l1.allocate("data_l1", sizes[types[0]] * copies, types[0])
    result_l1, declare_result = l1.allocate("result_l1", sizes[types[1]] * copies, types[1])

    def start(tile: Expr, buffer: Buffer) -> Expr:
        return loop.copy_start(tile, 1, sizes[buffer_dtype(buffer)], _AHEAD + 1)

    def box(tile: Expr, buffer: Buffer) -> Box:
        axes = loop.at(tile)
        first, pixels = axes[pixel].offset, axes[pixel].size
        if buffer_dtype(buffer) == "float32":
            return Box(
                (w.images, w.channels, w.pixels),
                (axes[image].offset, index(0), first),
                (index(1), index(w.channels), pixels),
            )
        return Box(
            (w.images, w.pixels, w.channels),
            (axes[image].offset, first, index(0)),
            (index(1), pixels, index(w.channels)),
        )

    def loads(tile: Expr, slot: Expr) -> list[Stmt]:
        return [transfer(slot, data_l1, start(tile, data_l1), data, box(tile, data_l1), TO_L1, analyzer)]

    def stores(tile: Expr, slot: Expr) -> list[Stmt]:
        place = start(tile, result_l1)
        return [transfer(slot, result_l1, place, result, box(tile, result_l1), TO_L2, analyzer)]

    def compute(tile: Expr) -> Stmt:
        worker = Var("worker", "int32")
        places = [address_of(element(buffer, start(tile, buffer))) for buffer in (data_l1, result_l1)]
        name = "quantize_tile" if quantizes else "dequantize_tile"
        driving = index(_DRIVING_BLOCKS if loop.total > 1 else 0)
        call = call_extern("int32", name, worker, *places, loop.at(tile)[pixel].size, driving)
        return parallel(worker, features.cores, Evaluate(call))

    return kernel_function(
        w.function,
        arguments,
        sequence(declare_data, declare_result, loop.run(loads, stores, compute)),
        l1,
        features.cores,
        {
            "pulp.schedule": "quantize" if quantizes else "dequantize",
            "pulp.tile": f"pixels {tile_pixels}/{w.pixels}",
            "pulp.micro_kernels": [_source(w.settings, features)],
        },
    )
