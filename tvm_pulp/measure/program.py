"""The C program around a kernel: it calls the kernel again and again and keeps the cycles of each call."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path

import numpy as np

from tvm_pulp.schedules.remove_transfers import tensor_bytes
from tvm_pulp.target.features import Features
from tvm_pulp.target.print_kernel import print_kernel
from tvm_pulp.target.print_parameters import stored_tensor
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

# For a simulator whose memory cannot be read from outside.
_PRINT = """\
#include <stdio.h>

/* Adler-32. */
static uint32_t checksum(const char *bytes, uint32_t size) {{
  uint32_t low = 1, high = 0;
  for (uint32_t i = 0; i < size; i++) {{
    low += (unsigned char)bytes[i];
    if (low >= 65521) low -= 65521;
    high += low;
    if (high >= 65521) high -= 65521;
  }}
  return high << 16 | low;
}}
static void print_results(void) {{
  for (uint32_t run = 0; run < kernel_runs; run++)
    printf("kernel_cycles %u\\n", (unsigned)kernel_cycles[run]);
{prints}
}}
"""

# A start skew is what `kernel_skews` says: so many turns of a loop of four cycles by which the second half of
# the workers, those that share the first half's FPUs, starts later.
_MAIN = """\
#include "pulp_runtime.h"

extern void kernel(int core, char *l1{types});
{tensors}
PI_CL_L1 char scratch[{l1_bytes}] __attribute__((aligned(16)));
{place} uint32_t kernel_runs;
{place} uint32_t kernel_skews[{most}];
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
    function: PrimFunc,
    features: Features,
    directory: Path,
    resident: Collection[str] = (),
    stored: tuple[Sequence[np.ndarray], Sequence[int]] | None = None,
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
    stored
        Arguments and start skews that the program starts with, and then prints ``kernel_cycles N`` for each
        call and ``tensor_I CHECKSUM`` for each argument; None: a host writes them and reads the results.

    Returns
    -------
    Path
        The ELF file.
    """
    write_runtime(directory, "program", features)
    sources = directory / "codegen" / "host" / "src"
    sources.mkdir(parents=True, exist_ok=True)
    (sources / "kernel.c").write_text(print_kernel(function, "kernel"))
    place = "PULP_PERSISTENT" if stored is None else "extern"
    tensors, moves, arguments, prints = [], [], [], []
    for number, parameter in enumerate(function.params):
        size = tensor_bytes(parameter)
        tensors.append(f"{place} char tensor_{number}[{size}];")
        arguments.append(f", tensor_{number}")
        prints.append(f'  printf("tensor_{number} %u\\n", (unsigned)checksum(tensor_{number}, {size}));')
        if str(parameter.name) in resident:
            tensors.append(f"PI_CL_L1 char local_{number}[{size}] __attribute__((aligned(16)));")
            moves.append(f"    dma_start_1d(0, local_{number}, tensor_{number}, {size}, direction);")
            arguments[-1] = f", local_{number}"
    main = _MAIN.format(
        place=place,
        types="".join(", void *" for _ in function.params),
        tensors="\n".join(tensors),
        l1_bytes=max(16, int(function.attrs["pulp.l1_bytes"])),
        most=MOST_RUNS,
        moves="\n".join(moves),
        arguments="".join(arguments),
    )
    end = FORK_WORKERS
    if stored is not None:
        _store(directory, sources, *stored)
        end = _PRINT.format(prints="\n".join(prints)) + end.replace(
            "  return 0;", "  print_results();\n  return 0;"
        )
    (directory / "templates" / "main.c").write_text(main + end)
    return find().build(directory)


def _store(directory: Path, sources: Path, arrays: Sequence[np.ndarray], skews: Sequence[int]) -> None:
    """Write the assembly that holds arguments and start skews."""
    values = {f"tensor_{number}": array for number, array in enumerate(arrays)}
    values["kernel_runs"] = np.array([len(skews)], np.uint32)
    values["kernel_skews"] = np.zeros(MOST_RUNS, np.uint32)
    values["kernel_skews"][: len(skews)] = skews
    lines = ["/* What the kernel is called with. */"]
    for symbol, array in values.items():
        (directory / f"{symbol}.bin").write_bytes(array.tobytes())
        lines += stored_tensor(symbol, array.nbytes, f'.incbin "{symbol}.bin"')
    (sources / "stored.S").write_text("\n".join([*lines, ""]))
