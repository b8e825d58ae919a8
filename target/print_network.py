"""Print the network: one C function a network function, calling the kernels in order.

All workers run a network function together after one fork, with a barrier after each kernel. Between kernels
core 0 starts the transfers of the plan, which bring tensors to L1 for the next kernel while this one computes
and take out what is needed later; they are complete at the barrier before they are needed.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import numpy as np

from tvm_pulp.target.c_names import c_type
from tvm_pulp.target.functions import COMMANDS
from tvm_pulp.target.plan import Buffer, Call, FunctionPlan, MemoryPlan, Transfer
from tvm_pulp.target.print_external import (
    external_functions,
    external_tensors,
    finish_external,
    start_external,
)
from tvm_pulp.target.print_header import comment, elements, print_header, shape_text
from tvm_pulp.target.print_kernel import KERNEL_DMA_SLOTS
from tvm_pulp.target.print_main import print_main
from tvm_pulp.target.print_parameters import is_initialised, print_parameters
from tvm_pulp.target.symbols import symbol_of

SOURCES = "codegen/host/src"
HEADERS = "codegen/host/include"
_SLOTS = 8
"""DMA slots of transfers between kernels, behind those of kernels."""


def print_network(
    model: str,
    plan: MemoryPlan,
    kernels: Mapping[str, str],
    values: Mapping[str, np.ndarray],
    micro_batches: int = 1,
) -> dict[str, str]:
    """Print everything of a program that depends on the plan.

    Parameters
    ----------
    model
        Module name, a C identifier.
    plan
        Buffers and calls.
    kernels
        Kernel name → C file that defines it, as `print_kernel` gives it.
    values
        Initial values by name; those that are all zero need no file.
    micro_batches
        Calls of gradient_step before one of update_step.

    Returns
    -------
    dict
        Path in the project → text.
    """
    return {
        f"{SOURCES}/network.c": _Network(model, plan, kernels, values).text(),
        f"{SOURCES}/parameters.S": print_parameters(model, plan, values),
        f"{HEADERS}/tvmgen_{model}.h": print_header(model, plan, micro_batches),
        "templates/main.c": print_main(model, plan),
    }


def kernel_prototype(kernel: str, source: str) -> str:
    """The declaration of the kernel that a C file defines, taken from its definition.

    Raises
    ------
    ValueError
        If the file defines no kernel.
    """
    found = re.search(r"^(void \w+\(int core, char \*l1[^)]*\)) \{$", source, re.MULTILINE)
    if found is None:
        raise ValueError(f"the C file of kernel {kernel} defines no function of a kernel's form")
    return found[1]


def _slot(ready: int) -> int:
    """The DMA slot of transfers that have to be complete before a call: no transfer spans as many calls."""
    return KERNEL_DMA_SLOTS + ready % _SLOTS


def _wait(ready: int) -> str:
    return f"wait_for_moves({_slot(ready)});"


class _Network:
    def __init__(
        self,
        model: str,
        plan: MemoryPlan,
        kernels: Mapping[str, str],
        values: Mapping[str, np.ndarray],
    ) -> None:
        self.model = model
        self.plan = plan
        self.values = values
        called = dict.fromkeys(call.kernel for function in plan.functions for call in function.calls)
        self.prototypes = {name: kernel_prototype(name, kernels[name]) for name in called}
        self.symbols = {
            name: re.findall(r"\w+", text[: text.index("(")])[-1] for name, text in self.prototypes.items()
        }

    def text(self) -> str:
        calls = max((len(function.calls) for function in self.plan.functions), default=0)
        model, in_l3 = self.model, self.plan.named_bytes("L3") > 0
        ram = '#include "bsp/ram/hyperram.h"\n' if in_l3 else ""
        parts = [
            f"/* {model}: the kernels in order, and the memory they work on. */",
            f'#include "tvmgen_{model}.h"\n\n{ram}#include "pulp_runtime.h"',
            "/* The kernels, a file each. */\n"
            + "".join(f"{p};\n" for p in self.prototypes.values()).rstrip(),
            "\n".join(self.tensors()),
            *external_tensors(model, self.plan),
            f"PI_L2 int32_t {model}_command = 0;\n"
            f"PULP_PERSISTENT uint32_t {model}_cycles;\n"
            f"PULP_PERSISTENT uint32_t {model}_kernel_cycles[{max(calls, 1)}];",
            *self.arena(),
            "/* L1: scratch of the kernel that runs, and tensors between kernels. */\nstatic char *l1;",
            *external_functions(model, self.plan),
            *([_MOVES] if any(function.transfers for function in self.plan.functions) else []),
            *([_FINISH.replace("@MODEL@", model)] if calls else []),
            *(self.function(function) for function in self.plan.functions),
            self.worker(),
            _CONTROL.replace("@MODEL@", model)
            .replace("@MODEL_UPPER@", model.upper())
            .replace("@OPEN_RAM@", "  if (open_ram()) return -1;\n" if in_l3 else "")
            .replace("@CLOSE_RAM@", "  close_ram();\n" if in_l3 else ""),
            *(
                f"void tvmgen_{model}_{f.name}(void) {{ tvmgen_{model}_run({COMMANDS[f.name]}); }}"
                for f in self.plan.functions
            ),
        ]
        return "\n\n".join(parts) + "\n"

    def tensors(self) -> list[str]:
        lines = ["/* Tensors with a name; those with initial values are in parameters.S. */"]
        for buffer in self.plan.buffers:
            if not is_initialised(buffer, self.values) and buffer.level != "L3":
                declared = f"{c_type(buffer.dtype)} {symbol_of(self.model, buffer)}[{elements(buffer)}];"
                lines.append(
                    f"PULP_PERSISTENT {declared} /* {comment(buffer.name)} {shape_text(buffer.shape)} */"
                )
        return lines

    def arena(self) -> list[str]:
        used = [b for f in self.plan.functions for call in f.calls for b in call.arguments]
        used += [transfer.tensor for f in self.plan.functions for transfer in f.transfers]
        if not any(buffer.kind == "activation" and buffer.level == "L2" for buffer in used):
            return []
        size = self.plan.arena_bytes
        return [
            f"/* Activations and gradients of the function that runs: {size} bytes. */\n"
            f"static PULP_PERSISTENT char arena[{size}];"
        ]

    def function(self, function: FunctionPlan) -> str:
        lines = [
            f"/* {function.name}: {len(function.calls)} kernels, run by all workers. */",
            f"static void {function.name}(int core) {{",
            "  uint32_t start = pulp_cycles();",
        ]
        for index, call in enumerate(function.calls):
            lines += start_external(function, index) + finish_external(function, index)
            lines += self.moves(function.transfers, index)
            lines += self.call(index, call, function.transfers)
        end = len(function.calls)
        lines += self.moves(function.transfers, end) + finish_external(function, end)
        return "\n".join([*lines, "  (void)core, (void)start;", "}"])

    def moves(self, transfers: Sequence[Transfer], index: int) -> list[str]:
        """Start the transfers before a call; wait at once for those that nothing hides."""
        started = [t for t in transfers if t.start == index]
        exposed = [t for t in started if t.ready == index]
        # what takes L1 up follows what leaves it
        order = [t for t in exposed if not t.to_l1]
        lines = [self.move(t) for t in order]
        if order:
            lines.append(_wait(index))
        lines += [self.move(t) for t in exposed if t.to_l1]
        lines += [self.move(t) for t in started if t.ready != index]
        if any(t.to_l1 for t in exposed):
            lines.append(_wait(index))
        if not lines:
            return []
        block = ["", "  if (core == 0) {", *(f"    {line}" for line in lines), "  }"]
        return [*block, "  cluster_barrier();"] if exposed else block

    def move(self, transfer: Transfer) -> str:
        """A line that starts a transfer."""
        tensor = transfer.tensor
        direction = "DMA_L2_TO_L1" if transfer.to_l1 else "DMA_L1_TO_L2"
        return (
            f"start_move({_slot(transfer.ready)}, l1 + {transfer.l1_offset}, {self.address(tensor)}, "
            f"{tensor.bytes}, {direction}); /* {comment(tensor.name)} */"
        )

    def call(self, index: int, call: Call, transfers: Sequence[Transfer] = ()) -> list[str]:
        tensors = ", ".join(f"{comment(b.name)} {shape_text(b.shape)}" for b in call.arguments)
        arguments = ", ".join(["core", "l1", *map(self.argument, call.arguments)])
        waited = any(t.start <= index and t.ready == index + 1 for t in transfers)
        return [
            "",
            f"  /* {comment(call.layer or call.kernel)}: {tensors} */",
            f"  {self.symbols[call.kernel]}({arguments});",
            *([f"  if (core == 0) {_wait(index + 1)}"] if waited else []),
            f"  start = finish_kernel(core, {index}, start);",
        ]

    def argument(self, buffer: Buffer) -> str:
        if buffer.level == "L2" and buffer.kind != "activation":
            return symbol_of(self.model, buffer)
        return f"({c_type(buffer.dtype)} *)(void *)({self.address(buffer)})"

    def address(self, buffer: Buffer) -> str:
        """Where a tensor starts."""
        if buffer.level == "L1":
            return f"l1 + {buffer.offset}"
        return f"arena + {buffer.offset}" if buffer.kind == "activation" else symbol_of(self.model, buffer)

    def worker(self) -> str:
        cases = "".join(f"    case {COMMANDS[f.name]}: {f.name}(core); break;\n" for f in self.plan.functions)
        return (
            "static void worker(void *command) {\n"
            "  const int core = (int)pi_core_id();\n"
            "  switch ((intptr_t)command) {\n" + cases + "    default: break;\n  }\n}"
        )


_MOVES = """\
/* Start a transfer that the plan has between kernels, and wait for all of a slot. Functions, as code that is
 * new to the instruction cache takes longer than a call. */
static __attribute__((noinline)) void start_move(int slot, char *in_l1, const void *in_l2, uint32_t bytes,
                                                 int direction) {
  dma_start_1d(slot, in_l1, in_l2, bytes, direction);
}

static __attribute__((noinline)) void wait_for_moves(int slot) { dma_wait(slot); }"""

_FINISH = """\
/* After each kernel: all workers wait for each other, core 0 notes the cycles. */
static __attribute__((noinline)) uint32_t finish_kernel(int core, int call, uint32_t start) {
  cluster_barrier();
  if (core != 0) return start;
  pulp_dma_after_kernel();
  const uint32_t now = pulp_cycles();
  @MODEL@_kernel_cycles[call] = now - start;
  return now;
}"""

_CONTROL = """\
/* On core 0 of the cluster: all workers run the command. */
static void run_on_cluster(void *command) {
  pulp_cycles_start();
  const uint32_t start = pulp_cycles();
  pi_cl_team_fork(PULP_CORES, worker, command);
  @MODEL@_cycles = pulp_cycles() - start;
}

static struct pi_device own_cluster;
static struct pi_device *cluster;

int tvmgen_@MODEL@_open_on(struct pi_device *opened) {
  cluster = opened;
  l1 = pi_cl_l1_malloc(cluster, TVMGEN_@MODEL_UPPER@_L1_BYTES);
@OPEN_RAM@  return l1 == NULL ? -1 : 0;
}

int tvmgen_@MODEL@_open(void) {
  static struct pi_cluster_conf configuration;
  pi_cluster_conf_init(&configuration);
  pi_open_from_conf(&own_cluster, &configuration);
  if (pi_cluster_open(&own_cluster)) return -1;
  return tvmgen_@MODEL@_open_on(&own_cluster);
}

void tvmgen_@MODEL@_close(void) {
@CLOSE_RAM@  pi_cl_l1_free(cluster, l1, TVMGEN_@MODEL_UPPER@_L1_BYTES);
  if (cluster == &own_cluster) pi_cluster_close(&own_cluster);
}

void tvmgen_@MODEL@_run(int32_t command) {
  struct pi_cluster_task task;
  pi_cluster_task(&task, run_on_cluster, (void *)(intptr_t)command);
  task.stack_size = PULP_STACK_BYTES;
  task.slave_stack_size = PULP_STACK_BYTES;
  pi_cluster_send_task_to_cl(cluster, &task);
}"""
