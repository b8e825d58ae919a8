"""Build and run small C programs on the simulated cluster."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tvm_pulp.measure.program import FORK_WORKERS
from tvm_pulp.runtime.sim import Configuration, Machine, Result
from tvm_pulp.target import features, parse
from tvm_pulp.target.project import write_runtime
from tvm_pulp.target.toolchain import find

Program = Callable[..., tuple[Machine, Result]]


@pytest.fixture
def run_c(tmp_path: Path) -> Program:
    """Run the text of a main.c on a target; gives the machine and how the run ended.

    Keywords change fields of the simulator's configuration.
    """

    def run(source: str, target: str = "pulp", **changes: int) -> tuple[Machine, Result]:
        chip = features(parse(target))
        write_runtime(tmp_path, "program", chip)
        (tmp_path / "templates" / "main.c").write_text(source)
        elf = find().build(tmp_path)
        configuration = Configuration.from_dict(chip.simulator_configuration()).replace(**changes)
        machine = Machine(configuration, checks=True)
        machine.load(elf)
        return machine, machine.run(max_cycles=20_000_000)

    return run


@pytest.fixture
def run_worker(run_c: Program) -> Program:
    """Run C text that defines `static void worker(void *)` on all workers."""

    def run(source: str, target: str = "pulp") -> tuple[Machine, Result]:
        machine, result = run_c(f'#include "pulp_runtime.h"\n{source}\n{FORK_WORKERS}', target)
        assert result.exit_code == 0, result
        return machine, result

    return run
