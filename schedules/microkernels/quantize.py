"""From float32 to unsigned bytes: ``clip(floor(x * r + 0.5) + zero_point, 0, 255)``, r the reciprocal scale.

The lower bound of the result bounds the product too, before it is rounded: a maximum makes a number of a NaN.
The upper bound is that of the integer, as the workers share the units of floats: four operations of eight.
"""

from __future__ import annotations

from dataclasses import dataclass

from tvm_pulp.schedules.microkernels.assembly import AssemblyText, float_bits

_NAME = "quantize_pairs"
_VALUES = ("t0", "t1")
_RECIPROCAL, _LEAST, _HALF, _STEP, _MOST = "a3", "a4", "a5", "a6", "a7"


@dataclass(frozen=True)
class QuantizeSettings:
    """What the code depends on.

    Attributes
    ----------
    reciprocal : float
        Of the scale, a float32.
    zero_point : int
        0 to 255.
    step : int
        Bytes from a result to the next.
    """

    reciprocal: float
    zero_point: int
    step: int


def quantize_source(s: QuantizeSettings, *, assembly: bool) -> str:
    """Return C for ``quantize_tile``, a worker's share of a tile, ``[channel][pixel]`` to the inverse order.

    Parameters
    ----------
    s
        The settings; the step is the number of channels.
    assembly
        Whether the target has Xpulp; plain C is there in any case, for the host.
    """
    pairs = f"""\
static void {_NAME}(const float *from, uint8_t *to, int32_t pairs) {{
  for (int32_t i = 0; i < 2 * pairs; ++i) quantize_one(from + i, to + i * {s.step});
}}"""
    low, high = f"{float(-s.zero_point)}f", f"{float(255 - s.zero_point)}f"
    include = ""
    if assembly:
        include = '#include "pulp_assembly.h"\n\n'
        pairs = f"#if PULP_ASSEMBLY\n\n{_pairs_assembly(s)}\n\n#else\n\n{pairs}\n\n#endif"
    return f"""\
{include}static inline void quantize_one(const float *from, uint8_t *to) {{
  const float scaled = *from * {s.reciprocal.hex()}f;
  const float above = scaled > {low} ? scaled : {low}, bounded = above < {high} ? above : {high};
  *to = (int32_t)pulp_floorf(bounded + 0.5f) + {s.zero_point};
}}

{pairs}

/* The share of worker `core` in {s.step} channels of some pixels: a run of one channel after the other. */
static void quantize_tile(int core, const float *data, uint8_t *result, int32_t pixels) {{
  const int32_t end = pulp_chunk(core + 1, PULP_CORES, {s.step} * pixels);
  for (int32_t at = pulp_chunk(core, PULP_CORES, {s.step} * pixels); at < end;) {{
    const int32_t channel = at / pixels, first = at - channel * pixels;
    const int32_t count = pulp_min(pixels - first, end - at);
    uint8_t *const to = result + first * {s.step} + channel;
    if (count > 1) {_NAME}(data + at, to, count / 2);
    if (count % 2) quantize_one(data + at + count - 1, to + (count - 1) * {s.step});
    at += count;
  }}
}}"""


def _pairs_assembly(s: QuantizeSettings) -> str:
    """Return the pairs in assembly: values in a0, bytes to a1, number of pairs in a2."""
    steps = ["fmul.s {0}, {0}, a3", "fmax.s {0}, {0}, a4", "fadd.s {0}, {0}, a5"]
    steps += ["fcvt.w.s {0}, {0}, rdn", f"P_MIN({{0}}, {{0}}, {_MOST})"]
    steps += [*([f"addi {{0}}, {{0}}, {s.zero_point}"] if s.zero_point else [])]
    steps.append(f"P_SBR({{0}}, {_STEP}, a1)")
    body = [f"P_LW({value}, 4, a0)" for value in _VALUES]
    body += [step.format(value) for value in _VALUES for step in steps]
    text = AssemblyText()
    text.add(f'.pushsection .text.{_NAME},"ax",@progbits', ".option push", ".option norvc", ".balign 16")
    text.add(f".type {_NAME}, @function", f"{_NAME}:", f"li {_STEP}, {s.step}")
    text.add(f"li {_RECIPROCAL}, {float_bits(s.reciprocal)}", f"li {_LEAST}, {float_bits(-s.zero_point)}")
    text.add(
        f"li {_MOST}, {255 - s.zero_point}",
        f"li {_HALF}, {float_bits(0.5)}",
        f"LP_SETUP(0, a2, {len(body)}, 5)",
    )
    text.add(*body[:-1], "5:", body[-1], "ret", f".size {_NAME}, .-{_NAME}", ".option pop", ".popsection")
    return f"void {_NAME}(const float *, uint8_t *, int32_t);\n__asm__(\n{text}\n);"
