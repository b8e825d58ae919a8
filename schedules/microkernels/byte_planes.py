"""From channels innermost to columns innermost: words of four neighbouring columns of one channel.

A tile of an image ``[row][column][channel]`` of bytes becomes ``[row][word][channel]``, where a word has
four columns of the padded image, the first one in the lowest byte. Four pixels' words, each of four channels,
are a 4 x 4 matrix of bytes, which is transposed in registers: halves first, then bytes. Columns of padding
never lie in memory: they are a register. For windows with a dilation a word has every so many columns, and
words of columns that are equal modulo the dilation, a class, lie together: ``[row][class][word][channel]``.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

from tvm_pulp.schedules.microkernels.assembly import AssemblyText, add_constant
from tvm_pulp.schedules.microkernels.forms import both_forms

MOST_CHANNELS = 512
"""That the immediate operands reach across."""

_NAME = "byte_planes_rows"
_IMAGE, _PLANES, _ROWS, _PIXEL = "a0", "a1", "a2", "a3"
_PIXELS = ("a4", "a5", "a6", "a7")
_LOW, _OTHER_LOW, _COPY, _OTHER_COPY = "t3", "t4", "t5", "t6"
_HIGH_HALVES, _EVEN_BYTES, _ODD_BYTES = "t0", "t1", "t2"
_COUNT, _PADDING = "s0", "s1"
_SAVED = ("s0", "s1")
_FRAME = 16

TRANSPOSITION_CONSTANTS = (
    f"li {_HIGH_HALVES}, 0x00030001",
    f"li {_EVEN_BYTES}, 0x06020400",
    f"li {_ODD_BYTES}, 0x07030501",
)
"""What `transpose_four` finds in registers."""


@dataclass(frozen=True)
class BytePlanes:
    """What the code depends on.

    Attributes
    ----------
    channels : int
        Of the tile. The last group of four may reach into the next pixel: what it finds there lands in words
        behind those of the last channel.
    width, filled : int
        Columns of the image, and those that are read.
    left : int
        Columns of padding before them.
    words : int
        Of a class of columns in a row.
    zero_point : int
        The padding's value.
    class_step, dilation : int
        Columns from the start of a class to the start of the next one, and from column to column in a class.
    """

    channels: int
    width: int
    filled: int
    left: int
    words: int
    zero_point: int
    class_step: int = 1
    dilation: int = 1

    @property
    def classes(self) -> int:
        """Classes of columns."""
        return self.dilation // self.class_step

    @property
    def groups(self) -> int:
        """Groups of four channels."""
        return -(-self.channels // 4)

    @property
    def pitch(self) -> int:
        """Bytes of a row of words."""
        return 16 * self.groups * self.words * self.classes

    def column(self, of_class: int, position: int) -> int:
        """Return the image's column at a position in a class; it may lie in the padding."""
        return of_class * self.class_step + position * self.dilation - self.left

    def pixels(self, of_class: int, word: int) -> tuple[bool, ...]:
        """Return for the columns of a word whether they are the image's."""
        return tuple(0 <= self.column(of_class, 4 * word + i) < self.filled for i in range(4))

    def runs(self, of_class: int) -> list[tuple[int, tuple[bool, ...]]]:
        """Return the words of a class as numbers of words that are alike."""
        alike = itertools.groupby(self.pixels(of_class, word) for word in range(self.words))
        return [(len(list(words)), pixels) for pixels, words in alike]

    def span(self, of_class: int) -> tuple[int, int]:
        """Return the image's first column in a class, and the column of the class behind the last one."""
        reached = [self.column(of_class, position) for position in range(4 * self.words)]
        found = [column for column in reached if 0 <= column < self.filled]
        return (found[0], found[-1] + self.dilation) if found else (reached[0], reached[0])


def byte_planes_source(p: BytePlanes, *, assembly: bool) -> str:
    """Return C for ``byte_planes``, a worker's share of the transposition of some rows.

    Parameters
    ----------
    p
        The sizes.
    assembly
        Whether the target has Xpulp; plain C is there in any case, for the host.
    """
    rows = _rows_c(p)
    if assembly:
        rows = both_forms(_rows_assembly(p), rows)
    # where other rows than the last one reach behind the image, all of them belong to one worker
    cores, alone = "PULP_CORES", ""
    if 4 * p.groups - p.channels > p.width * p.channels:
        cores, alone = "1", "  if (core > 0) return;\n"
    total = f"{p.groups} * rows"
    return f"""\
{rows}

/* The share of worker `core` in rows of {p.width} pixels of {p.channels} channels: some rows of one group of
 * four channels after the other. */
static void byte_planes(int core, uint8_t *image, uint32_t *planes, int32_t rows) {{
{alone}  const int32_t start = pulp_chunk(core, {cores}, {total});
  const int32_t end = pulp_chunk(core + 1, {cores}, {total});
{_clear_behind_image(p)}\
  for (int32_t at = start; at < end;) {{
    const int32_t group = at / rows, first = at - group * rows, count = pulp_min(rows - first, end - at);
    {_NAME}(image + first * {p.width * p.channels} + 4 * group,
            planes + first * {p.pitch // 4} + 4 * group, count);
    at += count;
  }}
}}"""


def _clear_behind_image(p: BytePlanes) -> str:
    """Return C that writes the bytes behind the last pixel that its last group of channels reaches into."""
    behind = 4 * p.groups - p.channels
    if not behind:
        return ""
    return f"""\
  if (start < end && end == {p.groups} * rows)  /* the worker that reads the last pixel */
    for (int32_t i = 0; i < {behind}; ++i) image[rows * {p.width * p.channels} + i] = 0;
"""


def _rows_c(p: BytePlanes) -> str:
    return f"""\
/* Four channels of some rows. */
static void {_NAME}(const uint8_t *image, uint32_t *planes, int32_t rows) {{
  for (; rows > 0; --rows, image += {p.width * p.channels})
    for (int32_t word = 0; word < {p.classes * p.words}; ++word, planes += {4 * p.groups})
      for (int32_t c = 0; c < 4; ++c) {{
        planes[c] = 0;
        for (int32_t i = 0; i < 4; ++i) {{
          const int32_t x = {_column_c(p)};
          const uint32_t value = x >= 0 && x < {p.filled} ? image[x * {p.channels} + c] : {p.zero_point};
          planes[c] |= value << 8 * i;
        }}
      }}
}}"""


def _column_c(p: BytePlanes) -> str:
    """Return the image's column of a byte of a word as a C expression."""
    if p.dilation == 1:
        return f"4 * word + i - {p.left}"
    return f"word / {p.words} * {p.class_step} + (word % {p.words} * 4 + i) * {p.dilation} - {p.left}"


def _rows_assembly(p: BytePlanes) -> str:
    text = AssemblyText()
    body = _row(p)
    if p.classes == 1:
        length = sum(1 for line in body if not line.endswith(":"))
        loop = [f"LP_SETUP(1, {_ROWS}, {length}, 6)", *body[:-1], "6:", body[-1]]
    else:
        loop = ["7:", *body, f"addi {_ROWS}, {_ROWS}, -1", f"bne {_ROWS}, zero, 7b"]
    text.add(f'.pushsection .text.{_NAME},"ax",@progbits', ".option push", ".option norvc", ".balign 16")
    text.add(f".type {_NAME}, @function", f"{_NAME}:", f"addi sp, sp, -{_FRAME}")
    text.add(*(f"sw {register}, {4 * i}(sp)" for i, register in enumerate(_SAVED)))
    text.add(*add_constant(_IMAGE, p.span(0)[0] * p.channels, _LOW))
    text.add(f"li {_PIXEL}, {p.channels * p.dilation}", *TRANSPOSITION_CONSTANTS)
    text.add(f"li {_PADDING}, {p.zero_point * 0x01010101}", *loop)
    text.add(*(f"lw {register}, {4 * i}(sp)" for i, register in enumerate(_SAVED)))
    text.add(f"addi sp, sp, {_FRAME}", "ret", f".size {_NAME}, .-{_NAME}", ".option pop", ".popsection")
    return f"""\
/* Four channels of some rows. */
void {_NAME}(const uint8_t *, uint32_t *, int32_t);
__asm__(
{text}
);"""


def _row(p: BytePlanes) -> list[str]:
    """Return the instructions of a row: classes that are alike, and words that are alike, in hardware loops.

    Loops must not end together: behind a loop there is a move of the pointer to the image, or nothing done.
    """
    body: list[str] = []
    at = p.span(0)[0]  # where the pointer is
    for runs, alike in itertools.groupby(range(p.classes), p.runs):
        classes = list(alike)
        start, end = p.span(classes[0])
        body += _move(p, start - at)
        words: list[str] = []
        for count, pixels in runs:
            word = _word(p, pixels)
            if count > 1:
                words += [f"li {_COUNT}, {count}", f"LP_SETUP(0, {_COUNT}, {len(word)}, 5)"]
                word = [*word[:-1], "5:", word[-1]]
            words += word
        at = end
        if len(classes) > 1:
            words += _move(p, start + p.class_step - end) or ["nop"]
            at = start + len(classes) * p.class_step
            length = sum(1 for line in words if not line.endswith(":"))
            body += [f"li {_COUNT}, {len(classes)}", f"LP_SETUP(1, {_COUNT}, {length}, 6)"]
            words = [*words[:-1], "6:", words[-1]]
        body += words
    return body + (_move(p, p.width + p.span(0)[0] - at) or ["nop"])


def _move(p: BytePlanes, columns: int) -> list[str]:
    """Return the instructions that move the pointer to the image."""
    return add_constant(_IMAGE, columns * p.channels, _LOW)


def _word(p: BytePlanes, pixels: tuple[bool, ...]) -> list[str]:
    """Return the instructions for a word of each of four channels."""
    if not any(pixels):
        return _stores(p, (_PADDING,) * 4)
    lines = [
        f"P_LWR({register}, {_PIXEL}, {_IMAGE})" if there else f"mv {register}, {_PADDING}"
        for register, there in zip(_PIXELS, pixels, strict=True)
    ]
    return [*lines, *transpose_four(_PIXELS), *_stores(p, transposed(_PIXELS))]


def transpose_four(registers: tuple[str, str, str, str]) -> list[str]:
    """Return the instructions that transpose the 4 x 4 bytes in four registers, into `transposed`.

    They need the registers t0 to t6, of which `TRANSPOSITION_CONSTANTS` sets three.
    """
    a, b, c, d = registers
    lines = [
        f"PV_PACK_H({_LOW}, {c}, {a})",
        f"PV_SHUFFLE2_H({a}, {c}, {_HIGH_HALVES})",
        f"PV_PACK_H({_OTHER_LOW}, {d}, {b})",
        f"PV_SHUFFLE2_H({b}, {d}, {_HIGH_HALVES})",
    ]
    for even, odd, other in ((_COPY, _LOW, _OTHER_LOW), (_OTHER_COPY, a, b)):
        lines += [
            f"mv {even}, {odd}",
            f"PV_SHUFFLE2_B({even}, {other}, {_EVEN_BYTES})",
            f"PV_SHUFFLE2_B({odd}, {other}, {_ODD_BYTES})",
        ]
    return lines


def transposed(registers: tuple[str, str, str, str]) -> tuple[str, str, str, str]:
    """Return the registers with the words of bytes 0, 1, 2 and 3 after `transpose_four`."""
    return (_COPY, _LOW, _OTHER_COPY, registers[0])


def _stores(p: BytePlanes, registers: tuple[str, ...]) -> list[str]:
    steps = (4, 4, 4, 16 * p.groups - 12)
    return [f"P_SW({register}, {step}, {_PLANES})" for register, step in zip(registers, steps, strict=True)]
