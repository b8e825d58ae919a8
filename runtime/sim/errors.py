"""What can end a run, each kind with its own exit code."""

from __future__ import annotations


class SimulationError(RuntimeError):
    """A run or a load that failed; the message is one line.

    Attributes
    ----------
    exit_code : int
        What ``pulp-sim`` returns for it.
    result : object or None
        The statistics up to the end of the run, where there was one.
    """

    exit_code = 1

    def __init__(self, message: str, result: object | None = None) -> None:
        super().__init__(message)
        self.result = result


class ElfError(SimulationError):
    """The program cannot be loaded."""

    exit_code = 65


class BadAccess(SimulationError):
    """An access to an address where nothing is, or of a size that a device does not take."""

    exit_code = 70


class UnknownInstruction(SimulationError):
    """An instruction or a CSR that the cores do not have."""

    exit_code = 71


class CycleLimit(SimulationError):
    """The program did not end within ``max_cycles``."""

    exit_code = 72


class Deadlock(SimulationError):
    """Every core sleeps and nothing can wake one."""

    exit_code = 73


class Interrupted(SimulationError):
    """Ctrl-C."""

    exit_code = 130


class TraceError(SimulationError):
    """The trace file cannot be written."""

    exit_code = 74


# In the order of FaultKind in engine/fault.hpp.
BY_KIND: tuple[type[SimulationError], ...] = (
    ElfError,
    BadAccess,
    UnknownInstruction,
    CycleLimit,
    Deadlock,
    Interrupted,
    TraceError,
)
