"""A tile of rows of an image of bytes in L1, with its padding around it.

The DMA puts each row between the padding's columns, which are written once; padding above and below is
written for the tiles that have it.
"""

from __future__ import annotations

from dataclasses import dataclass

from tvm_pulp.schedules.dialect import TO_L1, dma_1d, dma_2d, index, parallel, serial, when
from tvm_pulp.schedules.footprint import TileAxis
from tvm_pulp.schedules.microkernels.image_padding import padding_source
from tvm_pulp.schedules.quantized_conv2d_model import QuantizedConv2dSizes
from tvm_pulp.target.tvm_names import Buffer, Evaluate, Expr, Stmt, Var, arith, call_extern, tirx


@dataclass(frozen=True)
class PaddedImage:
    """The tile and how it lies in L1.

    Attributes
    ----------
    sizes : QuantizedConv2dSizes
        Of the convolution.
    columns : int
        Columns of a row in L1, at least those that windows reach.
    channels : int
        Channels of a tile.
    slack : int
        Bytes behind the last row that are read.
    rows : int
        Rows of the padded image that a full tile has.
    cores : int
        Workers.
    analyzer : arith.Analyzer
        Knows the ranges of the tile loop's variables.
    """

    sizes: QuantizedConv2dSizes
    columns: int
    channels: int
    slack: int
    rows: int
    cores: int
    analyzer: arith.Analyzer

    @property
    def pitch(self) -> int:
        """Bytes of a row in L1."""
        return self.columns * self.channels

    @property
    def has_rows_of_padding(self) -> bool:
        """Whether there is padding above or below."""
        s = self.sizes
        return s.padding[0] > 0 or s.source_rows(s.rows) - s.padding[0] > s.height

    def micro_kernel(self) -> str:
        """Return C of the functions that write the padding."""
        s, c = self.sizes, self.channels
        return padding_source(
            s.zero_point, self.pitch, s.left * c, s.filled * c, self.rows, self.slack,
            self.has_rows_of_padding,
        )  # fmt: skip

    def source_rows(self, row: TileAxis) -> tuple[Expr, Expr, Expr, Expr]:
        """Return the first row of the image that a tile needs (it may lie above), how many it needs, and the
        first and the number of those that are there.
        """
        s = self.sizes
        first = row.offset * s.strides[0] - s.padding[0]
        rows = (row.size - 1) * s.strides[0] + s.source_rows(1)
        low = tirx.min(tirx.max(first, 0), s.height)
        high = tirx.max(tirx.min(first + rows, s.height), low)
        first, rows, low, valid = (self.analyzer.simplify(e) for e in (first, rows, low, high - low))
        return first, rows, low, valid

    def write_sides(self, places: list[Expr]) -> list[Stmt]:
        """Return the writing of the columns of padding of copies of the tile, once for all tiles."""
        if self.sizes.filled == self.columns and not self.slack:
            return []
        return [self._workers("quantized_pad_sides", place) for place in places]

    def write_rows(self, place: Expr, row: TileAxis) -> tuple[Expr, Stmt]:
        """Return the condition that a tile has padding above or below, and the writing of it."""
        first, rows, low, valid = self.source_rows(row)
        before, after = low - first, low + valid - first
        return tirx.any(before > 0, after < rows), self._workers(
            "quantized_pad_rows", place, before, after, rows
        )

    def _workers(self, name: str, *arguments: Expr) -> Stmt:
        worker = Var("worker", "int32")
        return parallel(worker, self.cores, Evaluate(call_extern("int32", name, worker, *arguments)))

    def load(
        self, slot: Expr, l1: Buffer, start: Expr, source: Buffer, image: Expr, row: TileAxis, channel: Expr
    ) -> list[Stmt]:
        """Return the transfers of the rows that are there, from a channel on."""
        s = self.sizes
        if not s.filled:
            return []
        first, _, low, valid = self.source_rows(row)
        line = s.width * s.channels
        source_start = (image * s.height + low) * line + channel
        place = start + (low - first) * self.pitch + s.left * self.channels
        if s.filled == self.columns == s.width and self.channels == s.channels:
            size = self.analyzer.simplify(valid * line)
            move = dma_1d(slot, l1, place, source, source_start, size, TO_L1)
            return [move if self.analyzer.can_prove(valid > 0) else when(valid > 0, move)]
        step = Var("source_row", "int32")
        place, source_start = (
            self.analyzer.simplify(e) for e in (place + step * self.pitch, source_start + step * line)
        )
        size = index(s.filled * self.channels)
        if self.channels == s.channels:
            move = dma_1d(slot, l1, place, source, source_start, size, TO_L1)
        else:
            move = dma_2d(slot, l1, place, source, source_start, size, s.channels, self.channels, TO_L1)
        return [serial(step, valid, move)]
