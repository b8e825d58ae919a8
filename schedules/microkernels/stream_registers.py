"""Registers for the names of a stream."""

from __future__ import annotations

from tvm_pulp.schedules.microkernels.stream_definition import LANES, Stream, form
from tvm_pulp.schedules.microkernels.stream_operations import OPERATIONS

SCRATCH = ("t0", "t1", "t2", "t3", "t4", "t5", "t6", "a1", "a2", "a3", "a4", "a5", "a6", "a7")
SAVED = ("s0", "s1", "s2", "s3", "s4", "s5", "s6", "s7", "s8", "s9", "s10", "s11")


def fits_registers(stream: Stream) -> bool:
    """Tell whether there are registers for all values of a stream."""
    return _try_to_assign(stream, 1) is not None


def assign_registers(stream: Stream, others: int = 0) -> dict[str, list[str]]:
    """Give each name its registers, one a lane; sums have as many chains as there are registers for.

    Parameters
    ----------
    stream
        The loop.
    others
        Registers that are left for other values.

    Raises
    ------
    ValueError
        Where there are not enough.
    """
    for chains in (LANES, LANES // 2, 1):
        found = _try_to_assign(stream, chains, others)
        if found is not None:
            return found
    raise ValueError(f"stream {stream.name} needs more registers than there are")


def _try_to_assign(stream: Stream, chains: int, others: int = 0) -> dict[str, list[str]] | None:
    free = list(SCRATCH + SAVED)[: len(SCRATCH + SAVED) - others]
    registers: dict[str, list[str]] = {}

    def take(name: str, count: int) -> bool:
        if len(free) < count:
            return False
        taken = [free.pop(0) for _ in range(count)]
        registers[name] = [taken[lane % count] for lane in range(LANES)]
        return True

    for name in (*stream.pointers, *(f"{m} pointer" for m in stream.masks), *stream.scalars, "counter"):
        if not take(name, 1):
            return None
    for name in stream.sums:
        if not take(name, chains):
            return None
    for name in stream.masks:
        if not take(name, LANES):
            return None
    fixed = set(registers)
    last_use = {source: position for position, step in enumerate(stream.body) for source in step.sources}
    for position, step in enumerate(stream.body):
        ending = [s for s in dict.fromkeys(step.sources) if last_use[s] == position and s not in fixed]
        ending = [source for source in ending if source in registers]
        if step.operation not in ("load", "store") and form(stream, position)[1]:
            registers[step.result] = registers[step.sources[1]]
            free[:0] = registers[step.sources[0]]
            continue
        several = step.operation not in ("load", "store") and (
            len(OPERATIONS[step.operation].instructions) > 1
        )
        early = [s for s in ending if not several or (s == step.sources[0] and step.sources.count(s) == 1)]
        for source in early:
            free[:0] = registers[source]
        if step.operation != "store" and step.result not in fixed and not take(step.result, LANES):
            return None
        for source in ending:
            if source not in early:
                free[:0] = registers[source]
    return registers
