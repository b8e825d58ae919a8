"""The loop over the steps of channels that pass through L1 in pieces, see `piece_order`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from tvm_pulp.schedules.dialect import as_int, barrier, bind, dma_wait, index, sequence, serial, when
from tvm_pulp.schedules.piece_order import LAG, PieceOrder
from tvm_pulp.target.tvm_names import EQ, Expr, Stmt, Var, arith, tirx


class Piece(NamedTuple):
    """A piece in a step: its number in all channels, the slot of the ring, and how it is used."""

    number: Expr
    slot: Expr
    sweep: Expr
    is_first: Expr
    """Whether it is the first of the sweep over its channel."""
    is_kept: Expr
    """Whether it stays from the first sweep to the second."""


Move = Callable[[Expr, Expr, Expr], list[Stmt]]
"""Transfers of a piece: its number, its slot of the ring and the DMA slot → statements."""


@dataclass(frozen=True)
class _Moves:
    """The transfers of a loop, see `PieceLoop.run`."""

    loads: Move
    stores: Move
    loads_read_only: Move | None


class PieceLoop:
    """The loop over all steps.

    Where a channel has few, each has code of its own, in a loop over channels: less is to be computed then.
    """

    def __init__(self, order: PieceOrder, analyzer: arith.Analyzer) -> None:
        self.order = order
        self.analyzer = analyzer

    def _range(self, var: Var, extent: int) -> None:
        self.analyzer.update(var, arith.ConstIntBound(0, max(0, extent - 1)), True)

    def run(
        self, loads: Move, stores: Move, compute: Callable[[Piece], Stmt], loads_read_only: Move | None = None
    ) -> Stmt:
        """Return the pipeline, with one barrier a step.

        Parameters
        ----------
        loads, stores
            Transfers of tensors that are worked on in place.
        compute
            The work of a step.
        loads_read_only
            Transfers of tensors that are only read.
        """
        order = self.order
        last_load = order.channels * order.loads
        moves = _Moves(loads, stores, loads_read_only)
        if order.has_few_steps:
            channel = Var("channel", "int32")
            self._range(channel, order.channels)
            steps = [self._step(channel * order.steps + own, moves, compute) for own in range(order.steps)]
            body = serial(channel, order.channels, sequence(*steps))
        else:
            step = Var("step", "int32")
            self._range(step, order.channels * order.steps)
            body = serial(step, order.channels * order.steps, self._step(step, moves, compute))
        first: list[Stmt] = []
        for n in range(min(order.slots, last_load)):
            number, slot = self._place(index(n))
            first += loads(number, slot, slot)
            first += loads_read_only(number, slot, slot) if loads_read_only else []
        number, slot = self._place(index(last_load - 1))
        leaving = index(order.slots)
        return sequence(*first, body, barrier(), *stores(number, slot, leaving), dma_wait(leaving))

    def _step(self, step: Expr, moves: _Moves, compute: Callable[[Piece], Stmt]) -> Stmt:
        """Return what is done in a step."""
        order, leaving = self.order, index(self.order.slots)
        last_load = order.channels * order.loads
        define, piece = self._piece(step)
        body: list[Stmt] = [*define, dma_wait(piece.slot), dma_wait(leaving), barrier()]
        if not isinstance(step, Var):  # what has stayed has been waited for, and not each step has stores
            waits = [] if as_int(piece.sweep) and as_int(piece.is_kept) else [dma_wait(piece.slot)]
            waits += self._when(self._sweep(step - 2) > 0, [dma_wait(leaving)])
            body = [*define, *waits, barrier()]
        if last_load > order.slots:
            late, read_only = [moves.loads], [moves.loads_read_only] if moves.loads_read_only else []
            if order.lag_of_read_only == LAG:
                late, read_only = late + read_only, []
            body += self._refill(step, "freed", LAG, late)
            if read_only:
                body += self._refill(step, "used", order.lag_of_read_only, read_only)
        previous, define_previous = self._earlier(step, "previous", 1)
        left, define_left = self._name("left", self._load_of(previous), last_load)
        number, slot = self._place(left)
        stores = sequence(*define_left, *moves.stores(number, slot, leaving))
        body += self._when(step >= 1, [*define_previous, *self._when(self._sweep(previous) > 0, [stores])])
        return sequence(*body, compute(piece))

    def _refill(self, step: Expr, name: str, lag: int, loads: list[Move]) -> list[Stmt]:
        """Return the loads into the slot whose last use is ``lag`` steps ago, if it is that."""
        order = self.order
        last_load = order.channels * order.loads
        freed, define_freed = self._earlier(step, name, lag)
        value = self._load_of(freed) + order.slots
        is_there = self.analyzer.can_prove(value < last_load)
        following, define_following = self._name("following", value, last_load)
        number, slot = self._place(following)
        transfers = [start for move in loads for start in move(number, slot, slot)]
        if not is_there:
            transfers = [when(following < last_load, sequence(*transfers))]
        steps = [*define_following, *transfers]
        stays = self._stays(freed)
        steps = steps if stays is None else self._when(tirx.Not(stays), steps)
        return self._when(step >= lag, [*define_freed, *steps])

    def _when(self, condition: Expr, body: list[Stmt]) -> list[Stmt]:
        """Return statements for where a condition holds; none where that is never."""
        condition = self.analyzer.simplify(condition)
        if not body or self.analyzer.can_prove(tirx.Not(condition)):
            return []
        return body if self.analyzer.can_prove(condition) else [when(condition, sequence(*body))]

    def _earlier(self, step: Expr, name: str, lag: int) -> tuple[Expr, list[Stmt]]:
        """Return the number of an earlier step, by a name where all steps have the same code."""
        if not isinstance(step, Var):
            return self.analyzer.simplify(step - lag), []
        return self._name(name, step - lag, self.order.channels * self.order.steps - lag)

    def _name(self, name: str, value: Expr, extent: int) -> tuple[Expr, list[Stmt]]:
        """Return a variable with a value from 0 to less than ``extent``, and its definition."""
        variable, define = bind(name, self.analyzer.simplify(value))
        self._range(variable, extent)
        return variable, [define]

    def _own(self, step: Expr) -> Expr:
        return tirx.floormod(step, self.order.steps)

    def _sweep(self, step: Expr) -> Expr:
        return self.analyzer.simplify(tirx.floordiv(self._own(step), self.order.pieces))

    def _load_of(self, step: Expr) -> Expr:
        """Return the number of the load that a step works on, without a difference: the printer sees that it
        is not negative.
        """
        order, own = self.order, self._own(step)
        channel = tirx.floordiv(step, order.steps)
        place = tirx.floormod(own, order.pieces) + self._sweep(step) * (order.pieces - order.kept)
        return channel * order.loads + place

    def _stays(self, step: Expr) -> Expr | None:
        """Return the condition that a step's piece is needed again; None if none ever is."""
        order, own = self.order, self._own(step)
        if order.kept == 0:
            return None
        return _between(own, order.pieces - order.kept, order.pieces, order.steps)

    def _place(self, load: Expr) -> tuple[Expr, Expr]:
        """Return the number of a load's piece in all channels, and its slot."""
        order = self.order
        own = tirx.floormod(tirx.floormod(load, order.loads), order.pieces)
        number = tirx.floordiv(load, order.loads) * order.pieces + own
        return self.analyzer.simplify(number), self.analyzer.simplify(tirx.floormod(load, order.slots))

    def _piece(self, step: Expr) -> tuple[list[Stmt], Piece]:
        order, simplify = self.order, self.analyzer.simplify
        load, define_load = self._name("load", self._load_of(step), order.channels * order.loads)
        own = simplify(self._own(step))
        define_own: list[Stmt] = []
        if as_int(own) is None:
            own, define_own = self._name("own", own, order.steps)
        number, place = self._place(load)
        slot, define_slot = self._name("slot", place, order.slots)
        kept = _between(own, order.pieces - order.kept, order.pieces + order.kept, order.steps)
        return [*define_load, *define_own, *define_slot], Piece(
            number,
            slot,
            sweep=simplify(tirx.floordiv(own, order.pieces)),
            is_first=simplify(tirx.Cast("int32", EQ(tirx.floormod(own, order.pieces), 0))),
            is_kept=index(0) if kept is None else simplify(tirx.Cast("int32", kept)),
        )


def _between(value: Expr, low: int, high: int, extent: int) -> Expr | None:
    """Return the condition ``low <= value < high`` for ``0 <= value < extent``, None where it never holds."""
    if low >= high:
        return None
    conditions = ([value >= low] if low > 0 else []) + ([value < high] if high < extent else [])
    return tirx.all(*conditions) if conditions else index(1)
