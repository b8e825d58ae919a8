"""Order of a loop's instructions, so that two workers that share a FPU seldom wait for each other."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Instruction:
    """A line of assembly and the registers that it reads and writes; memory counts as a register."""

    text: str
    reads: frozenset[str]
    writes: frozenset[str]

    @property
    def is_float(self) -> bool:
        """Whether it occupies the FPU, which two workers share."""
        return self.text.startswith(("f", "VF"))

    @property
    def is_load(self) -> bool:
        """Whether the next instruction should not use its result."""
        return self.text.startswith(("l", "P_L")) and not self.text.startswith(("li ", "lui "))


def share_fpu(body: list[Instruction]) -> list[Instruction]:
    """Return the instructions of a loop as given or interleaved, whichever is faster for two workers."""
    return min((body, _interleave(body)), key=cycles_of_a_pair)


def cycles_of_a_pair(body: list[Instruction], rounds: int = 8) -> float:
    """Return how long two workers that share a FPU take for a loop: a mean over skews of their starts."""
    floats = [line.is_float for line in body]
    waits = [a.is_load and bool(a.writes & b.reads) for a, b in zip([body[-1], *body], body, strict=False)]
    total = 0
    for skew in range(len(body)):
        clocks, done = [0, skew], [0, 0]
        free = 0
        while min(done) < rounds * len(body):
            worker = 0 if clocks[0] <= clocks[1] else 1
            clocks[worker] += waits[done[worker] % len(body)]
            if floats[done[worker] % len(body)]:
                clocks[worker] = max(clocks[worker], free)
                free = clocks[worker] + 1
            clocks[worker] += 1
            done[worker] += 1
        total += max(clocks)
    return total / len(body)


def _interleave(lines: list[Instruction]) -> list[Instruction]:
    """Put other instructions between those of the FPU, so that the worker that shares it finds it free.

    Two workers with a float instruction every other cycle fall into step and never wait. A loaded value is
    not used by the next instruction.
    """
    before: list[set[int]] = []
    for position, line in enumerate(lines):
        before.append(
            {
                earlier
                for earlier, other in enumerate(lines[:position])
                if other.writes & (line.reads | line.writes) or other.reads & line.writes
            }
        )
    order: list[int] = []
    while len(order) < len(lines):
        done = set(order)
        ready = [n for n in range(len(lines)) if n not in done and before[n] <= done]
        last = lines[order[-1]] if order else None

        def cost(n: int, last: Instruction | None = last) -> tuple[bool, bool, int]:
            waits = last is not None and last.is_load and bool(last.writes & lines[n].reads)
            return waits, lines[n].is_float == (last is not None and last.is_float), n

        order.append(min(ready, key=cost))
    return [lines[n] for n in order]
