"""The assembly of short sums of products of bytes, see `stationary_panel`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tvm_pulp.schedules.microkernels.assembly import AssemblyText, add_constant

if TYPE_CHECKING:
    from tvm_pulp.schedules.microkernels.stationary_panel import StationaryPanel

PANEL = "stationary_panel"
_A, _B, _BIAS, _C, _ROWS, _GROUPS = "a0", "a1", "a2", "a3", "a4", "a5"
_WORDS = ("a5", "a6")
SUMS = ("t3", "t4", "t5", "t6")
HELD = "t0 t1 t2 a7 s0 s1 s2 s3 s4 s5 s6 s7 s8 s9 s10 s11 ra gp tp a1 a2 a4 t5 t6".split()
"""What holds weights, biases and multipliers: arguments that are kept on the stack, too, and the sums of
columns that there are not."""
_SAVED = "s0 s1 s2 s3 s4 s5 s6 s7 s8 s9 s10 s11 ra gp tp".split()
_FRAME = 96
_BIAS_PLACE, _MULTIPLIER_PLACE = 60, 64
_PLACES = dict(zip((_A, _B, _BIAS, _C, _ROWS, _GROUPS), range(68, 92, 4), strict=True))
"""Where the arguments are on the stack."""


def _registers(p: StationaryPanel) -> tuple[list[list[str]], list[str], list[str]]:
    """Return what holds the weights of each column, the biases and the multipliers, perhaps not the last."""
    pool = iter(p.held)
    weights = [[next(pool) for _ in range(p.length)] for _ in range(p.columns)]
    kept = p.columns - p.spills
    return weights, [next(pool) for _ in range(kept)], [next(pool) for _ in range(kept)]


def row_instructions(p: StationaryPanel) -> list[str]:
    """Return the instructions of a row."""
    weights, biases, multipliers = _registers(p)
    kind, words = "SP" if p.signed else "USP", p.words
    loads = [_load(p, i, _WORDS[(i + p.gathers) % 2]) for i in range(len(words))]
    lines = []
    if p.gathers:  # first, while the registers of the sums are free
        odd = [_from_last(p, line * p.a_line + p.line_bytes - 1) for line in range(3)]
        gathered = (_WORDS[0], *p.sums[:2])
        lines += [f"lbu {register}, {at}({_A})" for register, at in zip(gathered, odd, strict=True)]
        lines.append(loads.pop(0))
        lines += [f"P_INSERT({_WORDS[0]}, {part}, 8, {8 * i})" for i, part in enumerate(gathered) if i]
    else:
        lines += [loads.pop(0), loads.pop(0)]
    if not p.e.halfword:
        lines += [f"mv {s}, {bias}" for s, bias in zip(p.sums, biases, strict=True)]
    for word in range(p.length):
        dot = "PV_SDOT" if word or not p.e.halfword else "PV_DOT"
        lines += [f"{dot}{kind}_B({s}, {_WORDS[word % 2]}, {weights[c][word]})" for c, s in enumerate(p.sums)]
        lines += [loads.pop(0)] if loads else []
    return lines + _requantize(p, biases, multipliers) + _store(p)


def _load(p: StationaryPanel, number: int, register: str) -> str:
    """Return the load of a word; that of the last one, which the pointer points at, moves on to the next."""
    if number == len(p.words) - 1:
        return f"P_LW({register}, {p.a_row}, {_A})"
    return f"lw {register}, {_from_last(p, p.words[number][0])}({_A})"


def _from_last(p: StationaryPanel, at: int) -> int:
    return at - p.words[-1][0]


def _requantize(p: StationaryPanel, biases: list[str], multipliers: list[str]) -> list[str]:
    """Return the instructions from sums to bytes; the words' registers are free by then."""
    e, sums, lines = p.e, p.sums, []
    if p.spills:
        biases, multipliers = [*biases, _WORDS[0]], [*multipliers, _WORDS[1]]
        lines += [f"lw {_WORDS[0]}, {_BIAS_PLACE}(sp)", f"lw {_WORDS[1]}, {_MULTIPLIER_PLACE}(sp)"]
    if e.halfword:
        lines += [f"P_ADDRN({s}, {s}, {bias}, {e.first_shift})" for s, bias in zip(sums, biases, strict=True)]
        lines += [f"P_MULS_ROUND({s}, {s}, {m}, {e.shift})" for s, m in zip(sums, multipliers, strict=True)]
        lines += [f"addi {s}, {s}, {e.zero_point}" for s in sums if e.zero_point]
        lines += [f"P_CLIPU({s}, {s}, 9)" for s in sums]
    else:
        for i, (s, m) in enumerate(zip(sums, multipliers, strict=True)):
            value = _WORDS[i % 2]
            lines.append(f"P_MULU_SHIFT({value}, {s}, {m}, 16)")
            lines.append(f"P_MACHHS_ROUND({value}, {s}, {m}, {e.shift - 16})")
            lines += [f"addi {value}, {value}, {e.zero_point}"] if e.zero_point else []
            lines.append(f"P_CLIPU({s}, {value}, 9)")
    for bound, name, neutral in ((e.low, "MAX", 0), (e.high, "MIN", 255)):
        if bound != neutral:
            lines.append(f"li {_WORDS[0]}, {bound}")
            lines += [f"P_{name}({s}, {s}, {_WORDS[0]})" for s in sums]
    return lines


def _store(p: StationaryPanel) -> list[str]:
    """Return the store of a row's results; it moves on to the next row."""
    first, second, *more = p.sums
    together = f"PV_PACKLO_B({first}, {second}, {first})"
    if not more:
        return [together, f"P_SH({first}, {p.c_row}, {_C})"]
    return [together, f"PV_PACKHI_B({first}, {more[1]}, {more[0]})", f"P_SW({first}, {p.c_row}, {_C})"]


def stationary_panel_assembly(p: StationaryPanel) -> str:
    """Return the panel as C with top-level ``__asm__``."""
    row, text = row_instructions(p), AssemblyText()
    text.add(f'.pushsection .text.{PANEL},"ax",@progbits', ".option push", ".option norvc", ".balign 16")
    text.add(f".type {PANEL}, @function", f"{PANEL}:", f"addi sp, sp, -{_FRAME}")
    text.add(*(f"sw {register}, {4 * i}(sp)" for i, register in enumerate(_SAVED)))
    text.add(*(f"sw {register}, {place}(sp)" for register, place in _PLACES.items()))
    text.add("1:", *_load_group(p))
    text.add(f"lw {_A}, {_PLACES[_A]}(sp)", f"lw {_C}, {_PLACES[_C]}(sp)")
    text.add(f"lw {_WORDS[0]}, {_PLACES[_ROWS]}(sp)", *add_constant(_A, p.words[-1][0], _WORDS[1]))
    text.add(f"LP_SETUP(0, {_WORDS[0]}, {len(row)}, 5)", *row[:-1], "5:", row[-1])
    steps = {_B: p.columns * p.lines * p.b_line, _BIAS: 4 * p.columns, _C: p.columns, _GROUPS: -1}
    some = dict(zip(steps, SUMS, strict=True))  # the arguments on the stack, of the next group
    text.add(*(f"lw {register}, {_PLACES[argument]}(sp)" for argument, register in some.items()))
    for argument, register in some.items():
        text.add(*add_constant(register, steps[argument], _WORDS[1]))
    text.add(*(f"sw {register}, {_PLACES[argument]}(sp)" for argument, register in some.items()))
    text.add(f"bnez {some[_GROUPS]}, 1b")
    text.add(*(f"lw {register}, {4 * i}(sp)" for i, register in enumerate(_SAVED)))
    text.add(f"addi sp, sp, {_FRAME}", "ret", f".size {PANEL}, .-{PANEL}", ".option pop", ".popsection")
    return f"""\
/* Some rows of {p.columns} columns after the other. */
void {PANEL}(const void *, const void *, const int32_t *, void *, int32_t, int32_t);
__asm__(
{text}
);"""


def _load_group(p: StationaryPanel) -> list[str]:
    """Return the loads of weights, biases and multipliers of the next columns."""
    weights, biases, multipliers = _registers(p)
    weight, bias, multiplier, other = *SUMS[:2], *_WORDS[::-1]  # pointers, until the first row
    lines = [f"lw {weight}, {_PLACES[_B]}(sp)", f"lw {bias}, {_PLACES[_BIAS]}(sp)"]
    for c, column in enumerate(weights):
        start = c * p.lines * p.b_line
        gathered, plain = column[: p.gathers], column[p.gathers :]
        for register in gathered:
            odd = [start + line * p.b_line + p.line_bytes - 1 for line in range(3)]
            lines += [
                f"lbu {r}, {at}({weight})" for r, at in zip((register, multiplier, other), odd, strict=True)
            ]
            lines += [f"P_INSERT({register}, {multiplier}, 8, 8)", f"P_INSERT({register}, {other}, 8, 16)"]
        lines += [f"lw {r}, {start + at}({weight})" for r, (_, at) in zip(plain, p.words, strict=True)]
    lines += [f"mv {multiplier}, {bias}", *add_constant(multiplier, p.e.multipliers, other)]
    for pointer, registers, place in (
        (bias, biases, _BIAS_PLACE),
        (multiplier, multipliers, _MULTIPLIER_PLACE),
    ):
        lines += [f"lw {register}, {4 * c}({pointer})" for c, register in enumerate(registers)]
        if p.spills:
            lines += [f"lw {other}, {4 * (p.columns - 1)}({pointer})", f"sw {other}, {place}(sp)"]
    return lines + [f"PV_PACK_H({m}, {m}, {m})" for m in multipliers if not p.e.halfword]
