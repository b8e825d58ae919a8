"""Run a kernel on the simulated cluster: its results, its cycles, its use of the DMA."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tvm_pulp.make_kernels import l1_buffers
from tvm_pulp.measure.dma_use import DmaUse, read_dma_use
from tvm_pulp.measure.program import MOST_RUNS, build_program
from tvm_pulp.runtime.sim import Configuration, Machine
from tvm_pulp.runtime.sim.machine import Result
from tvm_pulp.target.features import Features
from tvm_pulp.target.tvm_names import PrimFunc, buffer_dtype, buffer_shape

MAX_CYCLES = 2_000_000_000
SKEWS = tuple(range(12))
"""Turns of the skew loop of each measured call."""


class MeasurementError(Exception):
    """A kernel that the simulator finds fault with: a race, a read of unwritten memory and the like."""


@dataclass(frozen=True)
class Measurement:
    """Cycles of a kernel's calls.

    Attributes
    ----------
    cycles : tuple of int
        Of each call on core 0, the first one with cold instruction caches.
    elf : Path
        The program.
    dma : DmaUse or None
        Of the last call, if it was asked for.
    """

    cycles: tuple[int, ...]
    elf: Path
    dma: DmaUse | None = None


def measure_kernel(
    function: PrimFunc,
    arrays: list[np.ndarray],
    features: Features,
    directory: Path,
    runs: int = 2,
    checks: bool = True,
    *,
    resident: Collection[str] = (),
) -> Measurement:
    """Build a kernel in the cluster dialect and run it in place on arrays.

    With more than one run the results are those of the last, so that a kernel that updates its arguments in
    place must be run once.

    Parameters
    ----------
    function
        A function in the cluster dialect.
    arrays
        One for each argument, overwritten by what it holds after the last run.
    features
        Of the target.
    directory
        An empty folder for the program.
    runs
        Calls of the kernel.
    checks
        Have the simulator look for races, unwritten memory and the like.
    resident
        Names of the arguments that lie in L1, as given to `schedules.lower`.

    Raises
    ------
    MeasurementError
        If the checks find something.
    SimulationError
        If the program does not come to its end.
    """
    elf = build_program(function, features, directory, resident)
    return run_program(elf, function, arrays, features, [0] * runs, checks=checks)


def run_program(
    elf: Path,
    function: PrimFunc,
    arrays: list[np.ndarray],
    features: Features,
    skews: Sequence[int],
    *,
    checks: bool = False,
    trace: Path | None = None,
) -> Measurement:
    """Run a program that `build_program` made, a call of the kernel for each start skew.

    Parameters
    ----------
    elf, function, arrays, features, checks
        See `measure_kernel`.
    skews
        Turns of a four-cycle loop by which half of the workers start later, a call each.
    trace
        File to write the simulator's trace to, from which the DMA's use is read.
    """
    if len(skews) > MOST_RUNS:
        raise ValueError(f"{len(skews)} calls of the kernel; a program has room for {MOST_RUNS}")
    machine = Machine(Configuration.from_dict(features.simulator_configuration()), checks=checks, trace=trace)
    machine.load(elf)
    if checks:
        machine.name_kernel_buffers("kernel", l1_buffers(function))
    symbols = machine.symbols
    for i, (array, parameter) in enumerate(zip(arrays, function.params, strict=True)):
        shape, dtype = buffer_shape(parameter), buffer_dtype(parameter)
        if array.dtype != dtype or array.size != np.prod(shape, dtype=int):
            raise ValueError(f"argument {parameter.name} is {shape} {dtype}, not {array.shape} {array.dtype}")
        machine.write(symbols[f"tensor_{i}"].address, array.tobytes())
    machine.write(symbols["kernel_runs"].address, np.array([len(skews)], np.uint32))
    machine.write(symbols["kernel_skews"].address, np.array(skews, np.uint32))
    _require_success(machine.run(max_cycles=MAX_CYCLES), str(function.attrs.get("global_symbol", "kernel")))
    for i, array in enumerate(arrays):
        data = machine.read(symbols[f"tensor_{i}"].address, array.nbytes)
        array[...] = np.frombuffer(data, array.dtype).reshape(array.shape)
    starts, cycles = (
        [int(n) for n in np.frombuffer(machine.read(symbols[name].address, 4 * len(skews)), np.uint32)]
        for name in ("kernel_starts", "kernel_cycles")
    )
    dma = None
    if trace is not None:
        dma = read_dma_use(trace, starts[-1], starts[-1] + cycles[-1], features.cores)
    return Measurement(tuple(cycles), elf, dma)


def _require_success(result: Result, name: str) -> None:
    if result.reports:
        raise MeasurementError(f"kernel {name}: {result.reports[0]} ({len(result.reports)} reports in all)")
    if result.exit_code != 0:
        raise MeasurementError(f"kernel {name}: the program ended with exit code {result.exit_code}")
