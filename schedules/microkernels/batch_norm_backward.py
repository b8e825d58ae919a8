"""Batch normalisation in training mode in L1, backward.

The sum of g·(x - mean) comes from that of g·x, less mean·Σg. Where the mean exceeds √3 standard deviations,
so that the difference could lose more than a bit to rounding, x - mean is formed for each element. The data's
gradient takes the mean into a constant: its rounding is that of the mean itself.
"""

from __future__ import annotations

from tvm_pulp.schedules.microkernels.batch_norm_share import (
    STEP,
    limit,
    result_parameter,
    share_of_a_channel,
    sweeps_of_a_tile,
)
from tvm_pulp.schedules.microkernels.batch_norm_streams import NONE, NormSizes, mask_scalars, streams
from tvm_pulp.schedules.microkernels.stream import Stream


def _parameters(s: NormSizes) -> str:
    return (
        "const float *center, const float *inverse,\n"
        "                            const float *scale, const float *offset, float *scale_gradient,\n"
        f"                            float *offset_gradient{', float *bias_gradient' if s.biased else ''}"
    )


def _mask(s: NormSizes, c: str) -> str:
    """Set the scalars that the activation's mask needs, as the forward pass computed them."""
    if s.activation == NONE:
        return ""
    return f"""\
    s.scalar[0] = inverse[{c}] * scale[{c}];
    s.scalar[1] = offset[{c}] - center[{c}] * s.scalar[0];{limit(s, 2, True)}
"""


def _sums(s: NormSizes, at: str, c: str) -> str:
    """Set the stream's sums: of the gradient, and of its products with the deviations."""
    mean = len(mask_scalars(s.activation))
    return f"""\
{at}
{_mask(s, c)}\
    const float middle = center[{c}], ratio = middle * inverse[{c}];
    if (ratio * ratio <= 3.0f) {{
      pulp_norm_sums(&s);
      s.sum[1] -= middle * s.sum[0];
    }} else {{
      s.scalar[{mean}] = middle;
      pulp_norm_careful_sums(&s);
    }}"""


def _gradient_results(s: NormSizes, condition: str, c: str) -> str:
    bias = f"\n      bias_gradient[{c}] = 0.0f; /* the mean takes a bias away again */" if s.biased else ""
    return f"""\
    if ({condition}) {{
      scale_gradient[{c}] = by_scale;
      offset_gradient[{c}] = by_offset;{bias}
    }}"""


def _coefficients(c: str, field: int) -> str:
    """Set the scalars of the data gradient: the data's factor, a constant."""
    return f"""\
    const float factor = inverse[{c}] * scale[{c}], slope = -(factor * inverse[{c}] * by_scale * NORM_SHARE);
    s.scalar[{field}] = slope;
    s.scalar[{field + 1}] = -(factor * by_offset * NORM_SHARE) - center[{c}] * slope;"""


def backward_tile(s: NormSizes, parts: int, separate: bool) -> str:
    """Return C of ``batch_norm_tile``: the gradients of a tile of whole channels.

    Parameters
    ----------
    s
        Sizes.
    parts
        Workers that share a channel.
    separate
        Whether the data's gradient has a place of its own.
    """

    def at(stream: Stream) -> str:
        tiles = {"x": "tile", "g": "gradient", "r": "result"}
        places = [f"s.at[{i}] = {tiles[p]} + begin + c * {s.pixels};" for i, p in enumerate(stream.pointers)]
        return "\n".join(f"    {place}" for place in places)

    loops = streams(s, True, separate)
    first = _sums(s, at(loops.sums), "c")
    by_offset, products = "s.sum[0]", "s.sum[1]"
    if parts > 1:
        first += f"\n    sums[c * {parts} + part] = s.sum[0];\n    products[c * {parts} + part] = s.sum[1];"
        by_offset = f"norm_total(sums + c * {parts}, {parts})"
        products = f"norm_total(products + c * {parts}, {parts})"
    second = f"""\
{at(loops.results)}
    const float by_offset = {by_offset};
    const float by_scale = {products} * inverse[c];
{_coefficients("c", 0)}
    s.scalar[2] = factor;
    pulp_norm_gradient(&s);
{_gradient_results(s, "part == 0", "c")}"""
    place = "`result`" if separate else "the output's"
    unused = "offset, (void)sums, (void)products" if parts == 1 else "offset"
    return f"""\
/* Gradients of a tile of {s.images} x channels x {s.pixels} elements, that of the data in the place of
 * {place}; {parts} workers share a channel. The other pointers are at the first channel's elements. */
static void batch_norm_tile(int core, float *tile, float *gradient{result_parameter(separate)}, float *sums,
                            float *products, int32_t channels, {_parameters(s)}) {{
  (void){unused};
{share_of_a_channel(s, parts)}
{sweeps_of_a_tile(parts, first, second)}
}}"""


def backward_step(s: NormSizes) -> str:
    """Return C of ``batch_norm_step``: a sweep over a part of a channel."""
    masked = len(mask_scalars(s.activation))
    weight = "    s.scalar[2] = factor;\n" if s.activation == NONE else _mask(s, "0")
    at = "    s.at[0] = tile + begin;\n    s.at[1] = gradient + begin;"
    return f"""\
/* A sweep over `elements` of a channel, the last one in the place of the output's gradient; `first`: the
 * first of the sweep. state: a float a worker for the gradient's sum, another for its products. */
static void batch_norm_step(int core, float *tile, float *gradient, float *state, int32_t sweep,
                            int32_t first, int32_t elements, {_parameters(s)}) {{
{STEP}\
  float *others = state + PULP_CORES;
  (void)offset;
  if (sweep == 0) {{
    if (first) state[core] = others[core] = 0.0f;
    if (s.length == 0) return;
{_sums(s, at, "0")}
    state[core] += s.sum[0];
    others[core] += s.sum[1];
  }} else {{
    const float by_offset = norm_total(state, PULP_CORES);
    const float by_scale = norm_total(others, PULP_CORES) * inverse[0];
{at}
{_coefficients("0", masked)}
{weight}\
    if (s.length > 0) pulp_norm_gradient(&s);
    if (first) {{
  {_gradient_results(s, "core == 0", "0")}
    }}
  }}
}}"""
