"""Count a kernel's cycles on GVSoC, and hold its results against the built-in simulator's."""

from __future__ import annotations

import re
import tempfile
import zlib
from collections.abc import Collection, Sequence
from pathlib import Path

import numpy as np

from tvm_pulp.measure.kernel import MeasurementError
from tvm_pulp.measure.program import build_program
from tvm_pulp.runners.gvsoc import run_on_gvsoc
from tvm_pulp.target import parse
from tvm_pulp.target.errors import UserError
from tvm_pulp.target.features import Features, features
from tvm_pulp.target.tvm_names import PrimFunc


def count_on_gvsoc(
    lowered: PrimFunc,
    chip: Features,
    arrays: Sequence[np.ndarray],
    results: Sequence[np.ndarray],
    skews: Sequence[int],
    resident: Collection[str] = (),
) -> tuple[int, ...]:
    """Run a kernel on GVSoC's ``pulp-open``.

    Parameters
    ----------
    lowered
        A function in the cluster dialect.
    chip
        What it was lowered for: GVSoC has the sizes of the tag ``pulp``.
    arrays
        Its arguments before the first call.
    results
        Its arguments after the last call on the built-in simulator.
    skews
        Start skews, a call each.
    resident
        Names of the arguments in L1.

    Returns
    -------
    tuple of int
        Cycles of each call.

    Raises
    ------
    UserError
        If GVSoC is missing or fails, or the target is another chip.
    MeasurementError
        If an argument ends with other bits than on the built-in simulator.
    """
    if chip.simulator_configuration() != features(parse("pulp")).simulator_configuration():
        raise UserError(
            "GVSoC has the sizes of pulp-open; leave out the options of --target, or --runner gvsoc"
        )
    with tempfile.TemporaryDirectory() as folder:
        elf = build_program(lowered, chip, Path(folder), resident, stored=(arrays, skews))
        printed = run_on_gvsoc(elf)
    cycles = tuple(int(number) for number in re.findall(r"^kernel_cycles (\d+)$", printed, re.MULTILINE))
    sums = [int(number) for number in re.findall(r"^tensor_\d+ (\d+)$", printed, re.MULTILINE)]
    if len(cycles) != len(skews) or len(sums) != len(results):
        raise MeasurementError(f"GVSoC did not come to the program's end: {printed[-500:]}")
    for parameter, found, result in zip(lowered.params, sums, results, strict=True):
        if found != zlib.adler32(result.tobytes()):
            raise MeasurementError(
                f"'{parameter.name}' has other bits on GVSoC than on the built-in simulator"
            )
    return cycles
