"""Offsets in one arena for buffers with lifetimes: the dynamic storage allocation problem."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

ALIGNMENT = 16  # bytes: a DMA line and an instruction-cache line


@dataclass(frozen=True)
class Lifetime:
    """A buffer that lives from step `first` to step `last`, both included.

    Attributes
    ----------
    size : int
        Bytes.
    first, last : int
        Steps (kernel calls), 0-based.
    """

    size: int
    first: int
    last: int

    def overlaps(self, other: Lifetime) -> bool:
        """Whether both are alive at some step."""
        return self.first <= other.last and other.first <= self.last


def aligned(size: int) -> int:
    """Round bytes up to the arena's alignment."""
    return -(-size // ALIGNMENT) * ALIGNMENT


def place_buffers(lifetimes: Sequence[Lifetime]) -> tuple[list[int], int]:
    """Give each buffer an offset so that buffers alive together never share bytes.

    First fit at the lowest free offset, in three orders (by size, by size times duration, by first
    step); the best of them is kept. Greedy by size is the strategy of Pisarchyk and Lee, "Efficient
    Memory Management for Deep Neural Net Inference", 2020.

    Parameters
    ----------
    lifetimes : sequence of Lifetime
        Buffers of one arena.

    Returns
    -------
    offsets : list of int
        Bytes from the arena's start, a multiple of `ALIGNMENT`, in the order of `lifetimes`.
    arena_bytes : int
        Size of the arena.
    """
    return place_beside(lifetimes, ())


def place_beside(lifetimes: Sequence[Lifetime], fixed: Sequence[Lifetime]) -> tuple[list[int], int]:
    """Do the same beside buffers that are at the arena's start.

    Parameters
    ----------
    lifetimes : sequence of Lifetime
        Buffers to place.
    fixed : sequence of Lifetime
        Buffers at offset 0, never two of them at the same step.

    Returns
    -------
    offsets : list of int
        Of the buffers to place.
    arena_bytes : int
        Size of the arena.
    """
    orders: list[Callable[[Lifetime], tuple[int, ...]]] = [
        lambda life: (-life.size, life.first),
        lambda life: (-life.size * (life.last - life.first + 1), life.first),
        lambda life: (life.first, -life.size),
    ]
    plans = [_first_fit(lifetimes, fixed, order) for order in orders]
    return min(plans, key=lambda plan: plan[1])


def peak_bytes(lifetimes: Sequence[Lifetime]) -> int:
    """Most bytes alive at one step: no plan can be smaller."""
    steps = {life.first for life in lifetimes}
    return max(
        (sum(aligned(x.size) for x in lifetimes if x.first <= step <= x.last) for step in steps), default=0
    )


def _first_fit(
    lifetimes: Sequence[Lifetime],
    fixed: Sequence[Lifetime],
    order: Callable[[Lifetime], tuple[int, ...]],
) -> tuple[list[int], int]:
    offsets = [0] * len(lifetimes)
    placed: list[int] = []
    end = max((aligned(life.size) for life in fixed), default=0)
    for index in sorted(range(len(lifetimes)), key=lambda i: order(lifetimes[i])):
        life = lifetimes[index]
        offset = 0
        neighbours = [(0, aligned(other.size)) for other in fixed if life.overlaps(other)]
        neighbours += (
            (offsets[i], offsets[i] + aligned(lifetimes[i].size))
            for i in placed
            if life.overlaps(lifetimes[i])
        )
        for start, stop in sorted(neighbours):
            if offset + aligned(life.size) <= start:
                break
            offset = max(offset, stop)
        offsets[index] = offset
        end = max(end, offset + aligned(life.size))
        placed.append(index)
    return offsets, end
