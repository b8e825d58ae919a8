"""Two sweeps over each channel of a tensor that passes through L1 in pieces, some of which stay in between.

The slots of a ring in L1 take the pieces in the order of their loads. The first sweep over a channel uses all
its pieces; the last ``kept`` of them stay. The second sweep begins with these and loads the others again, so
that slots fall free in the order in which they were taken. A sweep's results take the place of what it read.
Tensors that are only read have places in the slots, too, which fall free a step earlier: nothing leaves them.
Where all pieces stay, so that the DMA has few loads to make, but these in the last steps of a channel, theirs
start a step earlier.
"""

from __future__ import annotations

from dataclasses import dataclass

MOST_SLOTS = 7
"""Each slot of the ring has a DMA slot of its own; of a kernel's eight one is left for what leaves."""

LAG = 2
"""Steps from a slot's last use to the load that overwrites it: in between its results leave."""
LAG_OF_READ_ONLY = 1
"""The same where nothing leaves."""
_FEW_STEPS = 4
"""Steps of a channel up to which each has code of its own: more would not stay in the instruction cache."""


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
    def has_few_steps(self) -> bool:
        """Whether each of a channel's steps has code of its own, in a loop over channels."""
        return self.channels > 1 and self.steps <= _FEW_STEPS

    @property
    def lag_of_read_only(self) -> int:
        """Steps from the last use of what is only read to the load that overwrites it."""
        return LAG_OF_READ_ONLY if self.kept == self.pieces else LAG

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
        lags = (LAG, self.lag_of_read_only) if read_only else (LAG,)
        loads = sum(self.last_step(self.load_of(step - lag)) == step - lag for lag in lags)
        return loads + ((step - 1) % self.steps >= self.pieces)

    def is_feasible(self) -> bool:
        """Tell whether each load can start before the step that needs it."""
        return 0 <= self.kept <= min(self.pieces, self.slots) and self.slots > LAG

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
            for lag, arrived, time in ((LAG, arrival, load), (self.lag_of_read_only, early, read_only)):
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
