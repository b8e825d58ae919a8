"""The C program around a kernel: it calls the kernel again and again and keeps the cycles of each call."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from tvm_pulp.schedules.remove_transfers import tensor_bytes
from tvm_pulp.target.features import Features
from tvm_pulp.target.print_kernel import print_kernel
from tvm_pulp.target.project import write_runtime
from tvm_pulp.target.toolchain import find
from tvm_pulp.target.tvm_names import PrimFunc

MOST_RUNS = 32
"""Calls of the kernel that a program has room for."""

FORK_WORKERS = """\
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
"""The end of a program: the fabric controller has all workers run ``worker``."""

# A start skew is what `kernel_skews` says: so many turns of a loop of four cycles by which the second half of
# the workers, those that share the first half's FPUs, starts later.
_MAIN = """\
#include "pulp_runtime.h"

extern void kernel(int core, char *l1{types});
{tensors}
PI_CL_L1 char scratch[{l1_bytes}] __attribute__((aligned(16)));
PULP_PERSISTENT uint32_t kernel_runs;
PULP_PERSISTENT uint32_t kernel_skews[{most}];
PULP_PERSISTENT uint32_t kernel_starts[{most}];
PULP_PERSISTENT uint32_t kernel_cycles[{most}];

/* Tensors that the kernel wants in L1, and brings back to there. */
static void move(int core, int direction) {{
  (void)direction;
  if (core == 0) {{
{moves}
    dma_wait(0);
  }}
  cluster_barrier();
}}

static void worker(void *argument) {{
  (void)argument;
  const int core = pi_core_id();
  const uint32_t runs = kernel_runs;
  pulp_cycles_start();
  move(core, DMA_L2_TO_L1);
  for (uint32_t run = 0; run < runs; run++) {{
    uint32_t skew = 2 * core >= PULP_CORES ? kernel_skews[run] : 0;
    cluster_barrier();
    const uint32_t start = pulp_cycles();
    for (; skew; skew--) __asm__ volatile("");
    kernel(core, scratch{arguments});
    cluster_barrier();
    const uint32_t end = pulp_cycles();
    if (core == 0) {{
      kernel_starts[run] = start;
      kernel_cycles[run] = end - start;
    }}
  }}
  move(core, DMA_L1_TO_L2);
}}
"""


def build_program(
    function: PrimFunc, features: Features, directory: Path, resident: Collection[str] = ()
) -> Path:
    """Write and build the program of a kernel.

    Its arguments are the symbols ``tensor_0``, ``tensor_1`` and so on; ``kernel_runs`` says how often to call
    the kernel, ``kernel_skews`` with what start skew, ``kernel_cycles`` then holds the cycles on core 0.

    Parameters
    ----------
    function
        A function in the cluster dialect.
    features
        Of the target.
    directory
        An empty folder.
    resident
        Names of the arguments that are in L1 while the kernel runs; the others lie in L2.

    Returns
    -------
    Path
        The ELF file.
    """
    write_runtime(directory, "program", features)
    sources = directory / "codegen" / "host" / "src"
    sources.mkdir(parents=True, exist_ok=True)
    (sources / "kernel.c").write_text(print_kernel(function, "kernel"))
    tensors, moves, arguments = [], [], []
    for number, parameter in enumerate(function.params):
        size = tensor_bytes(parameter)
        tensors.append(f"PULP_PERSISTENT char tensor_{number}[{size}];")
        arguments.append(f", tensor_{number}")
        if str(parameter.name) in resident:
            tensors.append(f"PI_CL_L1 char local_{number}[{size}] __attribute__((aligned(16)));")
            moves.append(f"    dma_start_1d(0, local_{number}, tensor_{number}, {size}, direction);")
            arguments[-1] = f", local_{number}"
    main = _MAIN.format(
        types="".join(", void *" for _ in function.params),
        tensors="\n".join(tensors),
        l1_bytes=max(16, int(function.attrs["pulp.l1_bytes"])),
        most=MOST_RUNS,
        moves="\n".join(moves),
        arguments="".join(arguments),
    )
    (directory / "templates" / "main.c").write_text(main + FORK_WORKERS)
    return find().build(directory)
