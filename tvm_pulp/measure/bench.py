"""Measure a workload: lower, run, check the result, count cycles over start skews, compare with the bound."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tvm_pulp.measure.arguments import random_arguments
from tvm_pulp.measure.bound import Bound, bound_of
from tvm_pulp.measure.dma_use import DmaUse
from tvm_pulp.measure.gvsoc import count_on_gvsoc
from tvm_pulp.measure.kernel import SKEWS, MeasurementError, run_program
from tvm_pulp.measure.program import build_program
from tvm_pulp.measure.workloads import Workload
from tvm_pulp.schedules.base import lower
from tvm_pulp.schedules.generic import lower_generic
from tvm_pulp.schedules.resident import resident_bytes, resident_numbers
from tvm_pulp.target.errors import UserError
from tvm_pulp.target.features import Features
from tvm_pulp.target.tvm_names import PrimFunc

Lower = Callable[[PrimFunc, Features, Sequence[str]], PrimFunc]


@dataclass(frozen=True)
class BenchResult:
    """What was measured of a workload.

    Attributes
    ----------
    workload : Workload
        The kernel.
    schedule : str
        Template that made it, or ``"generic"``.
    cycles : tuple of int
        Of a call for each start skew, with warm instruction caches.
    bound : Bound
        Cycles that a call takes at least.
    dma : DmaUse
        Of a call.
    error : float
        Largest error of a result, relative to its largest value.
    """

    workload: Workload
    schedule: str
    cycles: tuple[int, ...]
    bound: Bound
    dma: DmaUse
    error: float

    @property
    def mean(self) -> float:
        """Mean cycles over the start skews."""
        return float(np.mean(self.cycles))

    @property
    def macs(self) -> int:
        """Multiply-accumulates of a call."""
        return self.workload.cost.macs

    @property
    def rate(self) -> float:
        """Multiply-accumulates a cycle."""
        return self.macs / self.mean

    @property
    def fraction(self) -> float:
        """Share of the bound that was reached."""
        return self.bound.cycles / self.mean


def best_lowering(function: PrimFunc, features: Features, resident: Sequence[str]) -> PrimFunc:
    """Lower as the compiler does."""
    return lower(function, features, resident)


def naive_lowering(function: PrimFunc, features: Features, resident: Sequence[str]) -> PrimFunc:
    """Lower without templates: tiles and loops in the order of the computation."""
    names = [str(parameter.name) for parameter in function.params]
    return lower_generic(function, features, [names.index(name) for name in resident])


def measure_workload(
    workload: Workload,
    features: Features,
    lowering: Lower = best_lowering,
    skews: Sequence[int] = SKEWS,
    *,
    on_gvsoc: bool = False,
) -> BenchResult:
    """Measure a workload on the built-in simulator, or have GVSoC count its cycles.

    The first call, with the simulator's checks on, gives the result that is compared; a second run counts.

    Parameters
    ----------
    workload
        The kernel.
    features
        Of the target.
    lowering
        How it is lowered.
    skews
        Start skews, see `measure.kernel`; a call each.
    on_gvsoc
        Take the cycles from GVSoC, after the built-in simulator has checked the result; what is said of the
        DMA is still of the latter.

    Raises
    ------
    UserError
        If the kernel does not fit the target, or its type cannot be compiled.
    MeasurementError
        If the result is wrong, or the simulator's checks find something.
    """
    function, name = workload.function, workload.specification.text
    resident = workload.resident
    need = resident_bytes(function, resident_numbers(function, resident))
    if need > features.kernel_l1_bytes:
        raise UserError(
            f"'{name}': the tensors take {need} bytes, of L1 {features.kernel_l1_bytes} are left: take "
            "source=l2, or a target with more L1 (--target 'pulp -l1-bytes=262144')"
        )
    try:
        lowered = lowering(function, features, resident)
        with tempfile.TemporaryDirectory() as folder:
            elf = build_program(lowered, features, Path(folder), resident)
            arrays = random_arguments(function)
            expected = workload.expected([array.copy() for array in arrays])
            run_program(elf, lowered, arrays, features, [0], checks=True)
            error = _largest_error(arrays, expected)
            if not error <= workload.tolerance:
                raise MeasurementError(f"'{name}': wrong result: error {error:.3g} of the largest value")
            again = random_arguments(function)
            trace = Path(folder) / "trace.json"
            cycles = run_program(elf, lowered, again, features, [0, *skews]).cycles
            if on_gvsoc:
                start = random_arguments(function)
                cycles = count_on_gvsoc(lowered, features, start, again, [0, *skews], resident)
            traced = run_program(elf, lowered, random_arguments(function), features, [0, 0], trace=trace)
    except UserError as refusal:
        raise UserError(f"'{name}': {refusal}") from refusal
    assert traced.dma is not None
    bound = bound_of(workload, features, list(expected))
    schedule = str(lowered.attrs["pulp.schedule"])
    return BenchResult(workload, schedule, cycles[1:], bound, traced.dma, error)


def _largest_error(arrays: list[np.ndarray], expected: object) -> float:
    """Return the largest error of the results, relative to the largest value of each."""
    assert isinstance(expected, dict)
    worst = 0.0
    for number, want in expected.items():
        got = arrays[number].astype(np.float64)
        if not np.isfinite(got).all():
            return float("nan")
        scale = float(np.abs(want).max(initial=0.0)) or 1.0
        worst = max(worst, float(np.abs(got - want).max(initial=0.0)) / scale)
    return worst
