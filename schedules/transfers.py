"""DMA transfers of boxes between a contiguous L1 buffer and a tensor in L2."""

from __future__ import annotations

from dataclasses import dataclass

from tvm_pulp.schedules.dialect import (
    as_int,
    dma_1d,
    dma_2d,
    index,
    serial,
)
from tvm_pulp.target.tvm_names import Buffer, Expr, Stmt, Var, arith, buffer_dtype, dtype_bytes


@dataclass(frozen=True)
class Box:
    """A box of a row-major tensor: ``low[d] .. low[d] + size[d] - 1`` in each dimension ``d``."""

    shape: tuple[int, ...]
    low: tuple[Expr, ...]
    size: tuple[Expr, ...]

    def elements(self) -> Expr:
        """Return the number of elements at run time."""
        total = index(1)
        for size in self.size:
            total = total * size
        return total


def flat_offset(indices: list[Expr], shape: list[Expr]) -> Expr:
    """Return the row-major offset of an index in a shape."""
    offset: Expr = index(0)
    for position, extent in zip(indices, shape, strict=True):
        offset = offset * extent + position
    return offset


def transfer(
    slot: Expr, l1: Buffer, l1_offset: Expr, l2: Buffer, box: Box, direction: int, analyzer: arith.Analyzer
) -> Stmt:
    """Return the transfers of a box, as few and as long as its shape allows.

    Parameters
    ----------
    slot
        DMA slot that carries them.
    l1, l1_offset
        Flat L1 buffer and the element where the box starts; the box lies there row-major without gaps.
    l2
        The flat tensor.
    box
        What to move.
    direction
        ``TO_L1`` or ``TO_L2``.
    """
    item = dtype_bytes(buffer_dtype(l2))
    rank = len(box.shape)
    full = [as_int(size) == extent for size, extent in zip(box.size, box.shape, strict=True)]
    strides = [1] * rank
    for d in range(rank - 2, -1, -1):
        strides[d] = strides[d + 1] * box.shape[d + 1]

    # the innermost dimensions that are whole, and one more, make up a contiguous line
    outer, line = rank, index(1)
    while outer > 0:
        outer -= 1
        line = line * box.size[outer]
        if not full[outer]:
            break
    # the next ones make up the lines of a 2D transfer, as long as their strides are the same
    rows, first = index(1), outer
    while first > 0:
        first -= 1
        rows = rows * box.size[first]
        if not full[first]:
            break
    line, rows = analyzer.simplify(line), analyzer.simplify(rows)

    outside = [Var(f"d{d}", "int32") for d in range(first)]
    position = list(box.low)
    for d, var in enumerate(outside):
        position[d] = box.low[d] + var
    inside = [var for var in outside] + [index(0)] * (rank - first)
    l2_offset = analyzer.simplify(flat_offset(position, [index(e) for e in box.shape]))
    l1_position = analyzer.simplify(l1_offset + flat_offset(inside, list(box.size)))
    size = analyzer.simplify(line * rows * item)
    if as_int(rows) == 1:
        body = dma_1d(slot, l1, l1_position, l2, l2_offset, size, direction)
    else:
        stride = strides[outer - 1] * item
        body = dma_2d(
            slot, l1, l1_position, l2, l2_offset, size, stride, analyzer.simplify(line * item), direction
        )
    for d in range(first - 1, -1, -1):
        body = serial(outside[d], box.size[d], body)
    return body
