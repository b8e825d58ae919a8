"""Transfers that the templates of quantised products share: weights in segments, biases and multipliers."""

from __future__ import annotations

import math

from tvm_pulp.schedules.dialect import TO_L1, index
from tvm_pulp.schedules.footprint import TileAxis
from tvm_pulp.schedules.transfers import Box, transfer
from tvm_pulp.target.tvm_names import Buffer, Expr, Stmt, arith, buffer_shape


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


def load_vectors(
    slot: Expr, l1: Buffer, start: Expr, sources: list[Buffer], extent: int, columns: TileAxis, distance: int,
    analyzer: arith.Analyzer,
) -> list[Stmt]:  # fmt: skip
    """Return the transfers of some channels' biases and multipliers, which lie ``distance`` words apart.

    A source of several rows, multipliers and shifts, has each of them loaded so.
    """
    boxes = [
        (source, Box((rows, extent), (index(row), columns.offset), (index(1), columns.size)))
        if rows > 1
        else (source, Box((extent,), (columns.offset,), (columns.size,)))
        for source in sources
        for rows in [math.prod(buffer_shape(source)) // extent]
        for row in range(rows)
    ]
    return [
        transfer(slot, l1, start + position * distance, source, box, TO_L1, analyzer)
        for position, (source, box) in enumerate(boxes)
    ]
