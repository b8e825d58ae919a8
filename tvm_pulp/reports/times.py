"""Cycles of a run: a step, and the kernels that take longest."""

from __future__ import annotations

import numpy as np

from tvm_pulp.execution import RunResult
from tvm_pulp.package.metadata import Metadata
from tvm_pulp.reports.table import table


def step_macs(metadata: Metadata, function: str) -> int:
    """Multiply-accumulates of one step; `function` as given to `run`."""
    if function in metadata.functions:
        return metadata.macs(function)
    passes = metadata.batch // metadata.micro_batch
    return passes * metadata.macs("gradient_step") + metadata.macs("update_step")


def time_report(metadata: Metadata, result: RunResult) -> str:
    """Cycles a step and multiply-accumulates a cycle, mean over the steps; memory a level."""
    called = list(result.steps[0].kernel_cycles)
    function = called[0] if len(called) == 1 else "train_step"  # of micro-batches
    cycles = result.cycles
    macs = step_macs(metadata, function)
    megahertz = metadata.simulator.get("frequency_hz", 0) / 1e6
    time = f", {cycles.mean() / megahertz / 1e3:.2f} ms at {megahertz:.0f} MHz" if megahertz else ""
    memory = metadata.memory
    stored = {"L2": 0, "L3": 0}
    for tensor in metadata.of_kind("replays"):
        stored[tensor.level] += tensor.bytes
    replays = stored["L2"]
    kept = f" + {replays} for stored replays" if replays else ""
    kept += f", L3 {stored['L3']} for their latents" if stored["L3"] else ""
    return (
        f"{function}: {cycles.mean():.0f} cycles a step (least {cycles.min()}, most {cycles.max()}{time}), "
        f"{macs} MAC, {macs / cycles.mean():.2f} MAC/cycle\n"
        f"memory: L1 {memory['l1']} bytes, L2 {memory['named'] - replays} for parameters, state, inputs and "
        f"outputs + {memory['arena']} for activations and gradients{kept}"
    )


def kernel_report(metadata: Metadata, result: RunResult, count: int) -> str:
    """The kernel calls that take longest, mean over the steps."""
    rows = []
    for function in result.steps[0].kernel_cycles:
        cycles = np.mean([step.kernel_cycles[function] for step in result.steps], axis=0)
        for call, mean in zip(metadata.functions[function], cycles, strict=True):
            rows.append((mean, call))
    total = sum(mean for mean, _ in rows)
    rows.sort(key=lambda row: -row[0])
    return table(
        ["kernel", "layer", "cycles", "share", "MAC/cycle"],
        [
            [c.kernel, c.layer, f"{n:.0f}", f"{n / total:.1%}", f"{c.macs / n:.2f}" if c.macs and n else "-"]
            for n, c in rows[:count]
        ],
        left=2,
    )
