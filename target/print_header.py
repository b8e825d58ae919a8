"""Print the header of a network: what firmware needs to train with it."""

from __future__ import annotations

import math

from tvm_pulp.target.c_names import c_type
from tvm_pulp.target.functions import COMMANDS, STORE_REPLAYS
from tvm_pulp.target.plan import Buffer, MemoryPlan
from tvm_pulp.target.symbols import symbol_of

_ABOUT = {
    "train_step": "One step of training on the batch in inputs and labels: loss, output, updated parameters.",
    "gradient_step": "Forward and backward pass of one micro-batch; its gradients are added to those before.",
    "update_step": "Update the parameters by the gradients of the micro-batches, and forget the gradients.",
    "infer": "Output for the inputs' first sample, the running statistics as they are.",
    STORE_REPLAYS: "Store the samples in inputs and labels for replay, in the slots replay_slots.",
}
_KINDS = {
    "input": "Write the samples here before a step, one after the other.",
    "labels": "Write the labels here before a step.",
    "loss": "Mean loss of the batch of the last step; a micro-batch's share of it after gradient_step.",
    "output": "Output of the last step or of infer.",
    "parameter": "Parameters and running statistics. Updated in place; save them from here.",
    "state": "State of the optimiser, updated in place.",
    "gradient": "Gradients of the last step.",
    "replays": "The replay store: a row a sample, packed latents and their labels. Save it from here.",
    "rows": "Rows of a store in L3: those of the last step, or stored last.",
    "slots": "Write rows of the store here before a call: to replay, or to overwrite (all different).",
}


def comment(text: str) -> str:
    """Text that may stand in a C comment."""
    return text.replace("*/", "* /").replace("/*", "/ *").replace("\n", " ")


def shape_text(shape: tuple[int, ...]) -> str:
    """A shape for people: `8x3x32x32`."""
    return "x".join(map(str, shape)) or "scalar"


def elements(buffer: Buffer) -> int:
    """Number of elements of a tensor, at least 1."""
    return max(math.prod(buffer.shape), 1)


def print_header(model: str, plan: MemoryPlan, micro_batches: int = 1) -> str:
    """Print `tvmgen_<model>.h`.

    Parameters
    ----------
    model
        Module name, a C identifier.
    plan
        Named tensors and functions.
    micro_batches
        Calls of gradient_step before one of update_step.
    """
    upper = f"TVMGEN_{model.upper()}"
    lines = [
        f"/* {model} on a PULP cluster: how to run it from your own firmware.",
        " *",
        f" *   if (tvmgen_{model}_open()) …           once: opens the cluster, takes its scratch in L1",
        f" *   memcpy({model}_…)                      write the tensors that you want to pass",
        f" *   tvmgen_{model}_{plan.functions[0].name if plan.functions else 'run'}();",
        " *   …                                      read the results",
        f" *   tvmgen_{model}_close();",
        " *",
        " * All of these are called on the fabric controller, and return when the cluster has finished.",
        " * Tensors are contiguous, row by row, in L2. */",
        f"#ifndef {upper}_H",
        f"#define {upper}_H",
        "",
        "#include <stdint.h>",
        "",
        "struct pi_device;",
        "",
        f"#define {upper}_L1_BYTES {max(plan.l1_bytes, 16)} /* scratch in L1, on top of the stacks */",
        f"#define {upper}_ARENA_BYTES {plan.arena_bytes} /* activations and gradients in L2 */",
        f"#define {upper}_MICRO_BATCHES {micro_batches} /* calls of gradient_step before update_step */",
    ]
    for kind, about in _KINDS.items():
        chosen = [buffer for buffer in plan.buffers if buffer.kind == kind]
        if chosen:
            lines += ["", f"/* {about} */"]
        for buffer in chosen:
            symbol = symbol_of(model, buffer)
            declared = f"{c_type(buffer.dtype)} {symbol}[{elements(buffer)}]"
            where = ""
            if buffer.level == "L3":
                declared, where = f"uint32_t {symbol}", f": its address in L3, {buffer.dtype}"
            lines += [
                f"extern {declared}; /* {comment(buffer.name)} {shape_text(buffer.shape)}{where} */",
                f"#define {symbol}_BYTES {buffer.bytes}",
            ]
    memory = "L1 or L3" if plan.named_bytes("L3") else "L1"
    calls = max((len(function.calls) for function in plan.functions), default=0)
    lines += [
        "",
        "/* Open the cluster, or use one that you opened. "
        f"Returns 0, or -1 where {memory} has too little room. */",
        f"int tvmgen_{model}_open(void);",
        f"int tvmgen_{model}_open_on(struct pi_device *opened);",
        f"void tvmgen_{model}_close(void);",
    ]
    for function in plan.functions:
        lines += ["", f"/* {_ABOUT[function.name]} */", f"void tvmgen_{model}_{function.name}(void);"]
    names = ", ".join(f"{COMMANDS[f.name]} {f.name}" for f in plan.functions)
    lines += [
        "",
        f"/* The same by number: {names}. */",
        f"void tvmgen_{model}_run(int32_t command);",
        "",
        "/* What main.c runs, cycles of the last run, cycles of each of its kernel calls. */",
        f"extern int32_t {model}_command;",
        f"extern uint32_t {model}_cycles;",
        f"extern uint32_t {model}_kernel_cycles[{max(calls, 1)}];",
        "",
        "#endif",
    ]
    return "\n".join([*lines, ""])
