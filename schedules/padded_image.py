"""A tile of rows of an image of bytes in L1, with its padding around it.

The DMA, or the workers where the image is in L1, put each row between the padding's columns, which are
written once, as are rows of padding where all tiles have them in the same places; else padding above and
below is written for the tiles that have it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from tvm_pulp.schedules.dialect import TO_L1, barrier, dma_1d, element, index, parallel, serial, when
from tvm_pulp.schedules.footprint import TileAxis
from tvm_pulp.schedules.microkernels.copy_rows import copy_rows_source
from tvm_pulp.schedules.microkernels.image_padding import padding_source
from tvm_pulp.schedules.quantized_conv2d_workload import QuantizedConv2dSizes
from tvm_pulp.target.tvm_names import Buffer, Evaluate, Expr, Stmt, Var, address_of, arith, call_extern, tirx


class RowWindows(Protocol):
    """What `source_rows` reads of windows over images."""

    @property
    def height(self) -> int:
        """Rows of an image."""
        ...

    @property
    def strides(self) -> tuple[int, int]:
        """Of rows and columns."""
        ...

    @property
    def padding(self) -> tuple[int, int, int, int]:
        """Top, left, bottom, right."""
        ...

    def source_rows(self, rows: int) -> int:
        """Return the rows of an image, with its padding, that some rows of results need."""
        ...


def source_rows(s: RowWindows, row: TileAxis, analyzer: arith.Analyzer) -> tuple[Expr, Expr, Expr, Expr]:
    """Return the first row of the image that a tile needs (it may lie above), how many it needs, and the
    first and the number of those that are there.
    """
    first = row.offset * s.strides[0] - s.padding[0]
    rows = (row.size - 1) * s.strides[0] + s.source_rows(1)
    low = tirx.min(tirx.max(first, 0), s.height)
    high = tirx.max(tirx.min(first + rows, s.height), low)
    first, rows, low, valid = (analyzer.simplify(e) for e in (first, rows, low, high - low))
    return first, rows, low, valid


@dataclass(frozen=True)
class PaddedImage:
    """The tile and how it lies in L1.

    Attributes
    ----------
    sizes : QuantizedConv2dSizes
        Of the convolution.
    rows : int
        Rows of results of a full tile.
    cores : int
        Workers.
    analyzer : arith.Analyzer
        Knows the ranges of the tile loop's variables.
    """

    sizes: QuantizedConv2dSizes
    rows: int
    cores: int
    analyzer: arith.Analyzer

    def micro_kernel(self) -> str:
        """Return C of the functions that write the padding."""
        s, c = self.sizes, self.sizes.channels
        rows = s.source_rows(self.rows)
        above = s.has_rows_of_padding
        return padding_source(s.zero_point, s.pitch, s.left * c, s.filled * c, rows, s.slack, above)

    def copying(self, *, assembly: bool) -> str:
        """Return C of the function that copies rows, see `copy`."""
        s = self.sizes
        line, source_line = s.filled * s.channels, s.width * s.channels
        return copy_rows_source(line, source_line, s.pitch, assembly=assembly) if line else ""

    @property
    def pads_rows_once(self) -> bool:
        """Whether all tiles have the same rows, so that padding above and below stays."""
        return self.sizes.has_rows_of_padding and self.rows >= self.sizes.rows

    def write_once(self, places: list[Expr]) -> list[Stmt]:
        """Return the writing of the padding of copies of the tile that stays for all tiles."""
        s, rows = self.sizes, []
        if self.pads_rows_once:
            everything = TileAxis(index(0), index(s.rows), s.rows)
            rows = [self.write_rows(place, everything)[1] for place in places]
        if s.filled * s.channels == s.pitch and not s.slack:
            return rows
        sides = [self._workers("quantized_pad_sides", place) for place in places]
        return [*sides, *([barrier(), *rows] if rows else [])]  # the sides of these rows are written twice

    def write_rows(self, place: Expr, row: TileAxis) -> tuple[Expr, Stmt]:
        """Return the condition that a tile has padding above or below, and the writing of it."""
        first, rows, low, valid = source_rows(self.sizes, row, self.analyzer)
        before, after = low - first, low + valid - first
        write = self._workers("quantized_pad_rows", place, before, after, rows)
        return tirx.any(before > 0, after < rows), write

    def _workers(self, name: str, *arguments: Expr) -> Stmt:
        worker = Var("worker", "int32")
        return parallel(worker, self.cores, Evaluate(call_extern("int32", name, worker, *arguments)))

    def copy(self, tile: Buffer, start: Expr, source: Buffer, image: Expr, row: TileAxis) -> Stmt | None:
        """Return the copying of the rows that are there by the workers; the whole image is in L1."""
        s = self.sizes
        if not s.filled:
            return None
        first, _, low, valid = source_rows(s, row, self.analyzer)
        at = (image * s.height + low) * (s.width * s.channels)
        place = start + (low - first) * s.pitch + s.left * s.channels
        places = (
            address_of(element(buffer, self.analyzer.simplify(offset)))
            for buffer, offset in ((source, at), (tile, place))
        )
        return self._workers("copy_rows", *places, valid)

    def load(
        self, slot: Expr, l1: Buffer, start: Expr, source: Buffer, image: Expr, row: TileAxis
    ) -> list[Stmt]:
        """Return the transfers of the rows that are there."""
        s = self.sizes
        if not s.filled:
            return []
        first, _, low, valid = source_rows(s, row, self.analyzer)
        line = s.width * s.channels
        place, at = start + (low - first) * s.pitch + s.left * s.channels, (image * s.height + low) * line
        if s.filled == s.width and line == s.pitch:
            move = dma_1d(slot, l1, place, source, at, self.analyzer.simplify(valid * line), TO_L1)
            return [move if self.analyzer.can_prove(valid > 0) else when(valid > 0, move)]
        step = Var("source_row", "int32")
        place, at = (self.analyzer.simplify(e) for e in (place + step * s.pitch, at + step * line))
        return [serial(step, valid, dma_1d(slot, l1, place, source, at, s.filled * s.channels, TO_L1))]
