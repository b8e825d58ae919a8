"""What the checks found."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

_KINDS = ("unwritten", "stack-overflow", "race", "out-of-bounds")


@dataclass(frozen=True)
class Access:
    """One access to memory.

    Attributes
    ----------
    by : str
        The core, or the DMA or L3 transfer and the core that started it.
    pc : int
        Instruction that made it; of a transfer, the one that completed its command.
    where : str
        ``pc`` with symbol, and source line where the program tells.
    cycle : int
        When; of a transfer, when it was started.
    write : bool
    """

    by: str
    pc: int
    where: str
    cycle: int
    write: bool

    def __str__(self) -> str:
        verb = "write" if self.write else "read"
        return f"{verb} by {self.by} at {self.where}, cycle {self.cycle}"


@dataclass(frozen=True)
class Report:
    """One finding.

    Attributes
    ----------
    kind : str
        ``unwritten`` (memory was read that nobody had written), ``stack-overflow`` (an access relative to
        the stack pointer outside the core's stack), ``race`` (two accesses that nothing orders) or
        ``out-of-bounds`` (an access that left the object it began in, or that is in no object).
    address, size : int
        The bytes.
    name : str
        The symbol or named buffer that holds them.
    access : Access
    other : Access or None
        The earlier access of a race.
    count : int
        How often these instructions met.
    beyond : str
        Where the object is that an access out of bounds left; empty where it left none.
    """

    kind: str
    address: int
    size: int
    name: str
    access: Access
    other: Access | None
    count: int
    beyond: str = ""

    def __str__(self) -> str:
        times = f" ({self.count} times)" if self.count > 1 else ""
        text = f"{self.kind} at {self.name}, {self.size} bytes{times}: {self.access}"
        if self.kind == "out-of-bounds":
            text += f", beyond {self.beyond}" if self.beyond else ", in no object"
        if self.other is not None:
            text += f"; unordered with {self.other}"
        return text


def _access(found: dict[str, Any], names: list[str], where: Callable[[int], str]) -> Access:
    core = None if found["core"] is None else names[found["core"]]
    article = {"": "", "DMA": "a DMA transfer", "L3": "an L3 transfer"}[found["transfer"]]
    by = " of ".join(text for text in (article, core) if text)
    return Access(by, found["pc"], where(found["pc"]), found["cycle"], found["write"])


def make_report(
    found: dict[str, Any],
    names: list[str],
    where_code: Callable[[int], str],
) -> Report:
    """Turn what the engine recorded into a report."""
    other = found["other"]
    return Report(
        kind=_KINDS[found["kind"]],
        address=found["address"],
        size=found["size"],
        name=found["name"],
        access=_access(found["access"], names, where_code),
        other=None if other is None else _access(other, names, where_code),
        count=found["count"],
        beyond=found["beyond"],
    )
