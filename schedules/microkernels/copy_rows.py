"""Copies of rows of bytes within L1, by all workers."""

from __future__ import annotations

from tvm_pulp.schedules.microkernels.assembly import AssemblyText
from tvm_pulp.schedules.microkernels.forms import both_forms

_PAIR = 8
"""Bytes of a pass of the loop: two words, so that no word is stored right after it is loaded."""
_NAME = "copy_pairs"


def copy_rows_source(line: int, source_line: int, pitch: int, *, assembly: bool) -> str:
    """Return C for ``copy_rows``, a worker's share of some rows.

    Parameters
    ----------
    line
        Bytes of a row.
    source_line, pitch
        Bytes from a row to the next one, where they are and where they go.
    assembly
        Whether the target has Xpulp; plain C is there in any case, for the host.
    """
    pairs = f"""\
static void {_NAME}(uint8_t *to, const uint8_t *from, int32_t pairs) {{
  for (int32_t i = 0; i < {_PAIR} * pairs; ++i) to[i] = from[i];
}}"""
    if assembly:
        pairs = both_forms(_pairs_assembly(), pairs)
    return f"""\
/* Pairs of words, at any address. */
{pairs}

/* The share of worker `core` in rows of {line} bytes: a run of bytes, which may begin and end within rows. */
static void copy_rows(int core, const uint8_t *from, uint8_t *to, int32_t rows) {{
  const int32_t total = rows * {line}, shares = (total + {_PAIR - 1}) / {_PAIR};
  const int32_t end = pulp_min({_PAIR} * pulp_chunk(core + 1, PULP_CORES, shares), total);
  for (int32_t at = {_PAIR} * pulp_chunk(core, PULP_CORES, shares); at < end;) {{
    const int32_t row = at / {line}, first = at - row * {line}, bytes = pulp_min({line} - first, end - at);
    const uint8_t *const source = from + row * {source_line} + first;
    uint8_t *const result = to + row * {pitch} + first;
    if (bytes >= {_PAIR}) {_NAME}(result, source, bytes / {_PAIR});
    for (int32_t i = bytes / {_PAIR} * {_PAIR}; i < bytes; ++i) result[i] = source[i];
    at += bytes;
  }}
}}
"""


def _pairs_assembly() -> str:
    """Return the loop in assembly: to a0, from a1, pairs of words in a2, at least one."""
    body = ["P_LW(t0, 4, a1)", "P_LW(t1, 4, a1)", "P_SW(t0, 4, a0)", "P_SW(t1, 4, a0)"]
    text = AssemblyText()
    text.add(f'.pushsection .text.{_NAME},"ax",@progbits', ".option push", ".option norvc", ".balign 16")
    text.add(f".type {_NAME}, @function", f"{_NAME}:", f"LP_SETUP(0, a2, {len(body)}, 5)")
    text.add(*body[:-1], "5:", body[-1], "ret", f".size {_NAME}, .-{_NAME}", ".option pop", ".popsection")
    return f"void {_NAME}(uint8_t *, const uint8_t *, int32_t);\n__asm__(\n{text}\n);"
