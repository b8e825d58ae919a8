"""Tiles of a product of bytes: their sizes, an estimate of the cycles, and the search for the best ones."""

from __future__ import annotations

import itertools
import math
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass
from functools import lru_cache

from tvm_pulp.schedules.dialect import aligned, ceil_div
from tvm_pulp.schedules.dot_panel_model import tile_cycles
from tvm_pulp.schedules.matmul_model import tile_sizes
from tvm_pulp.schedules.microkernels.assembly import LARGEST_IMMEDIATE
from tvm_pulp.schedules.microkernels.dot_panel import LARGEST_BLOCK, DotDistances, Epilogue
from tvm_pulp.schedules.microkernels.stationary_panel import stationary_cycles
from tvm_pulp.schedules.microkernels.transposing_panel import (
    COLUMNS,
    ROWS,
    TransposingPanel,
    transposing_cycles,
)
from tvm_pulp.schedules.microkernels.unpack_weight import CYCLES_A_VALUE, begins_words, packed_bytes
from tvm_pulp.schedules.quantized_matmul_workload import QuantizedMatmulWorkload
from tvm_pulp.schedules.tile_loop import TiledAxis, period
from tvm_pulp.target.tvm_names import Var

BLOCKS = (5, 4)
"""Rows that a register block may have; it has four columns."""
STATIONARY = 0
"""In place of rows of a register block: the weights stay in registers, see ``stationary_panel``."""
_COLUMNS = LARGEST_BLOCK[1]

_CYCLES_A_TILE = 150.0
_CYCLES_A_TRANSPOSED_BYTE = 1.2  # of one worker
_CYCLES_A_GATHERED_BYTE = 1.3
_CYCLES_A_MISALIGNED_BYTE = 0.2  # in addition, where rows start at any address
_CYCLES_A_REARRANGEMENT = 120.0
_DMA_BYTES_A_CYCLE = 8.0
_CYCLES_A_LINE = 1.0


@dataclass(frozen=True)
class QuantizedMatmulBlocking:
    """Bound knobs: tile sizes, rows of the register block, order of the tile loops (0: rows outside).

    With `STATIONARY` rows the weights stay in registers.
    """

    tile_m: int
    tile_n: int
    block_rows: int
    order: int

    @staticmethod
    def of(w: QuantizedMatmulWorkload, knobs: Mapping[str, int]) -> QuantizedMatmulBlocking:
        """Return the blocking for knobs, clipped to the workload's extents."""
        tile_m, tile_n, rows = min(knobs["tile_m"], w.m), min(knobs["tile_n"], w.n), knobs["block_rows"]
        if rows == STATIONARY and not w.can_be_stationary(tile_n):
            rows = BLOCKS[-1]
        return QuantizedMatmulBlocking(tile_m, tile_n, min(rows, tile_m), knobs["order"])

    def knobs(self) -> dict[str, int]:
        """Return the knobs."""
        return asdict(self)

    @property
    def block(self) -> tuple[int, int]:
        """Rows and columns of the register block."""
        return self.block_rows, min(_COLUMNS, self.tile_n)

    def along_rows(self, w: QuantizedMatmulWorkload, cores: int) -> bool:
        """Tell whether blocks follow one another along the rows of a tile, or along the columns."""
        if self.transposing_panel(w, cores):
            return True
        d, e = self.distances(w, cores), w.epilogue_of
        rows, columns = (
            tile_cycles(self.tile_m, self.tile_n, self.block, along, d, e, cores) for along in (True, False)
        )
        return rows < columns

    def transposing_panel(
        self, w: QuantizedMatmulWorkload, cores: int, *, signed: bool = False
    ) -> TransposingPanel | None:
        """Return what computes the first rows where each worker transposes the weight's columns that it owns.

        None where workers cannot own as many columns each, or several tiles need the weight.
        """
        a_row, a_step = (4, self.pitch("data")) if "data" in w.columns else (w.k, 4)
        panel = TransposingPanel(w.k, w.n, a_row, a_step, signed)
        whole = (w.batch, self.tile_m, self.tile_n) == (1, w.m, w.n)
        whole = whole and w.m >= ROWS and w.n % (COLUMNS * cores) == 0
        sums = not w.epilogue_of.requantize and self.block_rows != STATIONARY
        return panel if whole and sums and "weight" in w.columns and panel.is_supported() else None

    def prepared(self, w: QuantizedMatmulWorkload, cores: int) -> tuple[str, ...]:
        """Return the operands that all workers rearrange or unpack together, before the product."""
        own = self.transposing_panel(w, cores) is not None
        return tuple(name for name in w.stored if not (own and name == "weight"))

    def distances(self, w: QuantizedMatmulWorkload, cores: int) -> DotDistances:
        """Return the path of the sum through the tiles."""
        chunk = 4 * w.words // w.segments
        prepared = self.prepared(w, cores)
        paths = [
            (4, self.pitch(name), 0)
            if name in w.rearranged and name in prepared
            else (chunk, 4, (tile - 1) * chunk if w.segments > 1 else 0)
            for name, tile in (("data", self.tile_m), ("weight", self.tile_n))
        ]
        (a_row, a_step, a_skip), (b_column, b_step, b_skip) = paths
        return DotDistances(
            a_row, b_column, chunk // 4, w.segments, a_skip, b_skip, a_step=a_step, b_step=b_step
        )

    def pitch(self, name: str) -> int:
        """Return the bytes from a word of a sum to the next one, in an operand that is rearranged."""
        return 4 * {"data": self.tile_m, "weight": self.tile_n}[name]

    def tile_elements(self, w: QuantizedMatmulWorkload) -> dict[str, int]:
        """Return the elements of a tile of each buffer in L1: ``data_stored`` is data as it lies in L2."""
        tiles = {"data": self.tile_m, "weight": self.tile_n}
        sizes = {name: tile * 4 * w.words for name, tile in tiles.items()}
        sizes |= {f"{name}_stored": tiles[name] * w.k for name in w.rearranged}
        if w.packed:
            sizes["weight_stored"] = packed_bytes(self.tile_n * w.k)
        if w.epilogue_of.requantize:
            sizes["bias"] = w.epilogue_of.vectors * self.tile_n
        sizes["result"] = self.tile_m * self.tile_n
        return {name: aligned(size, _item(w, name)) for name, size in sizes.items()}


def _tile_bytes(w: QuantizedMatmulWorkload, b: QuantizedMatmulBlocking) -> dict[str, int]:
    return {name: elements * _item(w, name) for name, elements in b.tile_elements(w).items()}


def _item(w: QuantizedMatmulWorkload, name: str) -> int:
    """Return the bytes of an element of a buffer."""
    return {"bias": 4, "result": w.epilogue_of.item}.get(name, 1)


def _periods(w: QuantizedMatmulWorkload, b: QuantizedMatmulBlocking) -> tuple[int, dict[str, int]]:
    """Return the number of tiles and for how many in a row each buffer's box stays the same."""
    axes, used = tiled_axes(w, b), axes_of_buffers()
    return math.prod(axis.count for axis in axes), {name: period(axes, a) for name, a in used.items()}


MATRIX, ROW, COLUMN = (Var(name, "int32") for name in ("matrix", "row", "column"))


def tiled_axes(w: QuantizedMatmulWorkload, b: QuantizedMatmulBlocking) -> list[TiledAxis]:
    """Return the axes of the loop over tiles, outermost first: a tile is of one matrix of a batch."""
    axes = [TiledAxis(ROW, w.m, b.tile_m), TiledAxis(COLUMN, w.n, b.tile_n)]
    return [TiledAxis(MATRIX, w.batch, 1), *(axes[::-1] if b.order else axes)]


def axes_of_buffers() -> dict[str, list[Var]]:
    """Return the axes that the box of each buffer depends on."""
    return {
        "data": [MATRIX, ROW],
        "weight": [MATRIX, COLUMN],
        "bias": [COLUMN],
        "result": [MATRIX, ROW, COLUMN],
    }


def l1_bytes(w: QuantizedMatmulWorkload, b: QuantizedMatmulBlocking) -> int:
    """Return the bytes of all tiles, two copies of those that change from tile to tile.

    One copy will do of what is rearranged or unpacked, before and after: the next one is loaded in between.
    """
    total, periods = _periods(w, b)
    double = {name for name, same_for in periods.items() if same_for < total} - {*w.stored}
    return sum(size * (1 + (name in double)) for name, size in _tile_bytes(w, b).items())


def estimate_cycles(w: QuantizedMatmulWorkload, b: QuantizedMatmulBlocking, cores: int) -> float:
    """Estimate the cycles of a call: work and DMA of each tile side by side, plus what cannot overlap."""
    total, periods = _periods(w, b)
    d, e = b.distances(w, cores), w.epilogue_of
    prepared, panel = b.prepared(w, cores), b.transposing_panel(w, cores)
    along_rows = b.block_rows != STATIONARY and b.along_rows(w, cores)
    compute = 0.0
    for (m, m_count), (n, n_count) in itertools.product(_parts(w.m, b.tile_m), _parts(w.n, b.tile_n)):
        if b.block_rows == STATIONARY:
            each = stationary_cycles(ceil_div(m, cores), n, w.stationary_panel(b.tile_n))
        elif panel:
            each = transposing_cycles(panel, n // (COLUMNS * cores))
            each += tile_cycles(m - ROWS, n, b.block, along_rows, d, e, cores)
        else:
            each = tile_cycles(m, n, b.block, along_rows, d, e, cores)
        compute += each * w.batch * m_count * n_count
    lines = {"data": 1, "weight": 1, "bias": 2, "result": b.tile_m if b.tile_n < w.n else 1}
    if w.segments > 1:
        lines |= {"data": b.tile_m * w.segments, "weight": b.tile_n * w.segments}
    lines |= {name: w.k if name in w.columns else 1 for name in w.stored}
    sizes = _tile_bytes(w, b)
    for name in w.stored:
        sizes[name] = sizes.pop(f"{name}_stored")
        if name in prepared:
            compute += total / periods[name] * _preparation_cycles(w, b, name, cores)
    cost = {
        name: size / _DMA_BYTES_A_CYCLE + _CYCLES_A_LINE * lines[name] + 20 for name, size in sizes.items()
    }
    store = cost.pop("result")
    dma_in = sum(total / periods[name] * value for name, value in cost.items())
    dma_out = total * store
    return max(compute + total * _CYCLES_A_TILE, dma_in, dma_out) + sum(cost.values()) + store


def _preparation_cycles(
    w: QuantizedMatmulWorkload, b: QuantizedMatmulBlocking, name: str, cores: int
) -> float:
    """Return the cycles in which all workers rearrange or unpack a tile of an operand."""
    tile = {"data": b.tile_m, "weight": b.tile_n}[name]
    if name not in w.rearranged:
        return 2 * CYCLES_A_VALUE * packed_bytes(tile * w.k) / cores
    if name not in w.columns:
        return _CYCLES_A_REARRANGEMENT + tile * w.k * _CYCLES_A_GATHERED_BYTE / cores
    each = _CYCLES_A_TRANSPOSED_BYTE + (_CYCLES_A_MISALIGNED_BYTE if tile % 4 else 0)
    return _CYCLES_A_REARRANGEMENT + 4 * ceil_div(tile, 4) * w.k * each / cores


def _parts(extent: int, tile: int) -> list[tuple[int, int]]:
    whole, rest = divmod(extent, tile)
    return [(tile, whole), (rest, 1)] if rest else [(tile, whole)]


def tiles_of(w: QuantizedMatmulWorkload, name: str, steps: Collection[int]) -> list[int]:
    """Return what a tile may have: rows for "data", columns of the result for "weight"."""
    extent = {"data": w.m, "weight": w.n}[name]
    largest = (
        LARGEST_IMMEDIATE // 4 if name in w.rearranged else extent
    )  # see `QuantizedMatmulBlocking.pitch`
    sizes = {min(size, extent) for step in steps for size in tile_sizes(extent, step)}
    if name == "weight" and w.packed:
        sizes = {size for size in sizes if begins_words(size, extent, w.k)}
    return sorted((size for size in sizes if size <= largest), reverse=True)


def search(w: QuantizedMatmulWorkload, cores: int, l1_bytes: int) -> QuantizedMatmulBlocking | None:
    """Return the blocking with the lowest estimate that fits ``l1_bytes``; None where none does."""
    return _search(w.m, w.n, w.k, w.epilogue_of, w.columns, w.packed, w.batch, cores, l1_bytes)


@lru_cache(maxsize=1024)
def _search(
    m: int,
    n: int,
    k: int,
    epilogue: Epilogue,
    columns: tuple[str, ...],
    packed: bool,
    batch: int,
    cores: int,
    limit: int,
) -> QuantizedMatmulBlocking | None:
    w = QuantizedMatmulWorkload(None, m, n, k, epilogue, columns, packed, batch)
    best, least = None, math.inf
    heights, widths = (tiles_of(w, name, steps) for name, steps in (("data", (4, 5, 20)), ("weight", (4,))))
    for tile_m, tile_n, rows, order in itertools.product(heights, widths, (*BLOCKS, STATIONARY), (0, 1)):
        if rows == STATIONARY and not w.can_be_stationary(tile_n):
            continue
        b = QuantizedMatmulBlocking(tile_m, tile_n, min(rows, tile_m), order)
        if l1_bytes(w, b) <= limit:
            cycles = estimate_cycles(w, b, cores)
            if cycles < least:
                best, least = b, cycles
    return best
