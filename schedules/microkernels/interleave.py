"""Order of a loop's instructions, so that two workers that share a FPU seldom wait for each other."""

from __future__ import annotations

from dataclasses import dataclass, replace


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
        """Whether it loads from memory."""
        return self.text.startswith(("l", "P_L")) and not self.text.startswith(("li ", "lui "))

    @property
    def late(self) -> frozenset[str]:
        """What the next instruction should not use: a load's result, but not a pointer that it moves on."""
        return self.writes - self.reads if self.is_load else frozenset()


def share_fpu(body: list[Instruction]) -> list[Instruction]:
    """Return the instructions of a loop as given or interleaved, whichever is faster for two workers."""
    return min((body, _interleave(body)), key=cycles_of_a_pair)


@dataclass(frozen=True)
class Stretch:
    """Instructions that run one after the other, in a hardware loop where they run several times."""

    lines: list[Instruction]
    count: int = 1

    def run(self) -> list[Instruction]:
        """Return all instructions that are executed."""
        setup = Instruction("LP_SETUP", frozenset(), frozenset())
        return self.lines if self.count == 1 else [setup, *self.lines * self.count]


def share_fpu_in_all(stretches: list[Stretch]) -> list[Stretch]:
    """Return a loop's body, which has loops in it perhaps, in the fastest order for two workers.

    Beside those of `share_fpu` there are orders in which the FPU is used in every other cycle at most, loops
    included: then workers an odd number of cycles apart never wait, and those an even number apart do once.
    """
    choices = [stretches, [replace(stretch, lines=_interleave(stretch.lines)) for stretch in stretches]]
    for parity in (0, 1):
        placed: list[Stretch] = []
        for stretch in stretches:
            start = sum(len(before.run()) for before in placed) + (stretch.count > 1)
            lines = _on_parity(stretch.lines, (start + parity) % 2)
            if lines:
                placed.append(replace(stretch, lines=lines))
        if len(placed) == len(stretches):
            choices.append(placed)

    def cycles(choice: list[Stretch]) -> float:
        run = [line for stretch in choice for line in stretch.run()]
        return cycles_of_a_pair(run, 4, len(run) // 16 | 1)

    return min(choices, key=cycles)


def cycles_of_a_pair(body: list[Instruction], rounds: int = 8, step: int = 1) -> float:
    """Return how long two workers that share a FPU take for a loop: a mean over each `step`-th skew."""
    floats = [line.is_float for line in body]
    waits = [bool(a.late & b.reads) for a, b in zip([body[-1], *body], body, strict=False)]
    total = 0
    skews = range(0, len(body), step)
    for skew in skews:
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
    return total / len(skews)


def _needed(lines: list[Instruction]) -> list[set[int]]:
    """Return the positions of all earlier lines that must stay in front of each."""
    return [
        {
            earlier
            for earlier, other in enumerate(lines[:position])
            if other.writes & (line.reads | line.writes) or other.reads & line.writes
        }
        for position, line in enumerate(lines)
    ]


def _on_parity(lines: list[Instruction], parity: int) -> list[Instruction]:
    """Put instructions of the FPU on every other place, counted from `parity`; nothing where others lack.

    First come those with the most behind them: others are left to fill places.
    """
    before = _needed(lines)
    behind = [0] * len(lines)
    for position in reversed(range(len(lines))):
        for earlier in before[position]:
            behind[earlier] = max(behind[earlier], behind[position] + 1)
    order: list[int] = []
    while len(order) < len(lines):
        done, last = set(order), lines[order[-1]] if order else None
        is_place = len(order) % 2 == parity
        ready = [
            n
            for n, line in enumerate(lines)
            if n not in done and before[n] <= done and (is_place or not line.is_float)
        ]
        if not ready:
            return []

        def cost(n: int, last: Instruction | None = last) -> tuple[bool, bool, int, int]:
            waits = last is not None and bool(last.late & lines[n].reads)
            return waits, not lines[n].is_float, -behind[n], n

        order.append(min(ready, key=cost))
    return [lines[n] for n in order]


def _interleave(lines: list[Instruction]) -> list[Instruction]:
    """Put other instructions between those of the FPU, so that the worker that shares it finds it free.

    Two workers with a float instruction every other cycle fall into step and never wait. A loaded value is
    not used by the next instruction.
    """
    before = _needed(lines)
    order: list[int] = []
    while len(order) < len(lines):
        done = set(order)
        ready = [n for n in range(len(lines)) if n not in done and before[n] <= done]
        last = lines[order[-1]] if order else None

        def cost(n: int, last: Instruction | None = last) -> tuple[bool, bool, int]:
            waits = last is not None and bool(last.late & lines[n].reads)
            return waits, lines[n].is_float == (last is not None and last.is_float), n

        order.append(min(ready, key=cost))
    return [lines[n] for n in order]
