"""Two sweeps over each group of tiles at once: one over a group, the other over the group before.

A group's tiles are swept twice, and the second sweep needs what the first has found in all of them. Here it
runs a whole group behind, in the same steps, with one barrier a step for both. Each tile comes once and stays
until both have passed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from tvm_pulp.schedules.dialect import barrier, bind, dma_wait, index, sequence, serial, when
from tvm_pulp.schedules.tile_loop import TILE, Transfers
from tvm_pulp.target.tvm_names import Expr, Stmt, Var, arith, tirx


class SweepStep(NamedTuple):
    """What a step works on.

    Attributes
    ----------
    first, second : Expr
        Numbers of the tiles of the first sweep and of the second; some tile where there is none.
    has_first, has_second : Expr
        Whether there are any.
    group : Expr
        Number of the first sweep's group, that of the second is one less.
    own : Expr
        Number of both tiles in their groups.
    """

    first: Expr
    second: Expr
    has_first: Expr
    has_second: Expr
    group: Expr
    own: Expr


def copies(size: int) -> tuple[int, int]:
    """Return the copies in L1 of tiles that are only read, and of those that results take the place of.

    A tile of the former comes while those of a group and one of the next are worked on; one of the latter
    leaves, too.
    """
    return size + 2, size + 3


class OverlappedLoop:
    """The loop over all steps.

    Parameters
    ----------
    groups, size
        Groups, and tiles of each.
    analyzer
        Learns the ranges of the loop's variables.
    """

    def __init__(self, groups: int, size: int, analyzer: arith.Analyzer) -> None:
        self.size = size
        self.total = groups * size
        self.analyzer = analyzer

    def run(self, loads: Transfers, stores: Transfers, compute: Callable[[SweepStep], Stmt]) -> Stmt:
        """Return the pipeline: beside each step one tile comes and one leaves."""
        total, size, slot = self.total, self.size, index(0)
        step = self._variable(TILE, total + size)
        following, define_following = bind("following", step + 1)
        self._range(following, total)
        previous, define_previous = bind("previous", step - (size + 1))
        self._range(previous, total)
        body = [dma_wait(slot), barrier()]
        if total > 1:
            body.append(when(step < total - 1, sequence(define_following, loads(following, slot))))
            body.append(when(step > size, sequence(define_previous, stores(previous, slot))))
        first, define_first = bind("first", tirx.min(step, total - 1))
        second, define_second = bind("second", tirx.max(step - size, 0))
        self._range(first, total)
        self._range(second, total)
        current = SweepStep(
            first,
            second,
            tirx.Cast("int32", step < total),
            tirx.Cast("int32", step >= size),
            self.analyzer.simplify(tirx.floordiv(step, size)),
            self.analyzer.simplify(tirx.floormod(step, size)),
        )
        body += [define_first, define_second, compute(current)]
        return sequence(
            loads(index(0), slot),
            serial(step, total + size, sequence(*body)),
            barrier(),
            stores(index(total - 1), slot),
            dma_wait(slot),
        )

    def _variable(self, name: str, extent: int) -> Var:
        variable = Var(name, "int32")
        self._range(variable, extent)
        return variable

    def _range(self, variable: Var, extent: int) -> None:
        self.analyzer.update(variable, arith.ConstIntBound(0, max(0, extent - 1)), True)
