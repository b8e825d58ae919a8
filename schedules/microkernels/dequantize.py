"""From unsigned bytes to float32: ``(q - Z) * S``, from pixels with their channels side by side to channels.

A byte q below the upper bytes of the float ``2^23`` is the float ``2^23 + q``, see `latent_unpack`. Words of
four channels become four values, each a channel's pixels further on than the one before.
"""

from __future__ import annotations

from dataclasses import dataclass

from tvm_pulp.schedules.microkernels.assembly import AssemblyText, float_bits
from tvm_pulp.schedules.microkernels.forms import both_forms
from tvm_pulp.schedules.microkernels.latent_unpack import FLOAT_BASE, SELECTORS

_NAME = "dequantize_words"
_WORD, _FLOAT, _RESULT, _SCALE, _OFF = "t0", "t1", "t2", "t3", "t4"
_SELECTORS = ("t5", "t6", "a6", "a7")
_SKIP, _BACK = "s0", "s1"


@dataclass(frozen=True)
class DequantizeSettings:
    """What the code depends on.

    Attributes
    ----------
    scale : float
        S, a float32.
    zero_point : int
        Z, 0 to 255.
    channels : int
        Channels of a pixel, a multiple of 4.
    """

    scale: float
    zero_point: int
    channels: int


def dequantize_source(s: DequantizeSettings, *, assembly: bool) -> str:
    """Return C for ``dequantize_tile``, a share of a tile, ``[pixel][channel]`` to the inverse order.

    Parameters
    ----------
    s
        The settings.
    assembly
        Whether the target has Xpulp; plain C is there in any case, for the host.
    """
    words = f"""\
static void {_NAME}(const uint8_t *from, float *to, int32_t words, int32_t pixels, int32_t plane) {{
  for (int32_t pixel = 0; pixel < pixels; ++pixel)
    for (int32_t c = 0; c < 4 * words; ++c)
      to[c * plane / 4 + pixel] = (float)(from[pixel * {s.channels} + c] - {s.zero_point}) * {s.scale.hex()}f;
}}"""
    include = ""
    if assembly:
        include = '#include "pulp_assembly.h"\n\n'
        words = both_forms(_words_assembly(s), words)
    return f"""\
{include}/* Some words of each pixel: a channel's results are `plane` bytes behind those of the one before. */
{words}

/* The share of worker `core` in {s.channels} channels of some pixels: channels. */
static void dequantize_tile(int core, const uint8_t *data, float *result, int32_t count, int32_t driving) {{
  (void)driving;
  const int32_t first = pulp_chunk(core, PULP_CORES, {s.channels // 4});
  const int32_t words = pulp_chunk(core + 1, PULP_CORES, {s.channels // 4}) - first;
  if (words > 0) {_NAME}(data + 4 * first, result + 4 * first * count, words, count, 4 * count);
}}"""


def _words_assembly(s: DequantizeSettings) -> str:
    """Return the function: from in a0, to in a1, words in a2, pixels in a3, bytes of a channel in a4."""
    body = [f"P_LW({_WORD}, 4, a0)"]
    for selector in _SELECTORS:
        body.append(f"PV_SHUFFLE2_B({_FLOAT}, {_WORD}, {selector})")
        if s.zero_point:
            body += [f"fsub.s {_RESULT}, {_FLOAT}, {_OFF}", f"fmul.s {_RESULT}, {_RESULT}, {_SCALE}"]
        else:
            body.append(f"fmadd.s {_RESULT}, {_FLOAT}, {_SCALE}, {_OFF}")
        body.append(f"P_SWR({_RESULT}, a4, a1)")
    off = FLOAT_BASE + s.zero_point if s.zero_point else -FLOAT_BASE * s.scale
    text = AssemblyText()
    text.add(f'.pushsection .text.{_NAME},"ax",@progbits', ".option push", ".option norvc", ".balign 16")
    text.add(f".type {_NAME}, @function", f"{_NAME}:", "addi sp, sp, -8", "sw s0, 0(sp)")
    text.add("sw s1, 4(sp)", f"li {_FLOAT}, {float_bits(FLOAT_BASE)}")
    text.add(f"li {_SCALE}, {float_bits(s.scale)}", f"li {_OFF}, {float_bits(off)}")
    text.add(*(f"li {register}, {bits}" for register, bits in zip(_SELECTORS, SELECTORS, strict=True)))
    # from the end of a pixel's words to the next pixel's, in both tensors
    text.add("slli a5, a2, 2", f"li {_WORD}, {s.channels}", f"sub {_SKIP}, {_WORD}, a5")
    text.add("mul a5, a5, a4", f"li {_WORD}, 4", f"sub {_BACK}, {_WORD}, a5")
    text.add(
        f"LP_SETUP(1, a3, {len(body) + 3}, 6)", f"LP_SETUP(0, a2, {len(body)}, 5)", *body[:-1], "5:", body[-1]
    )
    text.add(
        f"add a0, a0, {_SKIP}", "6:", f"add a1, a1, {_BACK}", "lw s0, 0(sp)", "lw s1, 4(sp)", "addi sp, sp, 8"
    )
    text.add("ret", f".size {_NAME}, .-{_NAME}", ".option pop", ".popsection")
    return f"void {_NAME}(const uint8_t *, float *, int32_t, int32_t, int32_t);\n__asm__(\n{text}\n);"
