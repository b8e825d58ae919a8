"""Latents on their way out: float32 values, or a frozen stage's bytes, to packed integers of few bits.

The format is UINT-Q's, see `passes.quantized.uint_q`. A fused multiply-add with 1.5 * 2^23 rounds, two
comparisons of integers clip, and bit fields are inserted into words. Groups of values that end with a word
are shared out over the workers; the assembly keeps a group in a hardware loop, loads running ahead.
"""

from __future__ import annotations

from dataclasses import dataclass

from tvm_pulp.schedules.microkernels.assembly import AssemblyText, float_bits

_MAGIC = 0x4B400000
"""The bits of 1.5 * 2^23; those of 1.5 * 2^23 + i, for small i, are i more."""

_LOADED = ("s0", "s1", "a4", "a5")
_VALUES = ("a6", "a7", "t5", "t6")
_WORDS = ("s2", "s3")
_SAVED = ("s0", "s1", "s2", "s3")
_RECIPROCAL, _ROUND, _HIGH, _LOW, _POWER, _TABLE = "t0", "t1", "t2", "t3", "t4", "a3"
_AHEAD = 2
"""Steps by which a load, or a look-up, runs ahead of its use."""


@dataclass(frozen=True)
class PackSettings:
    """What the code depends on.

    Attributes
    ----------
    bits : int
        Q.
    zero_point : int
        The integer of 0.
    reciprocal : float
        The float32 that values are multiplied by; None where the source are bytes for a table.
    non_negative : bool
        Whether no value is below 0: then nothing is clipped from below.
    """

    bits: int
    zero_point: int
    reciprocal: float | None
    non_negative: bool = False

    @property
    def group(self) -> int:
        """Values of a group: they fill whole words, and their code fits the core's own cache."""
        return 32 if self.bits % 2 else 16

    @property
    def largest(self) -> int:
        """The largest integer."""
        return 2**self.bits - 1


def group_bytes(bits: int, group: int) -> int:
    """Return the bytes of a group of packed values."""
    return group * bits // 8


def pack_source(s: PackSettings, *, assembly: bool) -> str:
    """Return C for ``latents_pack``, a worker's share of a tile of float32 values."""
    one = f"""\
/* The integer of a value, see uint_q: the nearest one, halves to even, clipped. */
static inline int32_t latents_quantize(float value) {{
  const int32_t rounded = pulp_float_as_int(__builtin_fmaf(value, {_hex_float(s)}, 12582912.0f));
  return pulp_min(pulp_max(rounded, {_MAGIC - s.zero_point}), {_MAGIC + s.largest - s.zero_point}) - \
{_MAGIC - s.zero_point};
}}"""
    plain = _plain(s.bits, "const float *values", "latents_quantize(values[i])")
    return _source(s, "float", one, plain, _groups_assembly(s) if assembly else "", "")


def repack_source(s: PackSettings, table: list[int], *, assembly: bool) -> str:
    """Return C for ``latents_pack``, a worker's share of a tile of bytes, and ``latents_table``.

    Parameters
    ----------
    s
        Settings without a reciprocal.
    table
        The integer for each of the 256 bytes.
    assembly
        Whether the target has Xpulp.
    """
    numbers = [f"  {', '.join(str(v) for v in table[i : i + 16])}" for i in range(0, 256, 16)]
    rows = ",\n".join(numbers)
    one = f"""\
static const uint8_t latents_integers[256] __attribute__((aligned(4))) = {{
{rows}}};

/* A worker's share of the table's way to L1, word by word. */
static void latents_table(int core, uint8_t *table) {{
  const int32_t end = pulp_chunk(core + 1, PULP_CORES, 64);
  for (int32_t i = pulp_chunk(core, PULP_CORES, 64); i < end; ++i)
    __builtin_memcpy(table + 4 * i, latents_integers + 4 * i, 4);
}}"""
    plain = _plain(s.bits, "const uint8_t *values, const uint8_t *table", "table[values[i]]")
    return _source(s, "uint8_t", one, plain, _groups_assembly(s) if assembly else "", "table")


def _hex_float(s: PackSettings) -> str:
    assert s.reciprocal is not None
    return f"{s.reciprocal.hex()}f"


def _plain(bits: int, arguments: str, value: str) -> str:
    return f"""\
static void latents_pack_some({arguments}, uint8_t *packed, int32_t count) {{
  uint32_t stream = 0;
  int32_t filled = 0;
  for (int32_t i = 0; i < count; ++i) {{
    stream |= (uint32_t){value} << filled;
    for (filled += {bits}; filled >= 8; filled -= 8, stream >>= 8) *packed++ = (uint8_t)stream;
  }}
  if (filled) *packed = (uint8_t)stream;
}}"""


def _source(s: PackSettings, item: str, one: str, plain: str, assembly: str, table: str) -> str:
    """Put the parts together: one value, some values in plain C, groups in assembly, and a worker's share."""
    declared, passed = (", const uint8_t *table", ", table") if table else ("", "")
    size = group_bytes(s.bits, s.group)
    groups = f"""\
static void latents_pack_groups(const {item} *values, uint8_t *packed, int32_t groups{declared}) {{
  latents_pack_some(values{passed}, packed, groups * {s.group});
}}"""
    if assembly:
        groups = f"#if PULP_ASSEMBLY\n\n{assembly}\n\n#else\n\n{groups}\n\n#endif"
    return f"""\
{'#include "pulp_assembly.h"' if assembly else ""}

{one}

{plain}

{groups}

/* The share of worker `core` in a tile: groups of {s.group}; the last worker, which may have one less, does
 * the rest, which need not fill a byte. */
static void latents_pack(int core, const void *tile, uint8_t *packed, int32_t count{declared}) {{
  const {item} *values = tile;
  const int32_t groups = count / {s.group};
  const int32_t first = pulp_chunk(core, PULP_CORES, groups);
  const int32_t end = pulp_chunk(core + 1, PULP_CORES, groups);
  if (end > first)
    latents_pack_groups(values + first * {s.group}, packed + first * {size}, end - first{passed});
  if (core == PULP_CORES - 1 && count > groups * {s.group})
    latents_pack_some(values + groups * {s.group}{passed}, packed + groups * {size},
                      count - groups * {s.group});
}}"""


def _groups_assembly(s: PackSettings) -> str:
    """Return ``latents_pack_groups`` in assembly: values in a0, words to a1, groups in a2, table in a3."""
    text, name = AssemblyText(), "latents_pack_groups"
    body = _Group(s).body()
    text.add(f'.pushsection .text.{name},"ax",@progbits', ".option push", ".option norvc", ".balign 16")
    text.add(f".type {name}, @function", f"{name}:", f"addi sp, sp, -{4 * len(_SAVED)}")
    text.add(*(f"sw {register}, {4 * i}(sp)" for i, register in enumerate(_SAVED)))
    if s.reciprocal is not None:
        base = _MAGIC - s.zero_point
        text.add(f"li {_RECIPROCAL}, {float_bits(s.reciprocal)}", f"li {_ROUND}, {_MAGIC}")
        text.add(f"li {_LOW}, {base}", f"li {_HIGH}, {base + s.largest}")
    text.add(f"li {_POWER}, {2**s.bits}", f"LP_SETUP(0, a2, {len(body)}, 5)")
    text.add(*body[:-1], "5:", body[-1])
    text.add(*(f"lw {register}, {4 * i}(sp)" for i, register in enumerate(_SAVED)))
    text.add(
        f"addi sp, sp, {4 * len(_SAVED)}", "ret", f".size {name}, .-{name}", ".option pop", ".popsection"
    )
    arguments = "const float *, uint8_t *, int32_t"
    if s.reciprocal is None:
        arguments = "const uint8_t *, uint8_t *, int32_t, const uint8_t *"
    return f"void {name}({arguments});\n__asm__(\n{text}\n);"


class _Group:
    """The instructions for a group of values; `bits` and a value's place in the stream say where it goes."""

    def __init__(self, s: PackSettings) -> None:
        self.s = s

    def body(self) -> list[str]:
        """Return the loop's body: loads, then integers, then bit fields, each step behind the one before."""
        lines: list[str] = []
        steps = self.s.group
        merge_behind = 0 if self.s.reciprocal is not None else _AHEAD
        for step in range(steps + _AHEAD + merge_behind):
            if step < steps:
                lines.append(self.load(step))
            if 0 <= step - _AHEAD < steps:
                lines += self.integer(step - _AHEAD)
            if 0 <= step - _AHEAD - merge_behind < steps:
                lines += self.merge(step - _AHEAD - merge_behind)
        return lines

    def place(self, i: int) -> tuple[int, int]:
        """Return the word and the bit where a value starts."""
        return divmod(i * self.s.bits, 32)

    def crosses(self, i: int) -> bool:
        """Tell whether a value lies in two words."""
        return self.place(i)[1] + self.s.bits > 32

    def register(self, i: int) -> str:
        """Return where a value's integer comes to lie: in the word that it starts, else by itself.

        A value in two words starts the second: its integer is shifted when the next one is merged.
        """
        word, bit = self.place(i)
        if self.s.bits == 8:
            return _VALUES[i % 4]
        if bit == 0 or self.crosses(i):
            return _WORDS[(word + self.crosses(i)) % 2]
        return _VALUES[i % 4]

    def load(self, i: int) -> str:
        if self.s.reciprocal is None:
            return f"P_LBU({_LOADED[i % 4]}, 1, a0)"
        return f"P_LW({_LOADED[i % 4]}, 4, a0)"

    def integer(self, i: int) -> list[str]:
        """Return the way from what was loaded to the integer; above its bits there may be others."""
        to, loaded = self.register(i), _LOADED[i % 4]
        if self.s.reciprocal is None:
            return [f"P_LBU_AT({to}, {loaded}, {_TABLE})"]
        lines = [f"fmadd.s {to}, {loaded}, {_RECIPROCAL}, {_ROUND}"]
        if not self.s.non_negative:
            lines.append(f"P_MAX({to}, {to}, {_LOW})")
        lines.append(f"P_MIN({to}, {to}, {_HIGH})")
        if self.s.zero_point:
            lines.append(f"addi {to}, {to}, {self.s.zero_point}")
        return lines

    def merge(self, i: int) -> list[str]:
        """Return how an integer joins the others; a word that is full is stored."""
        bits, (word, bit) = self.s.bits, self.place(i)
        if bits == 8:
            return self.merge_byte(i)
        into, value = _WORDS[word % 2], self.register(i)
        store = [f"P_SW({into}, 4, a1)"]
        if bit == 0:
            return []
        if self.crosses(i):
            return [f"P_INSERT({into}, {value}, {32 - bit}, {bit})", *store]
        if i and self.crosses(i - 1):
            return [f"P_MACU_SHIFT({into}, {value}, {_POWER}, {bits - bit})"]
        return [f"P_INSERT({into}, {value}, {bits}, {bit})", *(store if bit + bits == 32 else [])]

    def merge_byte(self, i: int) -> list[str]:
        """Return how bytes make up words: two at a time."""
        word = _WORDS[0]
        if i % 4 == 1:
            return [f"PV_PACKLO_B({word}, {_VALUES[1]}, {_VALUES[0]})"]
        if i % 4 == 3:
            return [f"PV_PACKHI_B({word}, {_VALUES[3]}, {_VALUES[2]})", f"P_SW({word}, 4, a1)"]
        return []
