"""The analytic model's tiles beside the best of a search by measuring."""

from __future__ import annotations

import itertools
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tvm_ffi import structural_equal, structural_hash

from tvm_pulp.measure import random_arguments
from tvm_pulp.measure.kernel import run_program
from tvm_pulp.measure.program import build_program
from tvm_pulp.measure.workloads import make_workload
from tvm_pulp.schedules.base import Template, Workload, templates
from tvm_pulp.schedules.resident import ValidatesKnobs
from tvm_pulp.target import Features
from tvm_pulp.target.tvm_names import PrimFunc
from tvm_pulp.tuning.records import Record, chip_key, workload_key

SKEWS = (0, 0, 3, 7)
"""Of the calls; the first one fills the instruction caches and does not count."""


def search_workload(text: str, chip: Features, most: int | None = 60) -> dict[str, Any]:
    """Measure the ``most`` settings of a template's knobs with the lowest estimates, and the default.

    Settings that give the same code count once. With ``most`` None all settings that fit L1 are measured.
    """
    function = make_workload(text).function
    template, workload = next((t, w) for t in templates() if (w := t.match(function)) is not None)
    default = template.default(workload, chip)
    assert default is not None
    guess = _cycles(template.build(workload, default, chip), chip)
    valid = _valid(template, workload, chip)
    best, best_knobs, tried = guess, default, 0
    seen: dict[int, list[PrimFunc]] = {}
    for knobs in valid:
        if tried == most:
            break
        lowered = template.build(workload, knobs, chip)
        others = seen.setdefault(structural_hash(lowered), [])
        if any(structural_equal(lowered, other) for other in others):
            continue
        others.append(lowered)
        tried += 1
        cycles = _cycles(lowered, chip)
        if cycles < best:
            best, best_knobs = cycles, knobs
    return {
        "kernel": text,
        "default_cycles": guess,
        "best_cycles": best,
        "loss": guess / best - 1,
        "tried": tried,
        "valid": len(valid),
        "record": asdict(
            Record(workload_key(function), chip_key(chip), template.name, best_knobs, best, text)
        ),
    }


def _valid(template: Template, workload: Workload, chip: Features) -> list[dict[str, int]]:
    """Return all settings that fit L1, the lowest estimate first."""
    values = template.knobs(workload, chip)
    settings = [dict(zip(values, chosen, strict=True)) for chosen in itertools.product(*values.values())]
    limit = chip.kernel_l1_bytes
    if isinstance(template, ValidatesKnobs):
        settings = [knobs for knobs in settings if template.is_valid(workload, knobs, limit)]
    else:
        settings = [knobs for knobs in settings if template.l1_bytes(workload, knobs) <= limit]
    return sorted(settings, key=lambda knobs: template.estimate_cycles(workload, knobs, chip))


def _cycles(lowered: PrimFunc, chip: Features) -> float:
    with tempfile.TemporaryDirectory() as folder:
        elf = build_program(lowered, chip, Path(folder))
        cycles = run_program(elf, lowered, random_arguments(lowered), chip, SKEWS).cycles[1:]
    return sum(cycles) / len(cycles)
