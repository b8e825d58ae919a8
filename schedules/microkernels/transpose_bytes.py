"""Matrices of bytes rearranged for packed dot products, to words of a sum one below the other.

``[k][columns]`` becomes words ``[k / 4][columns]``: a word has four values of one column, the first one in
the lowest byte, and zeros behind the last row. Workers transpose 4 x 4 bytes in registers (``byte_planes``),
18 instructions for 16 bytes. A matrix whose sums are rows of part words is gathered byte by byte.
"""

from __future__ import annotations

from tvm_pulp.schedules.microkernels.assembly import AssemblyText
from tvm_pulp.schedules.microkernels.byte_planes import TRANSPOSITION_CONSTANTS, transpose_four, transposed

_SOURCE, _WORDS, _COUNT, _COLUMNS, _PITCH = "a0", "a1", "a2", "a3", "a4"
_ROWS = ("a5", "a6", "a7", "s0")

_C = """\
/* Some words of four neighbouring columns, one below the other. */
static void transpose_byte_words(const uint8_t *source, uint32_t *words, int32_t count, int32_t columns,
                                 int32_t pitch) {
  for (; count > 0; --count, source += 4 * columns, words += pitch / 4)
    for (int32_t c = 0; c < 4; ++c) {
      words[c] = 0;
      for (int32_t i = 0; i < 4; ++i) words[c] |= (uint32_t)source[i * columns + c] << 8 * i;
    }
}"""

_FULL_WORDS = """\
  const int32_t full = {full}, total = columns / 4 * full, end = pulp_chunk(core + 1, PULP_CORES, total);
  for (int32_t at = pulp_chunk(core, PULP_CORES, total); at < end;) {{
    const int32_t group = at / full, first = at - group * full, count = pulp_min(full - first, end - at);
    transpose_byte_words(source + first * 4 * columns + 4 * group, words + first * (pitch / 4) + 4 * group,
                         count, columns, pitch);
    at += count;
  }}
"""


def transpose_bytes_source(k: int, *, assembly: bool) -> str:
    """Return C for ``transpose_bytes``, a worker's share of a matrix.

    Parameters
    ----------
    k
        Rows of the matrix.
    assembly
        Whether the target has Xpulp; plain C is there in any case, for the host.
    """
    words = _C if k >= 4 else ""
    if words and assembly:
        words = f'#include "pulp_assembly.h"\n\n#if PULP_ASSEMBLY\n\n{_assembly()}\n\n#else\n\n{_C}\n\n#endif'
    return f"""\
{words}

/* The share of worker `core` in {k} rows of bytes: words of each column, `pitch` bytes from one to that
 * below. */
static void transpose_bytes(int core, const void *matrix, void *place, int32_t columns, int32_t pitch) {{
  const uint8_t *source = matrix;
  uint32_t *words = place;
{_FULL_WORDS.format(full=k // 4) if k >= 4 else ""}\
  for (int32_t c = core; c < columns; c += PULP_CORES) /* what whole groups of four leave over */
    for (int32_t word = c < columns / 4 * 4 ? {k // 4} : 0; word < {-(-k // 4)}; ++word) {{
      uint32_t value = 0;
      for (int32_t i = 0; i < pulp_min(4, {k} - 4 * word); ++i)
        value |= (uint32_t)source[(4 * word + i) * columns + c] << 8 * i;
      words[word * (pitch / 4) + c] = value;
    }}
}}"""


def gather_words_source(k: int) -> str:
    """Return C for ``gather_words``, a worker's share of a matrix of rows of k bytes."""
    rest = "".join(f" | (uint32_t)source[{i}] << {8 * i}" for i in range(1, k % 4))
    last = f"    *words = (uint32_t)source[0]{rest};\n" if k % 4 else ""
    return f"""\
/* The share of worker `core` in rows of {k} bytes: words of each row, `pitch` bytes from one to the next. */
static void gather_words(int core, const void *matrix, void *place, int32_t rows, int32_t pitch) {{
  for (int32_t row = core; row < rows; row += PULP_CORES) {{
    const uint8_t *source = (const uint8_t *)matrix + row * {k};
    uint32_t *words = (uint32_t *)place + row;
    for (int32_t word = 0; word < {k // 4}; ++word, source += 4, words += pitch / 4)
      *words = (uint32_t)source[0] | (uint32_t)source[1] << 8 | (uint32_t)source[2] << 16 |
               (uint32_t)source[3] << 24;
{last}  }}
}}"""


def _assembly() -> str:
    name = "transpose_byte_words"
    text = AssemblyText()
    loads = [f"P_LWR({register}, {_COLUMNS}, {_SOURCE})" for register in _ROWS]
    stores = [f"sw {register}, {4 * i}({_WORDS})" for i, register in enumerate(transposed(_ROWS)) if i]
    body = [*loads, *transpose_four(_ROWS), *stores, f"P_SWR({transposed(_ROWS)[0]}, {_PITCH}, {_WORDS})"]
    text.add(f'.pushsection .text.{name},"ax",@progbits', ".option push", ".option norvc", ".balign 16")
    text.add(f".type {name}, @function", f"{name}:", "addi sp, sp, -16", "sw s0, 0(sp)")
    text.add(*TRANSPOSITION_CONSTANTS)
    text.add(f"LP_SETUP(0, {_COUNT}, {len(body)}, 5)", *body[:-1], "5:", body[-1])
    text.add(
        "lw s0, 0(sp)", "addi sp, sp, 16", "ret", f".size {name}, .-{name}", ".option pop", ".popsection"
    )
    return f"""\
/* Some words of four neighbouring columns, one below the other. */
void {name}(const uint8_t *, uint32_t *, int32_t, int32_t, int32_t);
__asm__(
{text}
);"""
