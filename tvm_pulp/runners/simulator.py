"""The built-in simulator as a runner: the default, nothing but pip needed."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tvm_pulp.package.metadata import Tensor
from tvm_pulp.package.package import Package
from tvm_pulp.runners.base import NOTHING, FunctionRun, Session
from tvm_pulp.runtime.sim import Configuration, Machine
from tvm_pulp.target.errors import UserError
from tvm_pulp.target.functions import COMMANDS


class SimulatorRunner:
    """Run on the built-in simulator.

    Parameters
    ----------
    timing : bool
        False: functional only, much faster, cycles are meaningless.
    checks : bool
        Report races, reads of memory nobody wrote and the like (slower).
    max_cycles : int or None
        End a call that takes longer.
    trace : Path or None
        File for the simulator's trace, of the last call.
    """

    def __init__(
        self,
        *,
        timing: bool = True,
        checks: bool = False,
        max_cycles: int | None = None,
        trace: Path | None = None,
    ) -> None:
        self.timing = timing
        self.checks = checks
        self.max_cycles = max_cycles
        self.trace = trace

    def start(self, package: Package) -> Session:
        """Load the package's ELF into a machine configured as its target says."""
        configuration = Configuration.from_dict(dict(package.metadata.simulator))
        machine = Machine(configuration, timing=self.timing, checks=self.checks, trace=self.trace)
        machine.load(package.elf)
        if self.checks:
            _name_buffers(machine, package)
        return _SimulatorSession(machine, package, self)


def _name_buffers(machine: Machine, package: Package) -> None:
    """Tell the checks of the buffers that have no symbol: a kernel's in L1, activations in the arena."""
    for kernel, buffers in package.metadata.buffers.items():
        arena = {
            name: (machine.symbols["arena"].address + offset, size)
            for name, (offset, size) in buffers["arena"].items()
        }
        scratch = {name: (offset, size) for name, (offset, size) in buffers["scratch"].items()}
        machine.name_kernel_buffers(kernel, scratch, arena)


class _SimulatorSession:
    def __init__(self, machine: Machine, package: Package, runner: SimulatorRunner) -> None:
        self._machine = machine
        self._name = package.metadata.name
        self._functions = package.metadata.functions
        self._runner = runner
        self._l3_base = Configuration.from_dict(dict(package.metadata.simulator)).l3_base
        self._fresh = True

    def write(self, tensor: Tensor, values: np.ndarray) -> None:
        if values.size > tensor.elements:
            raise ValueError(f"{tensor.name}: {values.size} values for {tensor.elements} elements")
        data = np.ascontiguousarray(values, dtype=tensor.dtype)
        self._machine.write(self._address(tensor), data.tobytes())

    def read(self, tensor: Tensor) -> np.ndarray:
        raw = self._machine.read(self._address(tensor), tensor.bytes)
        return np.frombuffer(raw, dtype=tensor.dtype).copy().reshape(tensor.shape)

    def _address(self, tensor: Tensor) -> int:
        """Where the host finds a tensor; in L3 the program says so once it is open."""
        if tensor.level != "L3":
            return int(self._machine.symbols[tensor.symbol].address)
        if self._fresh:
            self._run(NOTHING)
        return self._l3_base + int(self._read(tensor.symbol, "uint32", 1)[0])

    def call(self, function: str) -> FunctionRun:
        self._run(COMMANDS[function], function)
        cycles = int(self._read(f"{self._name}_cycles", "uint32", 1)[0])
        calls = len(self._functions[function])
        kernels = self._read(f"{self._name}_kernel_cycles", "uint32", calls)
        if not self._runner.timing:
            cycles, kernels = 0, np.zeros_like(kernels)
        return FunctionRun(cycles, kernels)

    def _run(self, number: int, function: str = "the program") -> None:
        """Run a command to its end."""
        if not self._fresh:
            self._machine.restart()
        self._fresh = False
        command = np.array([number], np.int32)
        self._machine.write(self._machine.symbols[f"{self._name}_command"].address, command.tobytes())
        result = self._machine.run(max_cycles=self._runner.max_cycles)
        if result.exit_code != 0:
            raise UserError(
                f"{function} ended with exit code {result.exit_code} on the simulator; "
                f"it printed: {result.stdout.strip()}"
            )
        if result.reports:
            more = f" (and {len(result.reports) - 1} more)" if len(result.reports) > 1 else ""
            raise UserError(f"{function}: the simulator's memory checks found: {result.reports[0]}{more}")

    def _read(self, symbol: str, dtype: str, elements: int) -> np.ndarray:
        size = elements * np.dtype(dtype).itemsize
        raw = self._machine.read(self._machine.symbols[symbol].address, size)
        return np.frombuffer(raw, dtype=dtype).copy()
