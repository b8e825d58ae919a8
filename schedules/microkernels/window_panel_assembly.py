"""The assembly of windows of an image that stay in registers, see `window_panel`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tvm_pulp.schedules.microkernels.assembly import AssemblyText

if TYPE_CHECKING:
    from tvm_pulp.schedules.microkernels.stationary_panel import StationaryPanel

_A, _COLUMNS, _C = "a0", "a1", "a2"
_SUMS = ("t3", "t4", "t5")
_WEIGHTS = ("a5", "a6")
_BIAS = "a7"
_WINDOWS = "t0 t1 t2 t6 a3 a4 s0 s1 s2 s3 s4 s5 s6 s7 s8 s9 s10 s11 ra gp tp".split()
_SAVED = "s0 s1 s2 s3 s4 s5 s6 s7 s8 s9 s10 s11 ra gp tp".split()
_FRAME = 64


def _window(p: StationaryPanel, pixel: int) -> list[str]:
    return _WINDOWS[pixel * p.length : (pixel + 1) * p.length]


def gathering(p: StationaryPanel, pixel: int) -> list[str]:
    """Return the instructions that load a window."""
    window, start = _window(p, pixel), pixel * p.a_row
    loads = [f"lw {r}, {start + at}({_A})" for r, (at, _) in zip(window, p.words, strict=False)]
    if not p.gathers:
        return loads
    word, *others = (window[-1], *_SUMS[:2])
    odd = [start + line * p.a_line + p.line_bytes - 1 for line in range(3)]
    bytes_ = [f"lbu {r}, {at}({_A})" for r, at in zip((word, *others), odd, strict=True)]
    return [*bytes_, *loads, *(f"P_INSERT({word}, {r}, 8, {8 * i})" for i, r in enumerate(others, 1))]


def channel_instructions(p: StationaryPanel, pixels: int) -> list[str]:
    """Return the instructions of a channel's results for some windows."""
    e, sums, kind = p.e, _SUMS[:pixels], "SP" if p.signed else "USP"
    words = [_WEIGHTS[i % 2] for i in range(p.length)]
    load = [f"P_LW({register}, 4, {_COLUMNS})" for register in words]
    lines = [load.pop(0)]
    if not e.halfword:
        lines = [f"P_LW({sums[0]}, 4, {_COLUMNS})", *lines, *(f"mv {s}, {sums[0]}" for s in sums[1:])]
    for i, word in enumerate(words):
        lines += [load.pop(0)] if load else []
        dot = "PV_DOT" if e.halfword and i == 0 else "PV_SDOT"
        lines += [f"{dot}{kind}_B({s}, {_window(p, r)[i]}, {word})" for r, s in enumerate(sums)]
        if not load and i == p.length - 2:  # the register of the word before is free
            lines += [f"P_LW({_BIAS}, 4, {_COLUMNS})"] if e.halfword else []
            lines.append(f"P_LW({word}, 4, {_COLUMNS})")
    return lines + _requantize(p, sums, _WEIGHTS[p.length % 2], _WEIGHTS[1 - p.length % 2]) + _store(p, sums)


def _requantize(p: StationaryPanel, sums: tuple[str, ...], multiplier: str, value: str) -> list[str]:
    """Return the instructions from sums to bytes."""
    e, lines = p.e, []
    for s in sums:
        if e.halfword:
            lines.append(f"P_ADDRN({s}, {s}, {_BIAS}, {e.first_shift})")
            lines.append(f"P_MULS_ROUND({s}, {s}, {multiplier}, {e.shift})")
            lines += [f"addi {s}, {s}, {e.zero_point}"] if e.zero_point else []
            lines.append(f"P_CLIPU({s}, {s}, 9)")
        else:
            lines.append(f"P_MULU_SHIFT({value}, {s}, {multiplier}, 16)")
            lines.append(f"P_MACHHS_ROUND({value}, {s}, {multiplier}, {e.shift - 16})")
            lines += [f"addi {value}, {value}, {e.zero_point}"] if e.zero_point else []
            lines.append(f"P_CLIPU({s}, {value}, 9)")
    for bound, name, neutral in ((e.low, "MAX", 0), (e.high, "MIN", 255)):
        if bound != neutral:
            lines += [f"li {value}, {bound}", *(f"P_{name}({s}, {s}, {value})" for s in sums)]
    return lines


def _store(p: StationaryPanel, sums: tuple[str, ...]) -> list[str]:
    """Return the stores of a channel's results; the last one moves on to the next channel."""
    others = [f"sb {s}, {pixel * p.c_row}({_C})" for pixel, s in enumerate(sums) if pixel]
    return [*others, f"P_SB({sums[0]}, 1, {_C})"]


def window_panel_assembly(p: StationaryPanel, pixels: int) -> str:
    """Return the panel of some pixels as C with top-level ``__asm__``."""
    name, text = f"window_panel_{pixels}", AssemblyText()
    channel = channel_instructions(p, pixels)
    group = [line for pixel in range(pixels) for line in gathering(p, pixel)]
    group += [f"li {_SUMS[0]}, {p.c_row}", f"LP_SETUP(0, {_SUMS[0]}, {len(channel)}, 5)"]
    after = [f"addi {_A}, {_A}, {pixels * p.a_row}", f"addi {_COLUMNS}, {_COLUMNS}, {_column_bytes(p)}"]
    after += [f"addi {_C}, {_C}, {(pixels - 1) * p.c_row}"]
    text.add(f'.pushsection .text.{name},"ax",@progbits', ".option push", ".option norvc", ".balign 16")
    text.add(f".type {name}, @function", f"{name}:", f"addi sp, sp, -{_FRAME}")
    text.add(*(f"sw {register}, {4 * i}(sp)" for i, register in enumerate(_SAVED)))
    text.add(f"LP_SETUP(1, a3, {len(group) + len(channel) + len(after)}, 6)")
    text.add(*group, *channel[:-1], "5:", channel[-1], *after[:-1], "6:", after[-1])
    text.add(*(f"lw {register}, {4 * i}(sp)" for i, register in enumerate(_SAVED)))
    text.add(f"addi sp, sp, {_FRAME}", "ret", f".size {name}, .-{name}", ".option pop", ".popsection")
    return f"""\
/* Groups of {pixels} windows side by side. */
void {name}(const void *, const void *, void *, int32_t);
__asm__(
{text}
);"""


def _column_bytes(p: StationaryPanel) -> int:
    """Return what leads from the end of all channels back to the first one."""
    return -4 * (p.length + 2) * p.c_row
