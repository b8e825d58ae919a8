"""Decide what stays in L1 from kernel to kernel, and what moves between L1 and L2 while kernels compute.

A kernel on tensors in L2 loads and stores tile by tile. Where all tensors of a call fit L1 together, the
call can work on them there, without transfers of its own; the network function then brings in what is not
there yet while the call before computes, and takes out what is needed later while the call after computes.
A tensor's *stay* in L1 covers one or several calls that use it one after the other, with no transfer in
between.

Costs are in cycles of the cluster: DMA of 8 bytes a cycle, and what core 0 spends to start and end a
transfer.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

from tvm_pulp.passes.l1_residency import CallCost, Move, Residency, Stay, Tensor, TensorUse
from tvm_pulp.passes.place_buffers import Lifetime, aligned, place_beside

_BYTES_A_CYCLE = 8.0
_CYCLES_A_TRANSFER = 70.0  # core 0 starts and ends it
_CYCLES_A_WAIT = 60.0  # of all for a transfer that nothing hides: latency, barrier
_CYCLES_A_TILE = 100.0  # of a loop over tiles, beside the work
_CYCLES_A_DIRECT_BYTE = 0.4  # workers load words from L2, 13 cycles more than from L1, 8 workers at once
_LEAST_GAIN = 0.02  # cycles a byte and call for which a tensor takes up L1 without being used
_MOST_CALLS = 6  # over which a transfer may extend
_STEP_DOWN = 512  # bytes by which the budgets of calls shrink during which a tensor cannot be placed


def keep_in_l1(tensors: Sequence[Tensor], calls: Sequence[CallCost], limit: int) -> Residency:
    """Choose the calls that work on tensors in L1.

    A call does so where its tensors fit, and where the transfers that nothing hides take less time than those
    of the kernel's own loop over tiles.

    Parameters
    ----------
    tensors : sequence of Tensor
        Of a function.
    calls : sequence of CallCost
        Its calls in order.
    limit : int
        Bytes of L1.

    Returns
    -------
    Residency
        No stays where nothing is gained.
    """
    budgets, losing = [limit] * len(calls), set[int]()
    needed = _needed(tensors, calls)
    while True:
        chosen = {i for i, bytes_ in needed.items() if bytes_ <= budgets[i] and i not in losing}
        planner = _Planner(tensors, calls, chosen, budgets)
        stays = planner.stays()
        more = {i for i in chosen if planner.loses(i, stays)}
        if more:
            losing |= more
            continue
        peak = _place(stays, tensors, planner.scratch)
        above = [stay for stay in stays if stay.offset + tensors[stay.tensor].bytes > limit]
        if not above:
            return Residency(frozenset(chosen), tuple(stays), peak)
        for call in {call for stay in above for call in range(stay.first, stay.last + 1)}:
            budgets[call] -= _STEP_DOWN


def _needed(tensors: Sequence[Tensor], calls: Sequence[CallCost]) -> dict[int, int]:
    """Return the bytes of L1 for each call that can work in it."""
    needed = {i: call.scratch_in_l1 for i, call in enumerate(calls) if call.scratch_in_l1 is not None}
    for tensor in tensors:
        for use in tensor.uses:
            if use.moved and use.call in needed:
                needed[use.call] += aligned(tensor.bytes)
    return needed


def _place(stays: Sequence[Stay], tensors: Sequence[Tensor], scratch: Sequence[int]) -> int:
    """Give the stays their offsets beside each call's scratch; return the bytes in all."""
    fixed = [Lifetime(size, call, call) for call, size in enumerate(scratch) if size]
    lifetimes = [Lifetime(tensors[stay.tensor].bytes, stay.first, stay.last) for stay in stays]
    offsets, peak = place_beside(lifetimes, fixed)
    for stay, offset in zip(stays, offsets, strict=True):
        stay.offset = offset
    return peak


@dataclass
class _Planner:
    """Makes the stays for chosen calls, within the budget of bytes of each call."""

    tensors: Sequence[Tensor]
    calls: Sequence[CallCost]
    chosen: Collection[int]
    budgets: Sequence[int]
    scratch: list[int] = field(init=False)
    taken: list[int] = field(init=False)  # bytes of L1 at each call
    held: list[set[int]] = field(init=False)  # calls for which a tensor is counted in `taken`
    idle: dict[bool, list[float]] = field(init=False)  # cycles of each call without a transfer to L1, to L2

    def __post_init__(self) -> None:
        self.scratch = [
            call.scratch_in_l1 or 0 if i in self.chosen else call.scratch for i, call in enumerate(self.calls)
        ]
        self.taken = list(self.scratch)
        hiding = [call.cycles if i in self.chosen else 0.0 for i, call in enumerate(self.calls)]
        self.idle = {True: list(hiding), False: list(hiding)}
        self.held = [set() for _ in self.tensors]
        for number, tensor in enumerate(self.tensors):
            self._hold(number, {u.call for u in tensor.uses if u.moved and u.call in self.chosen})

    def _hold(self, number: int, calls: Collection[int]) -> None:
        for call in set(calls) - self.held[number]:
            self.taken[call] += aligned(self.tensors[number].bytes)
            self.held[number].add(call)

    def _has_room(self, number: int, calls: Collection[int]) -> bool:
        size = aligned(self.tensors[number].bytes)
        return all(self.taken[call] + size <= self.budgets[call] for call in set(calls) - self.held[number])

    def stays(self) -> list[Stay]:
        """Return the stays with their transfers, by the first call."""
        joined = self._join()
        stays = [
            Stay(number, uses)
            for number in range(len(self.tensors))
            for uses in self._runs(number, joined)
            if self._worthwhile(number, uses)
        ]
        stays.sort(key=lambda stay: (stay.uses[0].call, stay.tensor))
        for stay in stays:
            self._fetch(stay, stays)
            self._store(stay)
        return stays

    # which uses share a stay

    def _usable(self, use: TensorUse) -> bool:
        return not use.moved or use.call in self.chosen

    def _join(self) -> set[tuple[int, int]]:
        """Return the pairs of tensor and use that find the tensor where the use before left it."""
        candidates = []
        for number, tensor in enumerate(self.tensors):
            for position in range(1, len(tensor.uses)):
                before, after = tensor.uses[position - 1 : position + 1]
                if self._usable(before) and self._usable(after):
                    candidates.append((self._gain(tensor, before, after), number, position))
        joined: set[tuple[int, int]] = set()

        def rate(candidate: tuple[float, int, int]) -> float:
            gain, number, position = candidate
            return gain / (aligned(self.tensors[number].bytes) * max(len(self._between(number, position)), 1))

        for candidate in sorted(candidates, key=rate, reverse=True):
            _, number, position = candidate
            calls = self._between(number, position)
            if not calls or (rate(candidate) >= _LEAST_GAIN and self._has_room(number, calls)):
                self._hold(number, calls)
                joined.add((number, position))
        return joined

    def _between(self, number: int, position: int) -> set[int]:
        """Return the calls from a use to the next one for which the tensor takes up no L1 yet."""
        before, after = self.tensors[number].uses[position - 1 : position + 1]
        return set(range(before.call, after.call + 1)) - self.held[number]

    def _gain(self, tensor: Tensor, before: TensorUse, after: TensorUse) -> float:
        """Return the cycles that a tensor saves that waits in L1 for its next use."""
        transfer = tensor.bytes / _BYTES_A_CYCLE + _CYCLES_A_TRANSFER
        gain = transfer if after.moved else tensor.bytes * _CYCLES_A_DIRECT_BYTE
        last = after is tensor.uses[-1] and not tensor.named
        return gain + (transfer if before.written and before.moved and last else 0.0)

    def _runs(self, number: int, joined: Collection[tuple[int, int]]) -> list[list[TensorUse]]:
        runs: list[list[TensorUse]] = []
        for position, use in enumerate(self.tensors[number].uses):
            if (number, position) in joined:
                runs[-1].append(use)
            else:
                runs.append([use])
        return runs

    def _worthwhile(self, number: int, uses: Sequence[TensorUse]) -> bool:
        """Tell whether uses find their tensor in L1: if one has to, or if it never needs to be in L2."""
        if any(use.moved for use in uses):
            return all(self._usable(use) for use in uses)
        tensor = self.tensors[number]
        return len(uses) > 1 and len(uses) == len(tensor.uses) and not tensor.named

    # transfers

    def _fetch(self, stay: Stay, stays: Sequence[Stay]) -> None:
        first = stay.uses[0]
        if not first.read:
            return
        call = first.call
        earliest = max(self._valid_before(stay, stays), call - _MOST_CALLS, 0)
        start, waiting = call, self.tensors[stay.tensor].bytes / _BYTES_A_CYCLE
        for early in range(call - 1, earliest - 1, -1):
            if early not in self.chosen or not self._has_room(stay.tensor, {early}):
                break
            start, waiting = early, self._hide(stay.tensor, early, waiting, to_l1=True)
            if not waiting:
                break
        stay.fetch = Move(start, call, waiting)

    def _hide(self, number: int, call: int, cycles: float, *, to_l1: bool) -> float:
        """Have a tensor in L1 while a call hides a part of its transfer; return the cycles that are left."""
        self._hold(number, {call})
        hidden = min(cycles, self.idle[to_l1][call])
        self.idle[to_l1][call] -= hidden
        return cycles - hidden

    def _valid_before(self, stay: Stay, stays: Sequence[Stay]) -> int:
        """Return the first call before which L2 has what a stay begins with."""
        earlier = [u for u in self.tensors[stay.tensor].uses if u.call < stay.uses[0].call and u.written]
        if not earlier:
            return 0
        writer = next((s for s in stays if s.tensor == stay.tensor and earlier[-1] in s.uses), None)
        if writer is None:
            return earlier[-1].call + 1
        assert writer.store is not None
        return writer.store.ready

    def _store(self, stay: Stay) -> None:
        tensor = self.tensors[stay.tensor]
        written = [use.call for use in stay.uses if use.written]
        following = [use.call for use in tensor.uses if use.call > stay.uses[-1].call]
        if not written or not (following or tensor.named):
            return
        start, end = written[-1] + 1, len(self.calls)
        latest = min(following[0] if following else end, end, start + _MOST_CALLS)
        ready, waiting = start, tensor.bytes / _BYTES_A_CYCLE
        while waiting and ready < latest and self._has_room(stay.tensor, {ready}):
            waiting = self._hide(stay.tensor, ready, waiting, to_l1=False)
            ready += 1
        stay.store = Move(start, ready, waiting)

    # what it costs

    def loses(self, call: int, stays: Sequence[Stay]) -> bool:
        """Tell whether a chosen call would take longer than one that has its tensors in L2."""
        moved = [(t.bytes, u) for t in self.tensors for u in t.uses if u.call == call and u.moved]
        transfers = sum(use.read + use.written for _, use in moved)
        exposed = sum(bytes_ * (use.read + use.written) for bytes_, use in moved) / _BYTES_A_CYCLE
        tiles = self.calls[call].tiles
        own = exposed / tiles + tiles * (_CYCLES_A_TILE + transfers * _CYCLES_A_TRANSFER)
        cost = 0.0
        for stay in stays:
            for move, at in ((stay.fetch, stay.uses[0].call), (stay.store, stay.uses[-1].call)):
                if move is not None and at == call:
                    cost += _CYCLES_A_TRANSFER + move.waiting + (_CYCLES_A_WAIT if move.exposed else 0.0)
        return cost > own
