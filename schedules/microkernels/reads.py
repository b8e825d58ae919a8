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


@dataclass(frozen=True)
class TapWalk:
    """One axis of the forward step, or of a class of the data gradient's positions (see `WindowAxis`).

    Result i reads ``i * step + start + t * tap_step`` with weight ``weights[t]``, for each t for which the
    place is below ``extent``. It lies at ``i * out_step + out_start`` of all results.
    """

    results: int
    extent: int
    weights: range
    step: int
    start: int
    tap_step: int
    out_start: int = 0
    out_step: int = 1

    def valid(self, result: int) -> tuple[int, int]:
        """Return the first t of a result's taps inside the source and the one after the last."""
        places = (result * self.step + self.start + t * self.tap_step for t in range(len(self.weights)))
        inside = [t for t, place in enumerate(places) if 0 <= place < self.extent]
        return (inside[0], inside[-1] + 1) if inside else (0, 0)

    def block(self, first: int, count: int) -> tuple[tuple[int, int], ...]:
        """Return for each t which of ``count`` results from ``first`` on read a value: first, end."""
        found = []
        for t in range(len(self.weights)):
            places = [(first + i) * self.step + self.start + t * self.tap_step for i in range(count)]
            inside = [i for i, place in enumerate(places) if 0 <= place < self.extent]
            found.append((inside[0], inside[-1] + 1) if inside else (0, 0))
        return tuple(found)


def tap_walks(window: WindowAxis, gradient: bool) -> list[TapWalk]:
    """Return the walk of the forward step, or those of the data gradient, one for each class."""
    if not gradient:
        taps = range(window.taps)
        return [TapWalk(window.out, window.source, taps, window.stride, -window.before, window.dilation)]
    walks = []
    for remainder in range(min(window.stride, window.source)):
        taps = window.class_taps(remainder)
        start = window.class_start(remainder) + window.first_window if taps else 0
        back = window.tap_step() * window.dilation // window.stride
        results = len(range(remainder, window.source, window.stride))
        walks.append(TapWalk(results, window.out, taps, 1, start, -back, remainder, window.stride))
    return walks
