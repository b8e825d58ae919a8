"""The memory plan as text."""

from __future__ import annotations

from tvm_pulp.reports.table import table
from tvm_pulp.target.plan import Buffer, FunctionPlan, MemoryPlan

WIDTH = 40  # characters of a lifetime bar


def plan_report(plan: MemoryPlan) -> str:
    """Everything with its level, size and place; what shares the arena with a bar of its lifetime."""
    named, external = plan.named_bytes(), plan.named_bytes("L3")
    parts = [
        f"L1: {plan.l1_bytes} bytes: the scratch of the kernel that runs, tensors that stay between kernels",
        f"L2: {named + plan.arena_bytes} bytes: {named} for named tensors, {plan.arena_bytes} for the arena "
        "of activations and gradients (the linker adds code)",
        *([f"L3: {external} bytes: the replay store"] if external else []),
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
    used = [b for call in function.calls for b in call.arguments] + [t.tensor for t in function.transfers]
    buffers = {b.name: b for b in used if b.kind == "activation" and b.level == "L2"}
    rows = [
        [b.name, b.level, _shape(b), str(b.bytes), str(b.offset), *_alive(b.first, b.last, steps)]
        for b in sorted(buffers.values(), key=lambda b: (b.first, b.last))
    ]
    title = f"{function.name}: {steps} kernel calls, arena of {function.arena_bytes} bytes"
    columns = ["tensor", "level", "shape", "bytes", "offset", "alive", "steps"]
    parts = [f"{title}\n{table(columns, rows, left=3)}"]
    if function.stays:
        parts.append(_stays_report(function))
    return "\n\n".join(parts)


def _stays_report(function: FunctionPlan) -> str:
    """Tensors in L1; a star: the bytes come from L2 before, or go there after."""
    steps = len(function.calls)
    moves = {
        (t.tensor.name, t.l1_offset, t.to_l1, t.ready if t.to_l1 else t.start) for t in function.transfers
    }
    rows = []
    for stay in sorted(function.stays, key=lambda stay: (stay.first, stay.last)):
        b = stay.buffer
        calls = [n for n, c in enumerate(function.calls) if b in c.arguments and stay.first <= n <= stay.last]
        fetched = any((b.name, b.offset, True, call) in moves for call in calls)
        stored = any((b.name, b.offset, False, call + 1) in moves for call in calls)
        marks = ["*" if fetched else "", "*" if stored else ""]
        alive = _alive(stay.first, min(stay.last, steps - 1), steps)
        rows.append([b.name, b.level, _shape(b), str(b.bytes), str(b.offset), *marks, *alive])
    moved = sum(t.tensor.bytes for t in function.transfers)
    title = f"{function.name}: tensors in L1 between kernels; {moved} bytes move beside the kernels"
    columns = ["tensor", "level", "shape", "bytes", "offset", "from L2", "to L2", "alive", "steps"]
    return f"{title}\n{table(columns, rows, left=3)}"


def _shape(buffer: Buffer) -> str:
    return "x".join(str(n) for n in buffer.shape) or "scalar"


def _alive(first: int, last: int, steps: int) -> list[str]:
    """Steps from first to last as numbers and as a bar, scaled to a fixed width."""
    start = first * WIDTH // steps
    end = max(start + 1, -(-(last + 1) * WIDTH // steps))
    return [f"{first}-{last}", " " * start + "#" * (end - start) + " " * (WIDTH - end) + "|"]
