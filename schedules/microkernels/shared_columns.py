"""Steps of sums of products of bytes in which the taps of windows side by side share columns of an image.

The windows of neighbouring results overlap: a column of the image is a tap of several of them. A step takes
a word of each tap's weights, and a word of each column that the block's windows reach; each is loaded once.
Eight windows of three taps, two channels of results each, have 48 packed products and 16 loads.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tvm_pulp.schedules.microkernels.assembly import LARGEST_IMMEDIATE

if TYPE_CHECKING:
    from tvm_pulp.schedules.microkernels.dot_panel import DotDistances

REGISTERS = 28
"""For sums, weights and columns, where a loop over segments keeps results' addresses in memory."""
_COLUMNS_AT_ONCE = 2


def columns_of(rows: int, d: DotDistances) -> dict[int, list[tuple[int, int]]]:
    """Return the columns' distances from the first one, each with the (row, tap) pairs that use it.

    That in the middle comes last: it is the one that the pointer points at.
    """
    found: dict[int, list[tuple[int, int]]] = {}
    for row in range(rows):
        for tap in range(d.taps):
            found.setdefault(row * d.a_row + tap * d.a_tap, []).append((row, tap))
    middle = sorted(found)[len(found) // 2]
    return {at: found[at] for at in sorted(found, key=lambda at: (at == middle, at))}


def weights_of(columns: int, d: DotDistances) -> list[int]:
    """Return the distances of the taps' weights from the first one, column by column of the results.

    The first tap of the last column comes last: it is the one that the pointer points at.
    """
    found = [c * d.b_column + tap * d.b_tap for c in range(columns) for tap in range(d.taps)]
    last = (columns - 1) * d.b_column
    return sorted(found, key=lambda at: at == last)


def words_at_once(columns: int, d: DotDistances) -> int:
    """Return the registers that a step needs for words: weights and columns."""
    return columns * d.taps + _COLUMNS_AT_ONCE


def shares_columns(rows: int, columns: int, d: DotDistances) -> bool:
    """Tell whether registers and immediate operands suffice for a block."""
    needed = rows * columns + words_at_once(columns, d)
    a, b = [*columns_of(rows, d)], weights_of(columns, d)
    reach = max(max(map(abs, (places[-1] - at for at in places))) for places in (a, b))
    starts = max(a[-1], b[-1])
    return d.segments > 1 and needed <= REGISTERS and max(reach, starts) <= LARGEST_IMMEDIATE


def step_instructions(rows: int, columns: int, d: DotDistances) -> int:
    """Return the instructions of a step: of its loads and its products."""
    return len(columns_of(rows, d)) + columns * d.taps * (rows + 1)


def shared_columns_step(
    sums: list[list[str]], registers: list[str], pointers: tuple[str, str], d: DotDistances, dot: str
) -> list[str]:
    """Return the instructions of a step.

    Parameters
    ----------
    sums
        Registers of each row's sums.
    registers
        Free ones.
    pointers
        Of A, at the column in the middle, and of B, at the first tap of the last column.
    d
        The path of the sum.
    dot
        The macro of a packed dot product that is added to a sum.
    """
    columns = columns_of(len(sums), d)
    places = weights_of(len(sums[0]), d)
    weights = dict(zip(places, registers, strict=False))
    words = registers[len(places) : len(places) + _COLUMNS_AT_ONCE]

    def load(register: str, places: list[int], at: int, step: int, pointer: str) -> str:
        if at == places[-1]:
            return f"P_LW({register}, {step}, {pointer})"
        return f"lw {register}, {at - places[-1]}({pointer})"

    body = [load(register, places, at, d.b_step, pointers[1]) for at, register in weights.items()]
    loads = [
        load(words[i % _COLUMNS_AT_ONCE], [*columns], at, d.a_step, pointers[0])
        for i, at in enumerate(columns)
    ]
    body.append(loads.pop(0))
    for i, pairs in enumerate(columns.values()):
        body += [loads.pop(0)] if loads else []
        word = words[i % _COLUMNS_AT_ONCE]
        body += [
            f"{dot}({total}, {word}, {weights[c * d.b_column + tap * d.b_tap]})"
            for row, tap in pairs
            for c, total in enumerate(sums[row])
        ]
    return body
