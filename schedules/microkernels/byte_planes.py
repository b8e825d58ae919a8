"""From channels innermost to columns innermost: words of four neighbouring columns of one channel.

A tile of an image ``[row][column][channel]`` of bytes becomes ``[row][word][channel]``, where a word has the
columns 4 i to 4 i + 3 of the row, the first one in the lowest byte. Four pixels' words, each of four
channels, are a 4 x 4 matrix of bytes, which is transposed in registers: halves first, then bytes.
"""

from __future__ import annotations

from tvm_pulp.schedules.microkernels.assembly import AssemblyText

_NAME = "byte_planes_run"
_HIGH_HALVES, _EVEN_BYTES, _ODD_BYTES = "t0", "t1", "t2"

MOST_CHANNELS = 512
"""That the immediate operands reach across."""


def byte_planes_source(channels: int, *, assembly: bool) -> str:
    """Return C for ``byte_planes``, a worker's share of the transposition of a tile.

    Parameters
    ----------
    channels
        Of the tile. The last group of four may reach into the next pixel: what it finds there lands in words
        behind those of the last channel. Rows have a multiple of four columns.
    assembly
        Whether the target has Xpulp; plain C is there in any case, for the host.
    """
    groups = -(-channels // 4)
    plain = f"""\
/* One group of four channels: `words` times four pixels. */
static void {_NAME}(const uint8_t *image, uint32_t *planes, int32_t words) {{
  for (int32_t i = 0; i < words; ++i, image += {4 * channels}, planes += {4 * groups})
    for (int32_t c = 0; c < 4; ++c)
      planes[c] = image[c] | (uint32_t)image[{channels} + c] << 8 | (uint32_t)image[{2 * channels} + c] << 16 |
                  (uint32_t)image[{3 * channels} + c] << 24;
}}"""
    if assembly:
        plain = f"#if PULP_ASSEMBLY\n\n{_run_assembly(channels, groups)}\n\n#else\n\n{plain}\n\n#endif"
    return f"""\
{plain}

/* The share of worker `core` in a tile of `words` times four pixels: a run of words of one group of channels
 * after the other. */
static void byte_planes(int core, const uint8_t *image, uint32_t *planes, int32_t words) {{
  const int32_t end = pulp_chunk(core + 1, PULP_CORES, {groups} * words);
  for (int32_t at = pulp_chunk(core, PULP_CORES, {groups} * words); at < end;) {{
    const int32_t group = at / words, first = at - group * words, count = pulp_min(words - first, end - at);
    {_NAME}(image + first * {4 * channels} + 4 * group, planes + first * {4 * groups} + 4 * group, count);
    at += count;
  }}
}}"""


def _run_assembly(channels: int, groups: int) -> str:
    """Return the run in assembly: image in a0, planes in a1, words in a2."""
    text = AssemblyText()
    a, b, c, d = "a4", "a5", "a6", "a7"
    low, other_low, copy, other_copy = "t3", "t4", "t5", "t6"
    body = [
        *(f"P_LWR({pixel}, a3, a0)" for pixel in (a, b, c, d)),
        f"PV_PACK_H({low}, {c}, {a})",
        f"PV_SHUFFLE2_H({a}, {c}, {_HIGH_HALVES})",
        f"PV_PACK_H({other_low}, {d}, {b})",
        f"PV_SHUFFLE2_H({b}, {d}, {_HIGH_HALVES})",
    ]
    for even, odd, other in ((copy, low, other_low), (other_copy, a, b)):
        body += [
            f"mv {even}, {odd}",
            f"PV_SHUFFLE2_B({even}, {other}, {_EVEN_BYTES})",
            f"PV_SHUFFLE2_B({odd}, {other}, {_ODD_BYTES})",
        ]
    body += [f"P_SW({register}, 4, a1)" for register in (copy, low, other_copy)]
    body.append(f"P_SW({a}, {16 * groups - 12}, a1)")
    text.add(f'.pushsection .text.{_NAME},"ax",@progbits', ".option push", ".option norvc", ".balign 16")
    text.add(f".type {_NAME}, @function", f"{_NAME}:", f"li a3, {channels}")
    text.add(
        f"li {_HIGH_HALVES}, 0x00030001", f"li {_EVEN_BYTES}, 0x06020400", f"li {_ODD_BYTES}, 0x07030501"
    )
    text.add(f"LP_SETUP(0, a2, {len(body)}, 5)", *body[:-1], "5:", body[-1])
    text.add("ret", f".size {_NAME}, .-{_NAME}", ".option pop", ".popsection")
    return f"void {_NAME}(const uint8_t *, uint32_t *, int32_t);\n__asm__(\n{text}\n);"
