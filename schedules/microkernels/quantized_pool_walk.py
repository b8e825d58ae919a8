"""Assembly of maxima over overlapping windows: a walk along a row for each word of four channels.

The maxima of columns are kept from window to window: of windows of three columns, one apart, the last
column's and that of the last two.
"""

from __future__ import annotations

from tvm_pulp.schedules.microkernels.assembly import AssemblyText

_ROWS = ("a3", "a4", "a5", "a6")
_NEW, _OTHERS, _KEPT, _LARGEST = "t0", ("t1", "t2"), "t4", "t3"
_STEP, _WORDS, _BACK, _BACK_RESULT = "t5", "a7", "t6", "a0"

_SHAPES = ((2, 1), (3, 1), (3, 2))
"""Columns of a window, and from one to the next."""


def walks(columns: int, stride: int) -> bool:
    """Tell whether there is a walk for such windows."""
    return (columns, stride) in _SHAPES


def walk_assembly(name: str, height: int, columns: int, stride: int, channels: int) -> str:
    """Return C with a function for some pixels: pointers to rows in a0, results to a1, their number in a2.

    Parameters
    ----------
    name
        Of the function.
    height, columns
        Of a window, see `walks`.
    stride
        Columns from a window to the next one.
    channels
        Of a pixel.
    """
    rows, kept = _ROWS[:height], columns - stride
    if stride == 2:
        step = [*_column(rows, _NEW), _maximum(_LARGEST, _KEPT, _NEW), *_column(rows, _KEPT)]
        step += [_maximum(_LARGEST, _LARGEST, _KEPT), f"P_SWR({_LARGEST}, {_STEP}, a1)"]
    else:
        step = [*_column(rows, _NEW), _maximum(_LARGEST, _LARGEST if kept == 2 else _KEPT, _NEW)]
        step.append(f"P_SWR({_LARGEST}, {_STEP}, a1)")
        step += [_maximum(_LARGEST, _KEPT, _NEW)] * (kept == 2) + [f"mv {_KEPT}, {_NEW}"]
    start = _column(rows, _KEPT)
    if kept == 2:
        start += [*_column(rows, _NEW), _maximum(_LARGEST, _KEPT, _NEW), f"mv {_KEPT}, {_NEW}"]
    word = [*start, f"LP_SETUP(0, a2, {len(step)}, 5)", *step[:-1], "5:", step[-1]]
    word += [f"add {row}, {row}, {_BACK}" for row in rows]
    last = f"add a1, a1, {_BACK_RESULT}"

    text = AssemblyText()
    text.add(f'.pushsection .text.{name},"ax",@progbits', ".option push", ".option norvc", ".balign 16")
    text.add(f".type {name}, @function", f"{name}:")
    text.add(*(f"lw {row}, {4 * i}(a0)" for i, row in enumerate(rows)))
    text.add(f"li {_STEP}, {channels}", f"li {_WORDS}, {channels // 4}")
    # from the end of a row back to the next word at its start, for the data and for the results
    text.add(f"li {_NEW}, {-stride * channels}", f"mul {_BACK}, a2, {_NEW}")
    text.add(f"li {_NEW}, {4 - kept * channels}", f"add {_BACK}, {_BACK}, {_NEW}")
    text.add(
        f"mul {_BACK_RESULT}, a2, {_STEP}", f"li {_NEW}, 4", f"sub {_BACK_RESULT}, {_NEW}, {_BACK_RESULT}"
    )
    text.add(f"LP_SETUP(1, {_WORDS}, {len(word)}, 6)", *word, "6:", last)
    text.add("ret", f".size {name}, .-{name}", ".option pop", ".popsection")
    return f"void {name}(const uint8_t *const *, uint8_t *, int32_t);\n__asm__(\n{text}\n);"


def _maximum(to: str, one: str, other: str) -> str:
    return f"PV_MAXU_B({to}, {one}, {other})"


def _column(rows: tuple[str, ...], to: str) -> list[str]:
    """Return the loads of a column, which move on to the next one, and its maximum: loads run ahead."""
    registers = [to, *(_OTHERS[i % 2] for i in range(len(rows) - 1))]
    loads = [f"P_LWR({register}, {_STEP}, {row})" for register, row in zip(registers, rows, strict=True)]
    maxima = [_maximum(to, to, register) for register in registers[1:]]
    body = loads[:3]
    for number, maximum in enumerate(maxima):
        body += [maximum, *loads[number + 3 : number + 4]]
    return body
