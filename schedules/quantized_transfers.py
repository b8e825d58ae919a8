"""Transfers that the templates of quantised products share: weights in segments, terms of requantisations."""

from __future__ import annotations

import math

from tvm_pulp.schedules.dialect import TO_L1, as_int, dma_1d, index
from tvm_pulp.schedules.footprint import TileAxis
from tvm_pulp.schedules.microkernels.unpack_weight import GROUP
from tvm_pulp.schedules.transfers import Box, transfer
from tvm_pulp.target.tvm_names import Buffer, Expr, Stmt, arith, buffer_shape, tirx


def load_segments(
    slot: Expr, l1: Buffer, start: Expr, source: Buffer, shape: tuple[int, int, int], rows: TileAxis,
    analyzer: arith.Analyzer,
) -> list[Stmt]:  # fmt: skip
    """Return the transfers of some rows of an operand [rows, segments, bytes of a segment].

    In L1 it lies as [segments, rows of a full tile, bytes of a segment].
    """
    extent, segments, chunk = shape
    steps = []
    for segment in range(segments):
        box = Box(
            (extent, segments, chunk),
            (rows.offset, index(segment), index(0)),
            (rows.size, index(1), index(chunk)),
        )
        place = start + segment * rows.tile * chunk
        steps.append(transfer(slot, l1, place, source, box, TO_L1, analyzer))
    return steps


def load_packed(
    slot: Expr, l1: Buffer, start: Expr, source: Buffer, first: Expr, count: Expr, analyzer: arith.Analyzer
) -> Stmt:
    """Return the transfer of some of the values of a weight of 4 bits, from a word's first one on."""
    size = analyzer.simplify(tirx.floordiv(count + GROUP - 1, GROUP) * (GROUP // 2))
    return dma_1d(slot, l1, start, source, analyzer.simplify(tirx.floordiv(first, 2)), size, TO_L1)


def load_vectors(
    slot: Expr, l1: Buffer, start: Expr, source: Buffer, extent: int, columns: TileAxis,
    analyzer: arith.Analyzer,
) -> list[Stmt]:  # fmt: skip
    """Return the transfers of some channels' biases, multipliers and perhaps shifts, [vectors, extent].

    In L1 a full tile's channels lie between one and the next: where a tile may have fewer, each moves by
    itself.
    """
    rows = math.prod(buffer_shape(source)) // extent
    together = rows if as_int(columns.size) == min(columns.tile, extent) else 1
    return [
        transfer(
            slot, l1, start + row * columns.tile, source,
            Box((rows, extent), (index(row), columns.offset), (index(together), columns.size)),
            TO_L1, analyzer,
        )
        for row in range(0, rows, together)
    ]  # fmt: skip
