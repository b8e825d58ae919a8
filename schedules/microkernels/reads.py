"""Which values the results of a convolution read along one axis, known when the code is written.

Where a window reaches beyond the image, the taps outside are left out, so that no padding is stored anywhere.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

from tvm_pulp.schedules.conv2d_workload import WindowAxis

Item = TypeVar("Item")
Reads = tuple[tuple[int, int], ...]
"""Pairs of a place in the source and the tap that it is multiplied with."""


@dataclass(frozen=True)
class ReadAxis:
    """Height or width of the forward step or, with ``gradient``, of the data gradient.

    Results come in units that are alike but for the edges: ``group`` of them forward, ``group`` times the
    stride for the data gradient. From a unit to the next the source moves on by ``advance``.
    """

    window: WindowAxis
    gradient: bool
    group: int = 1

    @property
    def results(self) -> int:
        """Number of results."""
        return self.window.source if self.gradient else self.window.out

    @property
    def extent(self) -> int:
        """Number of values of the source."""
        return self.window.out if self.gradient else self.window.source

    @property
    def unit(self) -> int:
        """Results of a unit."""
        return self.group * (self.window.stride if self.gradient else 1)

    @property
    def advance(self) -> int:
        """Distance in the source from a unit to the next."""
        return self.group * (1 if self.gradient else self.window.stride)

    def reads(self, result: int) -> Reads:
        """Return what a result reads, relative to the source of its unit, in the order of the taps."""
        a, found = self.window, []
        base = result // self.unit * self.advance
        for tap in range(a.taps):
            if self.gradient:
                place, rest = divmod(result + a.before - tap * a.dilation, a.stride)
                if rest:
                    continue
            else:
                place = result * a.stride - a.before + tap * a.dilation
            if 0 <= place < self.extent:
                found.append((place - base, tap))
        return tuple(found)

    def block(self, first: int, count: int) -> tuple[Reads, ...]:
        """Return what ``count`` results from a unit's first one on read, relative to the first one's unit."""
        base = first // self.unit
        return tuple(
            tuple((place + (i // self.unit - base) * self.advance, tap) for place, tap in self.reads(i))
            for i in range(first, min(first + count, self.results))
        )


def runs(items: Sequence[Item], key: Callable[[Item], object]) -> Iterator[tuple[int, int, Item]]:
    """Yield start, end and first item of each run of items with equal keys."""
    keys = [key(item) for item in items]
    start = 0
    for position in range(1, len(items) + 1):
        if position == len(items) or keys[position] != keys[start]:
            yield start, position, items[start]
            start = position


def strips(axis: ReadAxis, size: int) -> list[tuple[int, int, int]]:
    """Return runs of strips that are alike: first result, results of a strip, number of strips.

    ``size`` is the number of results of a strip, whole units; the last strip may be smaller.
    """
    starts = list(range(0, axis.results, size))
    return [
        (first, min(size, axis.results - first), end - begin)
        for begin, end, first in runs(starts, lambda start: axis.block(start, size))
    ]
