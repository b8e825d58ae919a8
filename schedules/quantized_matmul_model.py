"""Sizes of a product of bytes and of its tiles, an estimate of its cycles, and the search for tiles."""

from __future__ import annotations

import itertools
import math
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, fields, replace
from functools import lru_cache
from typing import Any

from tvm_pulp.schedules.dialect import aligned, ceil_div
from tvm_pulp.schedules.dot_panel_model import tile_cycles
from tvm_pulp.schedules.matmul_model import tile_sizes
from tvm_pulp.schedules.microkernels.assembly import LARGEST_IMMEDIATE
from tvm_pulp.schedules.microkernels.dot_panel import (
    LARGEST_BLOCK,
    DotDistances,
    Epilogue,
    longest_distance,
)
from tvm_pulp.schedules.microkernels.stationary_panel import StationaryPanel, stationary_cycles
from tvm_pulp.schedules.microkernels.transposing_panel import (
    COLUMNS,
    ROWS,
    TransposingPanel,
    transposing_cycles,
)
from tvm_pulp.schedules.microkernels.unpack_weight import CYCLES_A_VALUE, begins_words, packed_bytes
from tvm_pulp.schedules.tile_loop import TiledAxis, period
from tvm_pulp.target.tvm_names import PrimFunc, Var

BLOCKS = (5, 4)
"""Rows that a register block may have; it has four columns."""
STATIONARY = 0
"""In place of rows of a register block: the weights stay in registers, see ``stationary_panel``."""
_COLUMNS = LARGEST_BLOCK[1]
_LARGEST_SEGMENTS = 16

_CYCLES_A_TILE = 150.0
_CYCLES_A_TRANSPOSED_BYTE = 1.6  # of one worker
_CYCLES_A_GATHERED_BYTE = 3.0
_DMA_BYTES_A_CYCLE = 8.0
_CYCLES_A_LINE = 1.0


@dataclass(frozen=True)
class QuantizedMatmulWorkload:
    """A product of m x k and n x k bytes, with or without requantisation.

    The operands in `columns`, of "data" and "weight", have k rows: their sums run down the columns.
    A `packed` weight has 4 bits a value.
    """

    function: PrimFunc
    m: int
    n: int
    k: int
    epilogue_of: Epilogue
    columns: tuple[str, ...] = ()
    packed: bool = False

    @property
    def stored(self) -> tuple[str, ...]:
        """Operands that workers rearrange or unpack in L1."""
        return (*self.rearranged, *(("weight",) if self.packed else ()))

    @property
    def rearranged(self) -> tuple[str, ...]:
        """Operands that become words of each sum in L1: `columns`, or all where `segments_of` says no."""
        return self.columns if segments_of(self.k) else ("data", "weight")

    @property
    def segments(self) -> int:
        """Pieces that the sum lies in, each short enough to be a distance of rows."""
        return 1 if len(self.rearranged) == 2 else segments_of(self.k) or 1

    @property
    def words(self) -> int:
        """Words of a sum."""
        return ceil_div(self.k, 4)

    def can_be_stationary(self, tile_n: int) -> bool:
        """Tell whether the weights of a tile can stay in registers."""
        panel = self.stationary_panel(tile_n)
        return not self.rearranged and panel.takes(self.n, tile_n)

    def stationary_panel(self, tile_n: int, *, signed: bool = False) -> StationaryPanel:
        """Return the sizes of a panel whose weights stay in registers."""
        e = replace(self.epilogue_of, multipliers=4 * tile_n)
        return StationaryPanel(self.k, 1, self.k, self.k, self.k, tile_n, e, signed)


def segments_of(k: int) -> int | None:
    """Return the number of equal pieces of whole words for a sum of k bytes, None where it would be large."""
    limit = longest_distance(LARGEST_BLOCK[0])
    return next((s for s in range(1, _LARGEST_SEGMENTS + 1) if k % (4 * s) == 0 and k // s <= limit), None)


def read_workload(function: PrimFunc) -> QuantizedMatmulWorkload | None:
    """Read a function's attribute; None where the panels do not serve."""
    value = {str(key): int(number) for key, number in function.attrs["pulp.quantized_matmul"].items()}
    epilogue = read_epilogue(value)
    columns = ("data",) * value["transpose_data"] + ("weight",) * (not value["transpose_weight"])
    packed = value["weight_bits"] == 4
    found = QuantizedMatmulWorkload(function, value["m"], value["n"], value["k"], epilogue, columns, packed)
    lies_otherwise = packed and ("weight" in found.rearranged or found.segments > 1)
    return found if epilogue.is_supported() and not lies_otherwise else None


def read_epilogue(attributes: Mapping[str, Any]) -> Epilogue:
    """Return the epilogue that a kernel's attributes ask for."""
    if not attributes["requantize"]:
        return Epilogue()
    names = [field.name for field in fields(Epilogue) if field.name in attributes]
    value: dict[str, Any] = {name: int(attributes[name]) for name in names}
    flags = {name: bool(value[name]) for name in ("requantize", "narrow", "short", "halfword", "spare_bit")}
    return Epilogue(**value | flags)


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
        whole = (self.tile_m, self.tile_n) == (w.m, w.n) and w.m >= ROWS and w.n % (COLUMNS * cores) == 0
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
    row, column = _AXES
    axes = [TiledAxis(row, w.m, b.tile_m), TiledAxis(column, w.n, b.tile_n)]
    axes = axes[::-1] if b.order else axes
    used = {"data": [row], "weight": [column], "bias": [column], "result": [row, column]}
    return math.prod(axis.count for axis in axes), {name: period(axes, a) for name, a in used.items()}


_AXES = (Var("row", "int32"), Var("column", "int32"))


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
        compute += each * m_count * n_count
    lines = {"data": 1, "weight": 1, "bias": 2, "result": b.tile_m if b.tile_n < w.n else 1}
    if w.segments > 1:
        lines |= {"data": b.tile_m * w.segments, "weight": b.tile_n * w.segments}
    lines |= {name: w.k if name in w.columns else 1 for name in w.stored}
    sizes = _tile_bytes(w, b)
    for name in w.stored:
        sizes[name] = sizes.pop(f"{name}_stored")
        each = _CYCLES_A_TRANSPOSED_BYTE if name in w.columns else _CYCLES_A_GATHERED_BYTE
        if name not in w.rearranged:
            each = 2 * CYCLES_A_VALUE
        if name in prepared:
            compute += total / periods[name] * sizes[name] * each / cores
    cost = {
        name: size / _DMA_BYTES_A_CYCLE + _CYCLES_A_LINE * lines[name] + 20 for name, size in sizes.items()
    }
    store = cost.pop("result")
    dma_in = sum(total / periods[name] * value for name, value in cost.items())
    dma_out = total * store
    return max(compute + total * _CYCLES_A_TILE, dma_in, dma_out) + sum(cost.values()) + store


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
    return _search(w.m, w.n, w.k, w.epilogue_of, w.columns, w.packed, cores, l1_bytes)


@lru_cache(maxsize=1024)
def _search(
    m: int,
    n: int,
    k: int,
    epilogue: Epilogue,
    columns: tuple[str, ...],
    packed: bool,
    cores: int,
    limit: int,
) -> QuantizedMatmulBlocking | None:
    w = QuantizedMatmulWorkload(None, m, n, k, epilogue, columns, packed)
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
