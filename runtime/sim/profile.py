"""Where the cycles of a run went."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from . import _sim

CAUSES: tuple[str, ...] = tuple(_sim.causes)


@dataclass(frozen=True)
class Row:
    """One function on one core.

    Attributes
    ----------
    core, function : str
    instructions : int
    cycles : tuple of int
        By cause, in the order of :data:`CAUSES`.
    """

    core: str
    function: str
    instructions: int
    cycles: tuple[int, ...]

    @property
    def total(self) -> int:
        """Cycles of all causes."""
        return sum(self.cycles)


@dataclass(frozen=True)
class Profile:
    """All functions on all cores.

    Attributes
    ----------
    rows : tuple of Row
        The cycles of a core's rows sum up to the cycles from its start to the end of the run.
    """

    rows: tuple[Row, ...]

    def cores(self) -> dict[str, Row]:
        """Sum the functions of each core."""
        return _grouped(self.rows, lambda row: row.core)

    def functions(self) -> list[Row]:
        """Sum the cores of each function, the most cycles first."""
        return sorted(_grouped(self.rows, lambda row: row.function).values(), key=lambda row: -row.total)

    def table(self, most: int = 25) -> str:
        """Write the profile as text: causes by core, then the functions with most cycles."""
        cores = self.cores()
        lines = ["cycles by cause and core"]
        used = [n for n in range(len(CAUSES)) if any(row.cycles[n] for row in cores.values())]
        names = list(cores)
        lines.append(f"  {'':<18}" + "".join(f"{name:>12}" for name in names))
        for n in used:
            cells = "".join(f"{cores[name].cycles[n]:>12}" for name in names)
            lines.append(f"  {CAUSES[n]:<18}{cells}")
        lines.append(f"  {'total':<18}" + "".join(f"{cores[name].total:>12}" for name in names))
        lines.append("cycles by function, all cores")
        lines.append(f"  {'cycles':>12} {'instructions':>13} {'busy':>6}  function: largest stalls")
        for row in self.functions()[:most]:
            stalls = sorted(range(1, len(CAUSES)), key=lambda n: -row.cycles[n])[:3]
            text = ", ".join(
                f"{CAUSES[n]} {100 * row.cycles[n] / row.total:.0f}%" for n in stalls if row.cycles[n]
            )
            busy = 100 * row.instructions / max(row.total, 1)
            lines.append(
                f"  {row.total:>12} {row.instructions:>13} {busy:>5.0f}%  {row.function}: {text or 'none'}"
            )
        return "\n".join(lines)


def _grouped(rows: Iterable[Row], key: object) -> dict[str, Row]:
    assert callable(key)
    groups: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        groups[key(row)].append(row)
    result = {}
    for name, members in groups.items():
        cores = {row.core for row in members}
        functions = {row.function for row in members}
        result[name] = Row(
            core=cores.pop() if len(cores) == 1 else "all",
            function=functions.pop() if len(functions) == 1 else "all",
            instructions=sum(row.instructions for row in members),
            cycles=tuple(sum(column) for column in zip(*(row.cycles for row in members), strict=True)),
        )
    return result


def make_profile(rows: Sequence[tuple[int, str, int, list[int]]], names: Sequence[str]) -> Profile:
    """Turn what the engine counted into a profile."""
    return Profile(tuple(Row(names[core], name, count, tuple(cycles)) for core, name, count, cycles in rows))
