"""Run printed kernels on the simulated cluster and count their cycles."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tvm_pulp.make_kernels import l1_buffers
from tvm_pulp.runtime.sim import Configuration, Machine
from tvm_pulp.target.features import Features
from tvm_pulp.target.print_kernel import print_kernel
from tvm_pulp.target.project import write_runtime
from tvm_pulp.target.toolchain import find
from tvm_pulp.target.tvm_names import PrimFunc, buffer_dtype, buffer_shape

_MAIN = """
#include "pulp_runtime.h"

extern void kernel(int core, char *l1{types});
{tensors}
PI_CL_L1 char scratch[{l1_bytes}] __attribute__((aligned(16)));
PULP_PERSISTENT uint32_t kernel_cycles[{runs}];

static void worker(void *argument) {{
  (void)argument;
  const int core = pi_core_id();
  pulp_cycles_start();
  for (int run = 0; run < {runs}; run++) {{
    cluster_barrier();
    const uint32_t start = pulp_cycles();
    kernel(core, scratch{arguments});
    cluster_barrier();
    if (core == 0) kernel_cycles[run] = pulp_cycles() - start;
  }}
}}
static void entry_(void *argument) {{ (void)argument; pi_cl_team_fork(PULP_CORES, worker, NULL); }}
int main(void) {{
  struct pi_device device;
  struct pi_cluster_conf configuration;
  struct pi_cluster_task task;
  pi_cluster_conf_init(&configuration);
  pi_open_from_conf(&device, &configuration);
  if (pi_cluster_open(&device)) return 100;
  pi_cluster_send_task_to_cl(&device, pi_cluster_task(&task, entry_, NULL));
  pi_cluster_close(&device);
  return 0;
}}
"""


@dataclass(frozen=True)
class Measurement:
    """Cycles of each run on core 0, the first one with cold instruction caches, and the program's output."""

    cycles: tuple[int, ...]
    elf: Path


def run_on_simulator(
    function: PrimFunc,
    arrays: list[np.ndarray],
    features: Features,
    directory: Path,
    runs: int = 2,
    checks: bool = True,
) -> Measurement:
    """Run a cluster-dialect function in place on the arrays.

    With more than one run the results are those of the last, so that a kernel that updates its arguments in
    place must be run once.
    """
    write_runtime(directory, "program", features)
    sources = directory / "codegen" / "host" / "src"
    sources.mkdir(parents=True, exist_ok=True)
    (sources / "kernel.c").write_text(print_kernel(function, "kernel"))
    tensors = "\n".join(f"PULP_PERSISTENT char tensor_{i}[{array.nbytes}];" for i, array in enumerate(arrays))
    main = _MAIN.format(
        types="".join(", void *" for _ in arrays),
        tensors=tensors,
        l1_bytes=max(16, int(function.attrs["pulp.l1_bytes"])),
        runs=runs,
        arguments="".join(f", tensor_{i}" for i in range(len(arrays))),
    )
    (directory / "templates" / "main.c").write_text(main)
    elf = find().build(directory)
    machine = Machine(Configuration.from_dict(features.simulator_configuration()), checks=checks)
    machine.load(elf)
    if checks:
        machine.name_kernel_buffers("kernel", l1_buffers(function))
    symbols = machine.symbols
    for i, (array, parameter) in enumerate(zip(arrays, function.params, strict=True)):
        assert array.dtype == buffer_dtype(parameter) and array.size == np.prod(
            buffer_shape(parameter), dtype=int
        )
        machine.write(symbols[f"tensor_{i}"].address, array.tobytes())
    result = machine.run(max_cycles=200_000_000)
    assert result.exit_code == 0, result
    assert not result.reports, result.reports[:3]
    for i, array in enumerate(arrays):
        data = machine.read(symbols[f"tensor_{i}"].address, array.nbytes)
        array[...] = np.frombuffer(data, array.dtype).reshape(array.shape)
    cycles = np.frombuffer(machine.read(symbols["kernel_cycles"].address, 4 * runs), np.uint32)
    return Measurement(tuple(int(c) for c in cycles), elf)
