"""Weights of 4 bits to bytes: a word has four values in the low halves of its bytes, four in the high ones.

An arithmetic shift of each byte by 4 extends the signs of the high halves; the low ones are first shifted up,
with the whole word, as what comes from the byte below is shifted out again.
"""

from __future__ import annotations

from tvm_pulp.schedules.microkernels.assembly import AssemblyText
from tvm_pulp.schedules.microkernels.forms import both_forms

GROUP = 8
"""Values in a word. Byte i has value i in its low half and value 4 + i in the high one: so each half of the
bytes unpacks to a word of four values in order."""

CYCLES_A_VALUE = 0.8
"""Of a worker."""

_NAME = "unpack_weight_words"
_WORDS = ("t0", "t1")
_HIGH, _LOW, _FOUR = ("t2", "t3"), ("t4", "t5"), "t6"


def packed_bytes(values: int) -> int:
    """Return the bytes of some packed values: whole words."""
    return -(-values // GROUP) * GROUP // 2


def begins_words(tile: int, extent: int, row_values: int) -> bool:
    """Tell whether all tiles of some rows of a packed weight begin with a word."""
    return tile >= extent or tile * row_values % GROUP == 0


def unpack_weight_source(*, assembly: bool) -> str:
    """Return C for ``unpack_weight_tile``, a worker's share of a tile.

    Parameters
    ----------
    assembly
        Whether the target has Xpulp; plain C is there in any case, for the host.
    """
    words = f"""\
static void {_NAME}(const uint8_t *packed, int8_t *values, int32_t pairs) {{
  unpack_weight_some(packed, values, {2 * GROUP} * pairs);
}}"""
    include = ""
    if assembly:
        include = '#include "pulp_assembly.h"\n\n'
        words = both_forms(_words_assembly(), words)
    return f"""\
{include}static void unpack_weight_some(const uint8_t *packed, int8_t *values, int32_t count) {{
  for (int32_t i = 0; i < count; ++i) {{
    const int32_t byte = packed[i / {GROUP} * {GROUP // 2} + i % {GROUP // 2}];
    const int32_t half = i % {GROUP} < {GROUP // 2} ? byte & 15 : byte >> 4;
    values[i] = (int8_t)((half ^ 8) - 8);
  }}
}}

{words}

/* The share of worker `core` in a tile: pairs of words; the last worker, which may have one less, does the
 * rest, which need not fill a word. */
static void unpack_weight_tile(int core, const uint8_t *packed, int8_t *values, int32_t count) {{
  const int32_t pairs = count / {2 * GROUP};
  const int32_t first = pulp_chunk(core, PULP_CORES, pairs), end = pulp_chunk(core + 1, PULP_CORES, pairs);
  if (end > first) {_NAME}(packed + {GROUP} * first, values + {2 * GROUP} * first, end - first);
  if (core == PULP_CORES - 1 && count > {2 * GROUP} * pairs)
    unpack_weight_some(packed + {GROUP} * pairs, values + {2 * GROUP} * pairs, count - {2 * GROUP} * pairs);
}}"""


def _words_assembly() -> str:
    """Return the loop in assembly: words in a0, values to a1, pairs of words in a2."""
    body = [f"P_LW({word}, 4, a0)" for word in _WORDS]
    for word, high, low in zip(_WORDS, _HIGH, _LOW, strict=True):
        body += [f"slli {low}, {word}, 4", f"PV_SRA_SC_B({high}, {word}, {_FOUR})"]
        body += [f"PV_SRA_SC_B({low}, {low}, {_FOUR})", f"P_SW({low}, 4, a1)", f"P_SW({high}, 4, a1)"]
    text = AssemblyText()
    text.add(f'.pushsection .text.{_NAME},"ax",@progbits', ".option push", ".option norvc", ".balign 16")
    text.add(f".type {_NAME}, @function", f"{_NAME}:", f"li {_FOUR}, 4", f"LP_SETUP(0, a2, {len(body)}, 5)")
    text.add(*body[:-1], "5:", body[-1], "ret", f".size {_NAME}, .-{_NAME}", ".option pop", ".popsection")
    return f"void {_NAME}(const uint8_t *, int8_t *, int32_t);\n__asm__(\n{text}\n);"
