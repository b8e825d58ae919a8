"""The box of a tensor that a tile reads: interval analysis of index expressions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from tvm_pulp.schedules.dialect import as_int
from tvm_pulp.schedules.expressions import same
from tvm_pulp.target.tvm_names import (
    Add,
    Expr,
    FloorDiv,
    FloorMod,
    IntImm,
    Max,
    Min,
    Mul,
    Sub,
    Var,
    arith,
    const,
    tirx,
)


@dataclass(frozen=True)
class Range:
    """The values that an expression takes in a tile: from ``low`` to ``high``, both included.

    ``extent`` is the largest number of values over all tiles.
    """

    low: Expr
    high: Expr
    extent: int


@dataclass(frozen=True)
class TileAxis:
    """An axis within the current tile: its values are ``offset`` to ``offset + size - 1``.

    ``tile`` is the size of a full tile, ``size`` the run-time size of this one.
    """

    offset: Expr
    size: Expr
    tile: int


def index_range(index: Expr, axes: Mapping[Var, TileAxis]) -> Range | None:
    """Bound an index over a tile; None where the index is not built of axes and integer arithmetic."""
    if isinstance(index, IntImm):
        return Range(index, index, 1)
    if isinstance(index, Var):
        if index not in axes:
            return None
        axis = axes[index]
        return Range(axis.offset, axis.offset + axis.size - 1, axis.tile)
    if isinstance(index, Add | Sub | Min | Max):
        a, b = index_range(index.a, axes), index_range(index.b, axes)
        if a is None or b is None:
            return None
        if isinstance(index, Add):
            return Range(a.low + b.low, a.high + b.high, a.extent + b.extent - 1)
        if isinstance(index, Sub):
            return Range(a.low - b.high, a.high - b.low, a.extent + b.extent - 1)
        node = type(index)
        return Range(node(a.low, b.low), node(a.high, b.high), max(a.extent, b.extent))
    if isinstance(index, Mul | FloorDiv | FloorMod):
        return _scaled(index, axes)
    return None


def _scaled(index: Expr, axes: Mapping[Var, TileAxis]) -> Range | None:
    left, right = index.a, index.b
    if isinstance(index, Mul) and isinstance(left, IntImm):
        left, right = right, left
    inner = index_range(left, axes)
    if inner is None or not isinstance(right, IntImm):
        return None
    factor = int(right.value)
    if isinstance(index, Mul):
        low, high = (inner.low, inner.high) if factor >= 0 else (inner.high, inner.low)
        return Range(low * factor, high * factor, abs(factor) * (inner.extent - 1) + 1)
    if factor <= 0:
        return None
    if isinstance(index, FloorDiv):
        extent = (inner.extent - 1 + factor - 1) // factor + 1
        return Range(tirx.floordiv(inner.low, factor), tirx.floordiv(inner.high, factor), extent)
    return Range(const(0, "int32"), const(factor - 1, "int32"), factor)


def clip(box: Range, extent: int, analyzer: arith.Analyzer) -> Range:
    """Clip a range to ``0 .. extent - 1``; one element remains at least: no transfer is empty."""
    last = extent - 1
    low, high = analyzer.simplify(box.low), analyzer.simplify(box.high)
    clipped_low = low
    if not analyzer.can_prove(low >= 0):
        clipped_low = tirx.max(clipped_low, 0)
    if not analyzer.can_prove(low <= last):
        clipped_low = tirx.min(clipped_low, last)
    clipped_high = high
    if not analyzer.can_prove(high <= last):
        clipped_high = tirx.min(clipped_high, last)
    if not analyzer.can_prove(high >= 0):
        clipped_high = tirx.max(clipped_high, 0)
    return Range(analyzer.simplify(clipped_low), analyzer.simplify(clipped_high), min(box.extent, extent))


@dataclass(frozen=True)
class Dimension:
    """What a stage reads along one dimension of a tensor, over all its accesses.

    Either ``index`` alone, or affine indices that differ by a constant: ``index + 0 .. index + spread``; with
    ``index`` None the whole dimension.
    """

    extent: int
    index: Expr | None
    spread: int

    def tile_extent(self, tiles: Mapping[Var, int]) -> int:
        """Return the most elements that a tile of the given sizes reads."""
        if self.index is None:
            return self.extent
        zero = const(0, "int32")
        axes = {var: TileAxis(zero, const(size, "int32"), size) for var, size in tiles.items()}
        found = index_range(self.index, axes)
        return self.extent if found is None else min(self.extent, found.extent + self.spread)

    def range(self, axes: Mapping[Var, TileAxis], analyzer: arith.Analyzer) -> Range:
        """Return the elements that the current tile reads, clipped to the tensor."""
        found = None if self.index is None else index_range(self.index, axes)
        if found is None:
            return Range(const(0, "int32"), const(self.extent - 1, "int32"), self.extent)
        spread = Range(found.low, found.high + self.spread, found.extent + self.spread)
        return clip(spread, self.extent, analyzer)


def dimension(indices: list[Expr], extent: int, axes: list[Var]) -> Dimension:
    """Summarise all indices that are used along one dimension of a tensor.

    Parameters
    ----------
    indices
        The index expressions.
    extent
        The extent of the dimension.
    axes
        The axes of the stage.
    """
    whole = Dimension(extent, None, 0)
    if any(index_range(i, {a: TileAxis(a, const(1, "int32"), 1) for a in axes}) is None for i in indices):
        return whole
    unique: list[Expr] = []
    for candidate in indices:
        if not any(same(candidate, other) for other in unique):
            unique.append(candidate)
    if len(unique) == 1:
        return Dimension(extent, unique[0], 0)
    analyzer = arith.Analyzer()
    differences = [as_int(analyzer.simplify(other - unique[0])) for other in unique]
    known = [difference for difference in differences if difference is not None]
    if len(known) < len(differences):
        return whole
    low = min(known)
    return Dimension(extent, analyzer.simplify(unique[0] + low), max(known) - low)
