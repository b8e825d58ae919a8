"""Build and run small C programs on the simulated cluster."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tvm_pulp.runtime.sim import Configuration, Machine, Result
from tvm_pulp.target import features, parse
from tvm_pulp.target.project import write_runtime
from tvm_pulp.target.toolchain import find

Program = Callable[..., tuple[Machine, Result]]

_MAIN = """
#include "pulp_runtime.h"
%s
static void entry_(void *argument) { (void)argument; pi_cl_team_fork(PULP_CORES, worker, NULL); }
int main(void) {
  struct pi_device device;
  struct pi_cluster_conf configuration;
  struct pi_cluster_task task;
  pi_cluster_conf_init(&configuration);
  pi_open_from_conf(&device, &configuration);
  if (pi_cluster_open(&device)) return 100;
  pi_cluster_send_task_to_cl(&device, pi_cluster_task(&task, entry_, NULL));
  pi_cluster_close(&device);
  return 0;
}
"""


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
        machine, result = run_c(_MAIN % source, target)
        assert result.exit_code == 0, result
        return machine, result

    return run
