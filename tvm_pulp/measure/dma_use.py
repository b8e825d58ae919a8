"""What the DMA did during a stretch of a run, and how much of it beside the workers' work."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class DmaUse:
    """Transfers in a stretch of time.

    Attributes
    ----------
    bytes_in, bytes_out : int
        From L2 to L1 and back, of the transfers that ended in the stretch.
    busy : float
        Fraction of its cycles with a transfer in flight.
    overlap : float
        Fraction of its cycles with a transfer in flight and workers at work, a cycle in which only some of
        the workers run code counted in that proportion.
    """

    bytes_in: int
    bytes_out: int
    busy: float
    overlap: float


def read_dma_use(trace: Path, start: int, end: int, workers: int) -> DmaUse:
    """Read the DMA's use from a trace of the simulator.

    Parameters
    ----------
    trace
        File that `Machine` wrote.
    start, end
        The stretch, in cycles.
    workers
        Number of workers: cores 0 to ``workers - 1``.
    """
    moved = [0, 0]
    transfers: list[tuple[int, int]] = []
    work: list[tuple[int, int]] = []
    for event in _events(trace):
        begin = int(event["args"]["cycle"])
        finish = begin + int(event["args"]["cycles"])
        if begin >= end or finish <= start:
            continue
        clipped = max(begin, start), min(finish, end)
        if event["cat"] == "dma":
            transfers.append(clipped)
            moved[event["name"] != "L2 to L1"] += int(event["args"]["bytes"])
        elif event["cat"] == "code" and event["tid"] < workers:
            work.append(clipped)
    flight = _union(transfers)
    together = sum(_common(flight, work))
    cycles = max(1, end - start)
    busy = sum(b - a for a, b in flight)
    return DmaUse(moved[0], moved[1], busy / cycles, together / workers / cycles)


def _events(trace: Path) -> Iterator[dict[str, Any]]:
    """Yield the trace's slices; it has one on a line, as it is too long to be read whole."""
    with trace.open() as lines:
        for line in lines:
            if line.startswith('{"ph":"X"'):
                yield json.loads(line.rstrip().rstrip(","))


def _union(intervals: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    merged: list[tuple[int, int]] = []
    for begin, end in sorted(intervals):
        if merged and begin <= merged[-1][1]:
            merged[-1] = merged[-1][0], max(merged[-1][1], end)
        else:
            merged.append((begin, end))
    return merged


def _common(flight: list[tuple[int, int]], work: list[tuple[int, int]]) -> Iterator[int]:
    """Yield the cycles that each stretch of work has in common with the transfers."""
    first = 0
    for begin, end in sorted(work):
        while first < len(flight) and flight[first][1] <= begin:
            first += 1
        position = first
        while position < len(flight) and flight[position][0] < end:
            yield min(end, flight[position][1]) - max(begin, flight[position][0])
            position += 1
