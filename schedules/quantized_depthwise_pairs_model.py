"""Model of quantised depthwise convolutions 3x3 with stride 2: sizes, tiles, their L1 and their cycles."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from functools import lru_cache

from tvm_pulp.schedules.dialect import aligned
from tvm_pulp.schedules.matmul_model import tile_sizes
from tvm_pulp.schedules.microkernels.depthwise_pairs import DepthwisePairs, pairs_cycles
from tvm_pulp.schedules.microkernels.unpack_weight import CYCLES_A_VALUE, packed_bytes
from tvm_pulp.schedules.quantized_conv2d_workload import QuantizedConv2dSizes, QuantizedConv2dWorkload
from tvm_pulp.schedules.quantized_depthwise_model import ITEM
from tvm_pulp.schedules.quantized_depthwise_model import read_workload as read_depthwise
from tvm_pulp.target.tvm_names import PrimFunc

_CYCLES_A_TILE = 220.0
_CYCLES_AT_ENDS = 250.0
"""To start the first transfer, to write padding, and to wait for the last store."""
_CYCLES_A_LINE = 12.0
"""A row of the image is a transfer of its own, which core 0 starts."""
_DMA_BYTES_A_CYCLE = 8.0


def read_workload(function: PrimFunc) -> QuantizedConv2dWorkload | None:
    """Return the workload; None for other windows, strides, channels and requantisations."""
    workload = read_depthwise(function)
    if workload is None:
        return None
    s = workload.sizes
    window = s.kernel == (3, 3) and s.strides == (2, 2) and s.dilation == (1, 1)
    sizes = WholeRows(**{field.name: getattr(s, field.name) for field in fields(s)})
    return replace(workload, sizes=sizes) if window and micro_kernel_sizes(sizes).is_supported() else None


def micro_kernel_sizes(s: QuantizedConv2dSizes, cores: int = 1) -> DepthwisePairs:
    """Return what the micro-kernel's code depends on."""
    epilogue = replace(s.epilogue, multipliers=4 * s.channels)
    return DepthwisePairs(
        s.channels, s.columns, s.width, s.padding[1], s.pitch, s.zero_point, epilogue, cores
    )


class WholeRows(QuantizedConv2dSizes):
    """Sizes of an image whose rows lie in L1 as in L2, but for words: without columns of padding."""

    @property
    def left(self) -> int:
        """None."""
        return 0

    @property
    def padded_width(self) -> int:
        """Columns of the image."""
        return self.width

    @property
    def slack(self) -> int:
        """Windows' rows are not read in words."""
        return 0

    @property
    def ends_in_image(self) -> bool:
        """Whether the last windows do not go beyond the image, and the first ones by a row at most."""
        return self.padding[0] <= 1 and self.source_rows(self.rows) - self.padding[0] <= self.height

    @property
    def has_rows_of_padding(self) -> bool:
        """Whether there is padding above or below that is no part of the code, as a row above is."""
        return super().has_rows_of_padding and not self.ends_in_image


@dataclass(frozen=True)
class DepthwisePairsBlocking:
    """Bound knobs: rows of results of a tile, and of the first one, whose transfer is waited for."""

    tile_y: int
    first_y: int

    @staticmethod
    def of(s: QuantizedConv2dSizes, knobs: Mapping[str, int]) -> DepthwisePairsBlocking:
        """Return the blocking for knobs."""
        tile_y = min(knobs["tile_y"], s.rows)
        first_y = min(knobs.get("first_y", tile_y), tile_y)
        return DepthwisePairsBlocking(tile_y, first_y if tile_y < s.rows else tile_y)

    @property
    def lacks(self) -> int:
        """Rows that the first tile has less."""
        return self.tile_y - self.first_y

    def rows_of_tiles(self, s: QuantizedConv2dSizes) -> list[int]:
        """Return the rows of each tile of an image."""
        ends = [min(end, s.rows) for end in range(self.first_y, s.rows + self.tile_y, self.tile_y)]
        return [end - start for start, end in zip([0, *ends], ends, strict=False)]

    def knobs(self) -> dict[str, int]:
        """Return the knobs."""
        return asdict(self)

    def tile_elements(self, s: QuantizedConv2dSizes) -> dict[str, int]:
        """Return the elements of a tile of each buffer in L1."""
        sizes = {
            "data": s.source_rows(self.tile_y) * s.pitch,
            "weight": s.channels * s.kernel[0] * s.chunk_of_channel,
            "weight_stored": packed_bytes(s.channels * s.kernel[0] * s.chunk_of_channel) if s.packed else 0,
            "bias": s.epilogue.vectors * s.channels,
            "result": self.tile_y * s.columns * s.channels,
        }
        return {name: aligned(size, ITEM[name]) for name, size in sizes.items() if size}

    def copies(self, s: QuantizedConv2dSizes) -> dict[str, int]:
        """Return the copies of each buffer: two of what changes from tile to tile."""
        several = 1 + (s.images * len(self.rows_of_tiles(s)) > 1)
        return dict.fromkeys(self.tile_elements(s), 1) | {"data": several, "result": several}


def l1_bytes(s: QuantizedConv2dSizes, b: DepthwisePairsBlocking) -> int:
    """Return the bytes of all tiles."""
    copies = b.copies(s)
    return sum(size * ITEM[name] * copies[name] for name, size in b.tile_elements(s).items())


def estimate_cycles(s: QuantizedConv2dSizes, b: DepthwisePairsBlocking, cores: int) -> float:
    """Estimate the cycles of a call: work and DMA of each tile side by side, plus what cannot overlap."""
    is_one = s.width * s.channels == s.pitch
    weights = (
        b.tile_elements(s)["weight_stored" if s.packed else "weight"] + 4 * s.epilogue.vectors * s.channels
    )
    rows = b.rows_of_tiles(s) * s.images
    loads = [
        s.source_rows(size) * (s.pitch / _DMA_BYTES_A_CYCLE + (0.0 if is_one else _CYCLES_A_LINE))
        for size in rows
    ]
    works = [_tile_cycles(s, size, cores) for size in rows]
    beside = sum(max(work, load) for work, load in zip(works, [*loads[1:], 0.0], strict=True))
    store = rows[-1] * s.columns * s.channels / _DMA_BYTES_A_CYCLE
    return (
        loads[0] + weights / _DMA_BYTES_A_CYCLE + beside + store + _CYCLES_AT_ENDS + _unpacking(s, b, cores)
    )


def _tile_cycles(s: QuantizedConv2dSizes, rows: int, cores: int) -> float:
    return pairs_cycles(rows, micro_kernel_sizes(s, cores)) + _CYCLES_A_TILE


def _unpacking(s: QuantizedConv2dSizes, b: DepthwisePairsBlocking, cores: int) -> float:
    return b.tile_elements(s)["weight"] * CYCLES_A_VALUE / cores if s.packed else 0.0


def work_cycles(s: QuantizedConv2dSizes, b: DepthwisePairsBlocking, cores: int) -> float:
    """Estimate the cycles of the work on all tiles, transfers apart."""
    work = sum(_tile_cycles(s, size, cores) for size in b.rows_of_tiles(s))
    return s.images * work + _unpacking(s, b, cores)


@lru_cache(maxsize=1024)
def search(s: QuantizedConv2dSizes, cores: int, limit: int) -> DepthwisePairsBlocking | None:
    """Return the blocking with the lowest estimate that fits ``limit`` bytes of L1; None where none does."""
    sizes = tile_sizes(s.rows, 1)
    knobs = [{"tile_y": tile, "first_y": first} for tile, first in itertools.product(sizes, sizes)]
    choices = [b for b in (DepthwisePairsBlocking.of(s, some) for some in knobs) if l1_bytes(s, b) <= limit]
    return min(choices, key=lambda b: estimate_cycles(s, b, cores), default=None)
