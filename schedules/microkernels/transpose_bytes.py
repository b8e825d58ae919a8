"""Matrices of bytes rearranged for packed dot products, to words of a sum one below the other.

``[k][columns]`` becomes words ``[k / 4][columns]``: a word has four values of one column, the first one in
the lowest byte, and zeros behind the last row. Workers transpose 4 x 4 bytes in registers (``byte_planes``),
18 instructions for 16 bytes. Rows of part words are gathered by loads of words at any address.
"""

from __future__ import annotations

from collections.abc import Collection

from tvm_pulp.schedules.microkernels.assembly import AssemblyText
from tvm_pulp.schedules.microkernels.byte_planes import TRANSPOSITION_CONSTANTS, transpose_four, transposed
from tvm_pulp.schedules.microkernels.forms import INCLUDE, both_forms

_SOURCE, _WORDS, _COUNT, _COLUMNS, _PITCH = "a0", "a1", "a2", "a3", "a4"
_ROWS = ("a5", "a6", "a7", "a2")
"""The count's register is free once the loop is set up."""
_GROUP = 4
"""Columns that are transposed together."""


def transpose_bytes_source(k: int, rests: Collection[int], *, assembly: bool) -> str:
    """Return C for ``transpose_bytes``, a worker's share of a matrix.

    Parameters
    ----------
    k
        Rows of the matrix.
    rests
        Columns that groups of four leave over, over all tiles; 0 is ignored.
    assembly
        Whether the target has Xpulp; plain C is there in any case, for the host.
    """
    full = k // 4
    kept = [_GROUP, *sorted(rest for rest in rests if rest)] if full else []
    words = "\n\n".join(_C.format(name=_name(n), kept=n, skipped=_GROUP - n) for n in kept)
    if words and assembly:
        fast = "\n\n".join(_assembly(n) for n in kept)
        words = f"{INCLUDE}\n\n{both_forms(fast, words)}"
    calls = "".join(_CALL.format(rest=n, name=_name(n), back=_GROUP - n) for n in kept[1:])
    groups = _FULL_WORDS.format(full=full, name=_name(_GROUP), calls=calls) if full else ""
    return f"""\
{words}

/* The share of worker `core` in {k} rows of bytes: words of each column, `pitch` bytes from one to that
 * below. */
static void transpose_bytes(int core, const void *matrix, void *place, int32_t columns, int32_t pitch) {{
  const uint8_t *source = matrix;
  uint32_t *words = place;
{groups}\
  for (int32_t c = core; c < columns; c += PULP_CORES) /* part words, and all of few columns */
    for (int32_t word = columns < {_GROUP} ? 0 : {full}; word < {-(-k // 4)}; ++word) {{
      uint32_t value = 0;
      for (int32_t i = 0; i < pulp_min(4, {k} - 4 * word); ++i)
        value |= (uint32_t)source[(4 * word + i) * columns + c] << 8 * i;
      words[word * (pitch / 4) + c] = value;
    }}
}}"""


_C = """\
/* Some words of the last {kept} of four neighbouring columns, one below the other. */
static void {name}(const uint8_t *source, uint32_t *words, int32_t count, int32_t columns,
                               int32_t pitch) {{
  for (; count > 0; --count, source += 4 * columns, words += pitch / 4)
    for (int32_t c = 0; c < {kept}; ++c) {{
      words[c] = 0;
      for (int32_t i = 0; i < 4; ++i) words[c] |= (uint32_t)source[i * columns + c + {skipped}] << 8 * i;
    }}
}}"""

_FULL_WORDS = """\
  const int32_t full = {full}, groups = columns < 4 ? 0 : (columns + 3) / 4, total = groups * full;
  const int32_t end = pulp_chunk(core + 1, PULP_CORES, total);
  for (int32_t at = pulp_chunk(core, PULP_CORES, total); at < end;) {{
    const int32_t group = at / full, first = at - group * full, count = pulp_min(full - first, end - at);
    const uint8_t *from = source + first * 4 * columns + 4 * group;
    uint32_t *to = words + first * (pitch / 4) + 4 * group;
    if (columns - 4 * group >= 4) {name}(from, to, count, columns, pitch);
{calls}\
    at += count;
  }}
"""

_CALL = """\
    if (columns - 4 * group == {rest}) {name}(from - {back}, to, count, columns, pitch);
"""


def gather_words_source(k: int, *, assembly: bool) -> str:
    """Return C for ``gather_words``, a worker's share of a matrix of rows of k bytes.

    Parameters
    ----------
    k
        Bytes of a row.
    assembly
        Whether the target has Xpulp; plain C is there in any case, for the host.
    """
    row = _gather_row_c(k)
    if assembly and k >= 4:
        fast = _gather_row_assembly(k)
        row = f"{INCLUDE}\n\n{both_forms(fast, row)}"
    return f"""\
{row}

/* The share of worker `core` in rows of {k} bytes: words of each row, `pitch` bytes from one to the next. */
static void gather_words(int core, const void *matrix, void *place, int32_t rows, int32_t pitch) {{
  for (int32_t row = core; row < rows; row += PULP_CORES)
    gather_row((const uint8_t *)matrix + row * {k}, (uint32_t *)place + row, pitch);
}}"""


_GATHER_COMMENT = "/* A row of {k} bytes as words, zeros behind it, `pitch` bytes from one to the next. */"


def _gather_row_c(k: int) -> str:
    rest = "".join(f" | (uint32_t)source[{i}] << {8 * i}" for i in range(1, k % 4))
    last = f"  *words = (uint32_t)source[0]{rest};\n" if k % 4 else ""
    return f"""\
{_GATHER_COMMENT.format(k=k)}
static void gather_row(const uint8_t *source, uint32_t *words, int32_t pitch) {{
  for (int32_t word = 0; word < {k // 4}; ++word, source += 4, words += pitch / 4)
    *words = (uint32_t)source[0] | (uint32_t)source[1] << 8 | (uint32_t)source[2] << 16 |
             (uint32_t)source[3] << 24;
{last}}}"""


def _gather_row_assembly(k: int) -> str:
    """Return the same in assembly: words at any address, which take a cycle more than aligned ones."""
    text, pitch, values = AssemblyText(), "a2", ("t0", "t1")
    full, rest = divmod(k, 4)
    pair = [f"P_LW({value}, 4, {_SOURCE})" for value in values]
    pair += [f"P_SWR({value}, {pitch}, {_WORDS})" for value in values]
    text.add('.pushsection .text.gather_row,"ax",@progbits', ".option push", ".option norvc", ".balign 16")
    text.add(".type gather_row, @function", "gather_row:")
    if full >= 2:
        text.add(f"li t2, {full // 2}", f"LP_SETUP(0, t2, {len(pair)}, 5)", *pair[:-1], "5:", pair[-1])
    if full % 2:
        text.add(pair[0], pair[2])
    if rest:  # the last four bytes, without those before
        text.add(f"lw t0, {rest - 4}({_SOURCE})", f"srli t0, t0, {8 * (4 - rest)}", f"sw t0, 0({_WORDS})")
    text.add("ret", ".size gather_row, .-gather_row", ".option pop", ".popsection")
    return f"""\
{_GATHER_COMMENT.format(k=k)}
void gather_row(const uint8_t *, uint32_t *, int32_t);
__asm__(
{text}
);"""


def _name(kept: int) -> str:
    """Return the name of the function that transposes the last `kept` of four columns."""
    return f"transpose_{kept}_columns"


def _assembly(kept: int) -> str:
    name, text, words = _name(kept), AssemblyText(), transposed(_ROWS)[-kept:]
    loads = [f"P_LWR({register}, {_COLUMNS}, {_SOURCE})" for register in _ROWS]
    stores = [f"sw {register}, {4 * i}({_WORDS})" for i, register in enumerate(words) if i]
    body = [*loads, *transpose_four(_ROWS), *stores, f"P_SWR({words[0]}, {_PITCH}, {_WORDS})"]
    text.add(f'.pushsection .text.{name},"ax",@progbits', ".option push", ".option norvc", ".balign 16")
    text.add(f".type {name}, @function", f"{name}:")
    text.add(*TRANSPOSITION_CONSTANTS)
    text.add(f"LP_SETUP(0, {_COUNT}, {len(body)}, 5)", *body[:-1], "5:", body[-1])
    text.add("ret", f".size {name}, .-{name}", ".option pop", ".popsection")
    return f"""\
/* Some words of the last {kept} of four neighbouring columns, one below the other. */
void {name}(const uint8_t *, uint32_t *, int32_t, int32_t, int32_t);
__asm__(
{text}
);"""
