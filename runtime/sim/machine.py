"""Run programs on a simulated PULP cluster."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from . import _sim
from .configuration import Configuration
from .errors import BY_KIND, ElfError, SimulationError
from .lines import LineTable
from .profile import Profile, make_profile
from .reports import Report, make_report

_NO_LIMIT = 2**62
# Flags of this project's own runtime: polled in memory, so what is written before is ordered by them.
_FLAG_SYMBOLS = ("pending_task",)


@dataclass(frozen=True)
class Symbol:
    """A name of the program.

    Attributes
    ----------
    address, size : int
        Size 0 where the program does not tell.
    is_function : bool
        True for code.
    """

    address: int
    size: int
    is_function: bool = False


@dataclass(frozen=True)
class CoreStatistics:
    """What one core did.

    Attributes
    ----------
    name : str
        ``core 0`` and so on, or ``controller`` for the fabric controller.
    instructions : int
        Instructions executed since the start or the last restart.
    pc : int
        Where it stopped.
    asleep : bool
        True if it was waiting when the run ended.
    started : bool
        False for a core that never ran.
    started_at : int
        Cycle in which it started; its profile sums up to the cycles from there to the end.
    """

    name: str
    instructions: int
    pc: int
    asleep: bool
    started: bool
    started_at: int = 0


@dataclass(frozen=True)
class Result:
    """How a run ended.

    Attributes
    ----------
    exit_code : int
        What the program stored in the exit register.
    cycles : int
        Cycles from reset to the end; 0 without timing.
    instructions : int
        Instructions of all cores.
    stdout : str
        What the program printed.
    cores : tuple of CoreStatistics
        The cluster's cores in order, then the fabric controller.
    reports : tuple of Report
        What the checks found.
    profile : Profile or None
        Where the cycles went, if the machine was asked to tell.
    """

    exit_code: int
    cycles: int
    instructions: int
    stdout: str
    cores: tuple[CoreStatistics, ...]
    reports: tuple[Report, ...] = ()
    profile: Profile | None = None


class Machine:
    """A simulated chip.

    Parameters
    ----------
    configuration : Configuration, optional
        The chip; pulp-open when left out.
    timing : bool, optional
        Model time. Without it programs run several times faster, cycle counts mean nothing, and the
        interleaving of the cores is coarse.
    checks : bool, optional
        Check memory use while the program runs.
    on_output : callable, optional
        Called with each line that the program prints, as it comes.
    profile : bool, optional
        Count where cycles go; needs timing.
    trace : path, optional
        Write a trace for Chrome or Perfetto to this file; needs timing.

    Examples
    --------
    >>> machine = Machine(Configuration.named("pulp-open"))  # doctest: +SKIP
    >>> machine.load("program.elf")  # doctest: +SKIP
    >>> machine.run().cycles  # doctest: +SKIP
    5824
    """

    def __init__(
        self,
        configuration: Configuration | None = None,
        timing: bool = True,
        checks: bool = False,
        on_output: Callable[[str], None] | None = None,
        profile: bool = False,
        trace: str | os.PathLike[str] | None = None,
    ) -> None:
        self.configuration = configuration or Configuration.named("pulp-open")
        self.timing = timing
        self.checks = checks
        self._engine = _sim.Machine(self.configuration.to_dict(), timing)
        self._symbols: dict[str, Symbol] | None = None
        self._lines = LineTable(b"")
        if (profile or trace is not None) and not timing:
            raise ValueError("a profile or a trace needs timing")
        if checks:
            self._engine.enable_checks()
        if profile:
            self._engine.enable_profile()
        if trace is not None:
            try:
                self._engine.enable_trace(os.fspath(trace))
            except _sim.Fault as fault:
                raise _error(fault) from None
        if on_output is not None:
            callback = on_output
            self._engine.on_output(lambda text: callback(text.decode("utf-8", "replace")))

    def load(self, program: str | os.PathLike[str] | bytes) -> None:
        """Load an ELF executable and reset the machine to its entry.

        Parameters
        ----------
        program : path or bytes
            The file or its content.

        Raises
        ------
        ElfError
            If the file cannot be read, is no RISC-V executable, or does not fit the memories.
        """
        name = "the program"
        if isinstance(program, bytes | bytearray | memoryview):
            image = bytes(program)
        else:
            name = os.fspath(program)
            try:
                image = Path(name).read_bytes()
            except OSError as error:
                raise ElfError(f"{name}: {error.strerror}") from None
        self._symbols = None
        try:
            self._engine.load_elf(image)
        except _sim.Fault as fault:
            raise ElfError(f"{name}: {fault.args[1]}") from None
        self._lines = LineTable(image)
        if self.checks:
            for flag in _FLAG_SYMBOLS:
                if flag in self.symbols:
                    self.declare_flag(self.symbols[flag].address, 4)

    @property
    def symbols(self) -> dict[str, Symbol]:
        """The program's symbols by name."""
        if self._symbols is None:
            self._symbols = {
                name: Symbol(address, size, is_function)
                for name, address, size, is_function in self._engine.symbols()
            }
        return self._symbols

    def write(self, address: int, data: Any) -> None:
        """Write bytes to memory.

        Parameters
        ----------
        address : int
            Global address.
        data : bytes-like
            Anything with the buffer protocol, contiguous: bytes, a NumPy array, ...
        """
        try:
            self._engine.write(address, data)
        except _sim.Fault as fault:
            raise _error(fault) from None

    def read(self, address: int, size: int) -> bytes:
        """Read ``size`` bytes of memory."""
        try:
            return self._engine.read(address, size)
        except _sim.Fault as fault:
            raise _error(fault) from None

    def run(self, max_cycles: int | None = None) -> Result:
        """Run until the program exits.

        Parameters
        ----------
        max_cycles : int, optional
            End the run with :class:`CycleLimit` after so many cycles (instructions without timing).

        Returns
        -------
        Result

        Raises
        ------
        SimulationError
            If the run ends in another way; its ``result`` has the statistics so far.
        """
        try:
            self._engine.run(_NO_LIMIT if max_cycles is None else max_cycles)
        except _sim.Fault as fault:
            raise _error(fault, self.result()) from None
        return self.result()

    def restart(self) -> None:
        """Reset cores and devices to the program's start; memory keeps what it holds."""
        self._engine.restart()

    def result(self) -> Result:
        """Return the statistics of the run so far."""
        found = self._engine.statistics()
        cores = tuple(
            CoreStatistics(
                name="controller" if core["is_fabric_controller"] else f"core {core['index']}",
                instructions=core["instructions"],
                pc=core["pc"],
                asleep=core["asleep"],
                started=core["started"],
                started_at=core["started_at"],
            )
            for core in found["cores"]
        )
        rows = self._engine.profile()
        return Result(
            exit_code=found["exit_code"],
            cycles=found["cycles"],
            instructions=found["instructions"],
            stdout=found["output"].decode("utf-8", "replace"),
            cores=cores,
            reports=tuple(self.reports()),
            profile=None if rows is None else make_profile(rows, [core.name for core in cores]),
        )

    def reports(self) -> list[Report]:
        """Return what the checks found so far."""
        names = [core["is_fabric_controller"] for core in self._engine.statistics()["cores"]]
        labels = ["the fabric controller" if last else f"core {i}" for i, last in enumerate(names)]
        return [make_report(found, labels, self._where_code) for found in self._engine.reports()]

    def declare_flag(self, address: int, size: int = 4) -> None:
        """Tell the checks that a word is a flag between cores.

        Accesses to it are no races, and what a core wrote before it set the flag is ordered before what
        another core does after it read it.
        """
        self._engine.declare_flag(address, size)

    def set_stack(self, core: int, low: int, high: int) -> None:
        """Tell the checks where a core's stack is: bytes ``low`` up to and without ``high``."""
        self._engine.set_stack(core, low, high)

    def name_buffers(self, buffers: dict[str, tuple[int, int]]) -> None:
        """Tell of buffers, for messages and for the check of bounds; to be called after :meth:`load`.

        A variable of the program that holds such a buffer is divided: what no buffer of it covers must not
        be accessed.

        Parameters
        ----------
        buffers : dict
            Name to address and size.
        """
        for name, (address, size) in buffers.items():
            self._engine.name_buffer(name, address, size)

    def name_kernel_buffers(
        self,
        kernel: str,
        scratch: Mapping[str, tuple[int, int]],
        fixed: Mapping[str, tuple[int, int]] | None = None,
    ) -> None:
        """Tell of buffers that exist while a core runs a function; to be called after :meth:`load`.

        The function's second argument is the start of its scratch. Whatever holds one of the buffers (a block
        of the heap, a variable) is divided by them for a core from its call of this function to its call of
        the next one.

        Parameters
        ----------
        kernel : str
            Name of the function.
        scratch : mapping
            Name to offset in the scratch and size.
        fixed : mapping, optional
            Name to address and size.

        Raises
        ------
        ValueError
            If the program has no such function.
        """
        function = self.symbols.get(kernel)
        if function is None:
            raise ValueError(f"the program has no function {kernel!r}")
        for buffers, in_scratch in ((scratch, True), (fixed or {}, False)):
            for name, (offset, size) in buffers.items():
                self._engine.name_kernel_buffer(function.address, name, in_scratch, offset, size)

    def where(self, address: int) -> str:
        """Describe an address with the buffer or symbol that holds it."""
        return self._engine.where(address)

    def _where_code(self, address: int) -> str:
        line = self._lines.find(address)
        text = self._engine.where(address)
        return f"{text[:-1]}, {line})" if line and text.endswith(")") else text


def _error(fault: _sim.Fault, result: Result | None = None) -> SimulationError:
    kind, message = fault.args
    return BY_KIND[kind](message, result)
