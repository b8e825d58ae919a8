"""Two sweeps over each channel of a tensor that passes through L1 in pieces, some of which stay in between.

The slots of a ring in L1 take the pieces in the order of their loads. The first sweep over a channel uses all
its pieces; the last ``kept`` of them stay. The second sweep begins with these and loads the others again, so
that slots fall free in the order in which they were taken. A sweep's results take the place of what it read.
Tensors that are only read have places in the slots, too, which fall free a step earlier: nothing leaves them.
Where all pieces stay, so that the DMA has few loads to make, but these in the last steps of a channel, theirs
start a step earlier.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from tvm_pulp.schedules.dialect import as_int, barrier, bind, dma_wait, index, sequence, serial, when
from tvm_pulp.target.tvm_names import EQ, Expr, Stmt, Var, arith, tirx

MOST_SLOTS = 7
"""Each slot of the ring has a DMA slot of its own; of a kernel's eight one is left for what leaves."""

_LAG = 2
"""Steps from a slot's last use to the load that overwrites it: in between its results leave."""
_MOST_STEPS_APART = 4
"""Steps of a channel up to which each has code of its own: more would not stay in the instruction cache."""
_LAG_OF_READ_ONLY = 1
"""The same where nothing leaves."""


@dataclass(frozen=True)
class PieceOrder:
    """The order of steps and loads.

    Attributes
    ----------
    channels, pieces : int
        Channels, and pieces of each.
    kept : int
        Pieces that stay from the first sweep to the second.
    slots : int
        Of the ring.
    """

    channels: int
    pieces: int
    kept: int
    slots: int

    @property
    def steps(self) -> int:
        """Steps for a channel: one for each piece and sweep."""
        return 2 * self.pieces

    @property
    def loads(self) -> int:
        """Loads for a channel."""
        return 2 * self.pieces - self.kept

    @property
    def lag_of_read_only(self) -> int:
        """Steps from the last use of what is only read to the load that overwrites it."""
        return _LAG_OF_READ_ONLY if self.kept == self.pieces else _LAG

    def load_of(self, step: int) -> int:
        """Return the number of the load that a step works on."""
        channel, own = divmod(step, self.steps)
        return channel * self.loads + own - self.kept * (own // self.pieces)

    def first_step(self, load: int) -> int:
        """Return the first step that works on what a load brings."""
        channel, own = divmod(load, self.loads)
        return channel * self.steps + own + (self.kept if own >= self.pieces else 0)

    def last_step(self, load: int) -> int:
        """Return the last one."""
        channel, own = divmod(load, self.loads)
        return channel * self.steps + own + (self.kept if own >= self.pieces - self.kept else 0)

    def transfers(self, own: int, *, read_only: bool) -> int:
        """Return how many transfers start beside the step ``own`` of a channel that is not the first or last.

        Parameters
        ----------
        own
            Number of the step.
        read_only
            Whether there is a tensor that is only read.
        """
        step = self.steps + own
        lags = (_LAG, self.lag_of_read_only) if read_only else (_LAG,)
        loads = sum(self.last_step(self.load_of(step - lag)) == step - lag for lag in lags)
        return loads + ((step - 1) % self.steps >= self.pieces)

    def is_feasible(self) -> bool:
        """Tell whether each load can start before the step that needs it."""
        return 0 <= self.kept <= min(self.pieces, self.slots) and self.slots > _LAG

    def cycles(self, load: float, leave: float, work: tuple[float, float], read_only: float = 0.0) -> float:
        """Estimate the cycles of all steps, with transfers beside the work.

        Parameters
        ----------
        load, leave
            Cycles in which a piece comes, and its results leave.
        work
            Cycles of a step of the first sweep, and of the second.
        read_only
            Cycles in which the piece of a tensor that is only read comes.
        """
        channels = min(self.channels, 3)
        loads = channels * self.loads
        arrival = [(load + read_only) * (n + 1) for n in range(min(self.slots, loads))]
        early = list(arrival)
        busy = arrival[-1]
        now = left = left_before = 0.0
        ends = []
        for step in range(channels * self.steps):
            now = max(now, arrival[self.load_of(step)], left_before, early[self.load_of(step)])
            for lag, arrived, time in ((_LAG, arrival, load), (self.lag_of_read_only, early, read_only)):
                freed = step - lag
                if freed >= 0 and self.last_step(self.load_of(freed)) == freed and len(arrived) < loads:
                    busy = max(busy, now) + time
                    arrived.append(busy)
            left_before = left
            if step % self.steps == 0:
                ends.append(now)
            second = step % self.steps >= self.pieces
            now += work[second]
            if second:
                left = max(left, now) + leave
        more = (self.channels - channels) * (ends[-1] - ends[-2]) if self.channels > channels else 0.0
        return max(now, left) + more


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
        if order.channels > 1 and order.steps <= _MOST_STEPS_APART:
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
            if order.lag_of_read_only == _LAG:
                late, read_only = late + read_only, []
            body += self._refill(step, "freed", _LAG, late)
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
        own, define_own = simplify(self._own(step)), []
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
