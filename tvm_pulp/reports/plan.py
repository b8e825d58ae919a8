"""The memory plan as text."""

from __future__ import annotations

from tvm_pulp.reports.table import table
from tvm_pulp.target.plan import Buffer, FunctionPlan, MemoryPlan

WIDTH = 40  # characters of a lifetime bar


def plan_report(plan: MemoryPlan) -> str:
    """Everything with its level, size and place; what shares the arena with a bar of its lifetime."""
    named = sum(buffer.bytes for buffer in plan.buffers)
    parts = [
        f"L1: {plan.l1_bytes} bytes, the scratch of the largest kernel",
        f"L2: {named + plan.arena_bytes} bytes: {named} for named tensors, {plan.arena_bytes} for the arena "
        "of activations and gradients (the linker adds code)",
        table(
            ["named tensor", "kind", "level", "shape", "bytes"],
            [[b.name, b.kind, b.level, _shape(b), str(b.bytes)] for b in plan.buffers],
            left=4,
        ),
    ]
    parts += [_function_report(function) for function in plan.functions]
    return "\n\n".join(parts)


def _function_report(function: FunctionPlan) -> str:
    steps = len(function.calls)
    buffers = {b.name: b for call in function.calls for b in call.arguments if b.kind == "activation"}
    rows = [
        [b.name, b.level, _shape(b), str(b.bytes), str(b.offset), f"{b.first}-{b.last}", _bar(b, steps)]
        for b in sorted(buffers.values(), key=lambda b: (b.first, b.last))
    ]
    title = f"{function.name}: {steps} kernel calls, arena of {function.arena_bytes} bytes"
    return (
        title + "\n" + table(["tensor", "level", "shape", "bytes", "offset", "alive", "steps"], rows, left=3)
    )


def _shape(buffer: Buffer) -> str:
    return "x".join(str(n) for n in buffer.shape) or "scalar"


def _bar(buffer: Buffer, steps: int) -> str:
    """Where in the function the buffer is alive, scaled to a fixed width."""
    first = buffer.first * WIDTH // steps
    last = max(first + 1, -(-(buffer.last + 1) * WIDTH // steps))
    return " " * first + "#" * (last - first) + " " * (WIDTH - last) + "|"
