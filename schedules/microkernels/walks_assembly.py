"""Walks of blocks of straight-line code as one statement of inline assembly."""

from __future__ import annotations

from collections.abc import Sequence

from tvm_pulp.schedules.microkernels.straight_line import MOST_OPERANDS, REGISTERS, SCRATCH, Block


def fit_together(blocks: Sequence[Block]) -> bool:
    """Tell whether walks of some blocks may be one statement: pointers move alike, registers suffice."""
    if any(block.steps != blocks[0].steps for block in blocks):
        return False
    kept = set().union(*(block.kept for block in blocks))
    used = set().union(*(block.clobbered for block in blocks))
    pointers = 2 * len(blocks[0].steps)
    operands = len(kept) * (2 if blocks[0].updated else 1) + pointers + len(blocks[0].steps) + 1
    return operands <= MOST_OPERANDS and len(kept) + pointers + 1 + len(used) <= REGISTERS


def walks_assembly(
    walks: Sequence[tuple[Block, int]],
    count: str,
    strides: dict[str, int],
    indent: str,
    *,
    inside: bool = True,
) -> str:
    """Return one walk after the other as an inline assembly statement of hardware loops.

    Parameters
    ----------
    walks
        Blocks that `fit_together`, and how often each of their walks is repeated.
    count
        Blocks of a walk: a C expression, at least 1.
    strides
        By how many elements the pointers are further on at the start of the next walk.
    indent
        Put before each line.
    inside
        What the C variable ``inside`` is, see `Block`.
    """
    steps = walks[0][0].steps
    total = sum(repeat for _, repeat in walks)
    moves = [f'"add %[{name}], %[{name}], %[{name}_back]\\n"' for name in steps]
    text = ['".balign 4\\n.option push\\n.option norvc\\n"']
    before = dict.fromkeys(steps, 0)
    for number, (block, repeat) in enumerate(walks):
        starts = block.starts
        for name, place in starts.items():
            if place != before[name]:
                text.append(f'"addi %[{name}], %[{name}], {4 * (place - before[name])}\\n"')
        before = starts
        is_last = number == len(walks) - 1 and repeat == 1
        text += block.walk(starts, "%[count]", repeat, [] if is_last else moves, inside=inside)
    text.append('".option pop\\n"')
    updated = walks[0][0].updated
    kept = list(dict.fromkeys(name for block, _ in walks for name in block.kept))
    outputs = [f'[{name}] "+r"({name})' for name in steps]
    inputs = [f'[count] "r"({count})']
    if total > 1:
        inputs += [
            f'[{name}_back] "r"({4 * strides[name]} - {count} * {4 * step})' for name, step in steps.items()
        ]
    (outputs if updated else inputs).extend(f'[{name}] "{"+" if updated else ""}r"({name})' for name in kept)
    code = "\n".join(f"{indent}    {line}" for line in text)
    used = set().union(*(block.clobbered for block, _ in walks))
    clobbered = ", ".join(f'"{name}"' for name in (*(name for name in SCRATCH if name in used), "memory"))
    return (
        f"{indent}__asm__ volatile(\n{code}\n"
        f"{indent}    : {', '.join(outputs)}\n{indent}    : {', '.join(inputs)}\n"
        f"{indent}    : {clobbered});\n"
    )
