"""Assembly of the loops over windows of maximum pooling, a row of windows at a time.

A window's first largest element is found without a branch: its row from the maxima of the rows, then its
column from that row's elements, each as a sum of products of comparisons, ``n0 + n0·n1 + …`` where ``n_i``
says that the i-th is smaller than the largest.
"""

from __future__ import annotations

from collections.abc import Sequence

_SCRATCH = ("t0", "t1", "t2", "t3", "t4", "t5", "t6", "a7", "a6", "a5", "a4", "a3")
MOST_ROWS, MOST_COLUMNS = 3, 4
"""Largest window that there are registers for."""


def window_cycles(rows: int, columns: int, *, forward: bool, partition: bool) -> float:
    """Estimate the cycles that a worker takes for a window: two share the FPU, which compares, too."""
    lines = _forward_lines(rows, columns, 1) if forward else _gradient_lines(rows, columns, 1, partition)
    floats = sum(line.startswith("f") for line in lines)
    return max(len(lines), 2 * floats)


def forward_loop(rows: int, columns: int, step: int) -> str:
    """Return the statement that writes ``count`` largest elements to ``to``.

    Parameters
    ----------
    rows, columns
        Of a window, not both 1.
    step
        Elements from a window to the next; ``from0`` ... point to the rows of the first one.
    """
    pointers = [f"from{r}" for r in range(rows)]
    return _statement(_forward_lines(rows, columns, step), [*pointers, "to"], ["count"])


def _forward_lines(rows: int, columns: int, step: int) -> list[str]:
    taps = [_SCRATCH[:columns], _SCRATCH[columns : 2 * columns]]
    largest = _SCRATCH[2 * columns]
    lines: list[str] = []
    waiting: list[str] = []  # comparisons come a row after the loads: a load's result is there a cycle later
    for r in range(rows):
        own = taps[r % 2]
        lines += _load_row(own, f"from{r}", step)
        lines += waiting
        waiting = _maximum(largest, own, starts=r == 0)
    lines += waiting
    return [*lines, f"P_SW({largest}, 4, %[to])"]


def gradient_loop(rows: int, columns: int, step: int, *, partition: bool) -> str:
    """Return the statement that gives each of ``count`` gradients to its window's first largest element.

    Parameters
    ----------
    rows, columns, step
        As in `forward_loop`; ``from`` points to the gradients, ``apart1`` ... are bytes from a row to the
        next, ``away`` those from the data to their gradient, ``four`` is 4.
    partition
        Whether windows share no element: each writes all its elements, ``to0`` ... point to their rows, and
        the loop runs over ``strips`` rows of windows, with ``skip`` bytes from the end of one to the next
        one's start. Else what they get is added to what is there.
    """
    lines = _gradient_lines(rows, columns, step, partition)
    pointers = [f"from{r}" for r in range(rows)] + ([f"to{r}" for r in range(rows)] if partition else [])
    names = ["count", "away", *(["four"] if columns > 1 else []), *(f"apart{r}" for r in range(1, rows))]
    return _statement(lines, [*pointers, "from"], names, pointers if partition else [])


def _gradient_lines(rows: int, columns: int, step: int, partition: bool) -> list[str]:
    taps = [_SCRATCH[:columns], _SCRATCH[columns : 2 * columns]]
    maxima, rest = _SCRATCH[2 * columns : 2 * columns + rows], _SCRATCH[2 * columns + rows :]
    largest = rest[0]
    place, value = taps[0][0], taps[1][0]
    lines: list[str] = []
    waiting: list[str] = []
    for r in range(rows):
        lines += _load_row(taps[r % 2], f"from{r}", step)
        lines += waiting
        waiting = _maximum(maxima[r], taps[r % 2], starts=True)
    lines += waiting
    if rows == 1:
        lines.append(f"mv {largest}, {maxima[0]}")
    else:
        lines.append(f"fmax.s {largest}, {maxima[0]}, {maxima[1]}")
        lines += [f"fmax.s {largest}, {largest}, {maxima[r]}" for r in range(2, rows)]
    smaller = [f"flt.s {maxima[r]}, {maxima[r]}, {largest}" for r in range(rows - 1)]
    lines += [*smaller, f"addi {place}, %[from0], {-4 * step}"]
    if rows == 2:
        lines.append(f"P_MAC({place}, {maxima[0]}, %[apart1])")
    elif rows == 3:
        lines += [f"mv {value}, %[apart1]", f"P_MAC({value}, {maxima[1]}, %[apart2])"]
        lines.append(f"P_MAC({place}, {maxima[0]}, {value})")
    # the column: elements of the row but the last, while zeros are stored
    elements = [*taps[1], *maxima][: columns - 1]
    zeros = _zero_rows(rows, columns, step) if partition else []
    lines += [f"lw {element}, {4 * c}({place})" for c, element in enumerate(elements)]
    lines += zeros
    lines += [f"flt.s {element}, {element}, {largest}" for element in elements]
    for c in range(columns - 3, -1, -1):
        lines.append(f"P_MAC({elements[c]}, {elements[c]}, {elements[c + 1]})")
    if columns > 1:
        lines.append(f"P_MAC({place}, {elements[0]}, %[four])")
    lines += [f"P_LW({value}, 4, %[from])", f"add {place}, {place}, %[away]"]
    if not partition:
        lines += [f"lw {maxima[0]}, 0({place})", f"fadd.s {value}, {value}, {maxima[0]}"]
    lines.append(f"sw {value}, 0({place})")
    return lines


def clear_loop() -> str:
    """Return the statement that writes ``count`` zeros to ``to``."""
    return _statement(["P_SW(zero, 4, %[to])"], ["to"], ["count"])


def _load_row(registers: Sequence[str], pointer: str, step: int) -> list[str]:
    """Return the loads of a row of a window; the last one moves on to the next window."""
    lines = [f"lw {register}, {4 * c}(%[{pointer}])" for c, register in enumerate(registers) if c]
    return [*lines, f"P_LW({registers[0]}, {4 * step}, %[{pointer}])"]


def _maximum(result: str, values: Sequence[str], starts: bool) -> list[str]:
    """Return the instructions of the largest value, and of ``result`` if it has a value already.

    What was loaded last, the first value, is used last.
    """
    later = list(reversed(values))
    if not starts:
        return [f"fmax.s {result}, {result}, {value}" for value in later]
    if len(later) == 1:
        return [f"mv {result}, {later[0]}"]
    lines = [f"fmax.s {result}, {later[0]}, {later[1]}"]
    return lines + [f"fmax.s {result}, {result}, {value}" for value in later[2:]]


def _zero_rows(rows: int, columns: int, step: int) -> list[str]:
    lines = []
    for r in range(rows):
        lines += [f"sw zero, {4 * c}(%[to{r}])" for c in range(1, columns)]
        lines.append(f"P_SW(zero, {4 * step}, %[to{r}])")
    return lines


def _statement(
    lines: Sequence[str], pointers: Sequence[str], values: Sequence[str], skipping: Sequence[str] = ()
) -> str:
    """Return a hardware loop as inline assembly; the pointers move, ``count`` is its number of rounds.

    With ``skipping`` pointers another loop is around it, of ``strips`` rounds, and these move by ``skip``.
    """
    shown = [line if line[0].isupper() else f'"{line}\\n"' for line in lines]
    text = ['".balign 4\\n.option push\\n.option norvc\\n"']
    if skipping:
        text.append(f"LP_SETUP(1, %[strips], {len(lines) + 1 + len(skipping)}, 6)")
        values = [*values, "strips", "skip"]
    text += [f"LP_SETUP(0, %[count], {len(lines)}, 5)", *shown[:-1], f'"5:\\n" {shown[-1]}']
    text += [f'"add %[{name}], %[{name}], %[skip]\\n"' for name in skipping[:-1]]
    text += [f'"6: add %[{name}], %[{name}], %[skip]\\n"' for name in skipping[-1:]]
    text.append('".option pop\\n"')
    outputs = ", ".join(f'[{name}] "+r"({name})' for name in pointers)
    inputs = ", ".join(f'[{name}] "r"({name})' for name in values)
    used = [name for name in _SCRATCH if any(name in line for line in lines)]
    clobbered = ", ".join(f'"{name}"' for name in (*used, "memory"))
    code = "\n".join(f"  {line}" for line in text)
    return f"__asm__ volatile(\n{code}\n  : {outputs}\n  : {inputs}\n  : {clobbered});"
