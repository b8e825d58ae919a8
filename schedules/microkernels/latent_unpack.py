"""Latents on their way in: densely packed integers of few bits to float32 values.

The format is UINT-Q's, see `passes.quantized.uint_q`. No integer is converted: a field q at bit s, with
the exponent of a power of two 2^e above it, *is* the float ``2^e + q * 2^(s + e - 23)``, and one fused
multiply-add takes 2^e off and scales, rounding once.

A *window* is a register of three bytes of the stream below a top byte of ones, so that one ``and`` makes
such a float of each field that lies in its low 23 bits: the mask keeps the field and, of the top byte, an
exponent. For a field at bit s that is ``e = 23 - s`` (s even: the float is 2^e + q) or ``24 - s`` (odd:
2^e + 2q, as the lowest bit of the exponent belongs to the window). Bytes are moved into a window by one
instruction. One that reaches into the next word takes another, unless that word's own window is there: then
the bytes of the word before are moved in front of its first ones, and its own values come first.
"""

from __future__ import annotations

from dataclasses import dataclass

from tvm_pulp.schedules.microkernels.assembly import AssemblyText, float_bits
from tvm_pulp.schedules.microkernels.latent_pack import group_bytes

_WINDOWS: dict[int, tuple[tuple[int, int], ...]] = {
    8: tuple((byte, 1) for byte in range(16)),
    7: ((0, 3), (2, 2), (4, 2), (6, 1), (7, 3), (9, 2), (11, 2), (13, 1),
        (14, 3), (16, 2), (18, 2), (20, 1), (21, 3), (23, 2), (25, 2), (27, 1)),
    6: ((0, 3), (2, 3), (4, 2), (6, 3), (8, 3), (10, 2)),
}  # fmt: skip
"""Bits → a group's windows, first byte and number of fields: those with the fewest instructions of all whose
constants have a register."""

_BYTE_SELECTORS = (0x03020104, 0x03020105, 0x03020106, 0x03020107)
_WINDOW_SELECTORS = {1: 0x03070605, 2: 0x03000706, 3: 0x03010007}
"""First byte in the word → selectors of a window: bytes from there on, then its own first ones."""

_WINDOW, _FLOAT, _FIELDS = "a2", "a3", ("s0", "s1")
_WORDS = ("a4", "a5")
_CONSTANTS = ("t0", "t1", "t2", "t3", "t4", "t5", "t6", "a6", "a7", "ra",
              "s2", "s3", "s4", "s5", "s6", "s7", "s8", "s9", "s10", "s11")  # fmt: skip
_SAVED = ("ra", "s0", "s1", "s2", "s3", "s4", "s5", "s6", "s7", "s8", "s9", "s10", "s11")


@dataclass(frozen=True)
class UnpackSettings:
    """What the code depends on.

    Attributes
    ----------
    bits : int
        Q.
    zero_point : int
        The integer of 0.
    scale : float
        S, a float32.
    """

    bits: int
    zero_point: int
    scale: float

    @property
    def group(self) -> int:
        """Values of a group: they fill whole words, and their code fits the core's own cache."""
        return 32 if self.bits % 2 else 16


def unpack_source(s: UnpackSettings, *, assembly: bool) -> str:
    """Return C for ``latents_unpack``, a worker's share of a tile."""
    size = group_bytes(s.bits, s.group)
    groups = f"""\
static void latents_unpack_groups(const uint8_t *packed, float *values, int32_t groups) {{
  latents_unpack_some(packed, values, groups * {s.group});
}}"""
    include = ""
    if assembly and s.bits in _WINDOWS:
        include = '#include "pulp_assembly.h"\n\n'
        groups = f"#if PULP_ASSEMBLY\n\n{_groups_assembly(s)}\n\n#else\n\n{groups}\n\n#endif"
    offset = f" - {s.zero_point}" if s.zero_point else ""
    return f"""\
{include}static void latents_unpack_some(const uint8_t *packed, float *values, int32_t count) {{
  uint32_t stream = 0;
  int32_t filled = 0;
  for (int32_t i = 0; i < count; ++i, stream >>= {s.bits}, filled -= {s.bits}) {{
    for (; filled < {s.bits}; filled += 8) stream |= (uint32_t)*packed++ << filled;
    values[i] = (float)((int32_t)(stream & {2**s.bits - 1}){offset}) * {s.scale.hex()}f;
  }}
}}

{groups}

/* The share of worker `core` in a tile: groups of {s.group}; the last worker, which may have one less, does
 * the rest, which need not fill a byte. */
static void latents_unpack(int core, const uint8_t *packed, float *values, int32_t count) {{
  const int32_t groups = count / {s.group};
  const int32_t first = pulp_chunk(core, PULP_CORES, groups);
  const int32_t end = pulp_chunk(core + 1, PULP_CORES, groups);
  if (end > first) latents_unpack_groups(packed + first * {size}, values + first * {s.group}, end - first);
  if (core == PULP_CORES - 1 && count > groups * {s.group})
    latents_unpack_some(packed + groups * {size}, values + groups * {s.group}, count - groups * {s.group});
}}"""


def _groups_assembly(s: UnpackSettings) -> str:
    """Return ``latents_unpack_groups`` in assembly: words in a0, values to a1, groups in a2."""
    text, name, group = AssemblyText(), "latents_unpack_groups", _Group(s)
    body = group.body()
    text.add(f'.pushsection .text.{name},"ax",@progbits', ".option push", ".option norvc", ".balign 16")
    text.add(f".type {name}, @function", f"{name}:", f"addi sp, sp, -{4 * len(_SAVED)}")
    text.add(*(f"sw {register}, {4 * i}(sp)" for i, register in enumerate(_SAVED)))
    text.add(*(f"li {register}, {value}" for value, register in group.constants.items()))
    text.add("mv s0, a2", f"li {_WINDOW}, 0x7f000000", f"li {_FLOAT}, {float_bits(2.0**23)}")
    text.add(f"LP_SETUP(0, s0, {len(body)}, 5)", *body[:-1], "5:", body[-1])
    text.add(*(f"lw {register}, {4 * i}(sp)" for i, register in enumerate(_SAVED)))
    text.add(
        f"addi sp, sp, {4 * len(_SAVED)}", "ret", f".size {name}, .-{name}", ".option pop", ".popsection"
    )
    return f"void {name}(const uint8_t *, float *, int32_t);\n__asm__(\n{text}\n);"


class _Group:
    """The instructions for a group of values, and the constants that they need, by their bits."""

    def __init__(self, s: UnpackSettings) -> None:
        self.s = s
        self.constants: dict[int, str] = {}
        self.lines: list[str] = []
        self.loaded = -1
        self.fields = 0
        self.reorders = s.bits < 8  # values of a window before those of the one before

    def body(self) -> list[str]:
        """Return the loop's body."""
        windows, first = list(_WINDOWS[self.s.bits]), 0
        while windows:
            byte, fields = windows.pop(0)
            following = 4 * (byte // 4 + 1)
            reaches = (first + fields) * self.s.bits > 8 * following
            if reaches and windows and windows[0][0] == following:
                _, more = windows.pop(0)
                self.two_windows(byte, first, fields, more)
                first += more
            else:
                self.window(byte, first, fields)
            first += fields
        if self.reorders:
            self.lines.append(f"addi a1, a1, {4 * self.s.group}")
        return self.lines

    def two_windows(self, byte: int, first: int, fields: int, more: int) -> None:
        """Write the way of values that reach into the next word, after that of the first ones in there."""
        number, start = divmod(byte, 4)
        word = self.word(number)
        self.lines.append(f"P_INSERT({_WINDOW}, {_WORDS[(number + 1) % 2]}, 23, 0)")
        self.in_window(4 * (number + 1), first + fields, more)
        self.lines.append(f"PV_SHUFFLE2_B({_WINDOW}, {word}, {self.constant(_WINDOW_SELECTORS[start])})")
        self.word(number + 1)  # the word after the next is loaded long before its use
        self.in_window(byte, first, fields)

    def constant(self, bits: int) -> str:
        """Return the register that holds a constant."""
        bits = bits - 2**32 if bits >= 2**31 else bits
        if bits not in self.constants:
            self.constants[bits] = _CONSTANTS[len(self.constants)]
        return self.constants[bits]

    def word(self, number: int) -> str:
        """Return the register with a word of the stream; it and the next one are loaded by then."""
        last = self.s.group * self.s.bits // 32 - 1
        while self.loaded < min(number + 1, last):
            self.loaded += 1
            self.lines.append(f"P_LW({_WORDS[self.loaded % 2]}, 4, a0)")
        return _WORDS[number % 2]

    def window(self, byte: int, first: int, fields: int) -> None:
        """Write the way of one or several values that start in three bytes of the stream."""
        bits = self.s.bits
        number, start = divmod(byte, 4)
        word = self.word(number)
        at = first * bits - 8 * byte
        if bits == 8:
            self.lines.append(f"PV_SHUFFLE2_B({_FLOAT}, {word}, {self.constant(_BYTE_SELECTORS[start])})")
            return self.finish(first, _FLOAT, 0)
        if fields == 1:  # alone in its byte: shifted, it needs no window
            self.lines += [
                f"srli {_FIELDS[0]}, {word}, {8 * start + at}",
                f"P_INSERT({_FLOAT}, {_FIELDS[0]}, {bits}, 0)",
            ]
            return self.finish(first, _FLOAT, 0)
        if start == 0:
            self.lines.append(f"P_INSERT({_WINDOW}, {word}, 23, 0)")
        else:
            selectors = self.constant(_WINDOW_SELECTORS[start])
            self.lines.append(f"PV_SHUFFLE2_B({_WINDOW}, {word}, {selectors})")
        there = 32 - 8 * start
        if at + fields * bits > there:
            following = _WORDS[(number + 1) % 2]
            self.lines.append(f"P_INSERT({_WINDOW}, {following}, {23 - there}, {there})")
        self.in_window(byte, first, fields)

    def in_window(self, byte: int, first: int, fields: int) -> None:
        """Write the way of values in a window that starts with a byte of the stream."""
        for value in range(first, first + fields):
            self.field(value, value * self.s.bits - 8 * byte)

    def field(self, value: int, at: int) -> None:
        """Write the way of a value in the window."""
        bits = self.s.bits
        if at == 0:
            self.lines.append(f"P_INSERT({_FLOAT}, {_WINDOW}, {bits}, 0)")
            return self.finish(value, _FLOAT, 0)
        register = _FIELDS[self.fields % 2]
        self.fields += 1
        mask = float_bits(2.0 ** (23 - at + at % 2)) | (2**bits - 1) << at
        self.lines.append(f"and {register}, {_WINDOW}, {self.constant(mask)}")
        self.finish(value, register, at)

    def finish(self, value: int, register: str, at: int) -> None:
        """Take off what is there beside the value, scale, store; `at` is the field's place."""
        s = self.s
        unit = 1 + at % 2  # what the float has for an integer's 1
        scale = self.constant(float_bits(s.scale / unit))
        if s.zero_point:
            zero = self.constant(float_bits(2.0 ** (23 - at + at % 2) + unit * s.zero_point))
            to = _FIELDS[0]
            self.lines += [f"fsub.s {to}, {register}, {zero}", f"fmul.s {to}, {to}, {scale}"]
        else:
            to = _FIELDS[0] if register == _FLOAT else register
            off = self.constant(float_bits(-s.scale * 2.0 ** (23 - at)))
            self.lines.append(f"fmadd.s {to}, {register}, {scale}, {off}")
        self.lines.append(f"sw {to}, {4 * value}(a1)" if self.reorders else f"P_SW({to}, 4, a1)")
