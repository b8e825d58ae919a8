"""Batch normalisation in training mode in L1, backward.

The sum of g·(x - mean) comes from that of g·x, less mean·Σg. Where the mean exceeds √3 standard deviations,
so that the difference could lose more than a bit to rounding, x - mean is formed for each element. The data's
gradient takes the mean into a constant: its rounding is that of the mean itself.
"""

from __future__ import annotations

from textwrap import indent

from tvm_pulp.schedules.microkernels.batch_norm_share import (
    SHARE,
    Relief,
    limit,
    result_parameter,
    share_of_a_channel,
    sweeps_of_a_tile,
)
from tvm_pulp.schedules.microkernels.batch_norm_streams import NONE, Kept, NormSizes, mask_scalars, streams
from tvm_pulp.schedules.microkernels.stream_definition import Stream


def _parameters(s: NormSizes) -> str:
    return (
        "const float *center, const float *inverse,\n"
        "                            const float *scale, const float *offset, float *scale_gradient,\n"
        f"                            float *offset_gradient{', float *bias_gradient' if s.biased else ''}"
    )


def _constants(s: NormSizes, c: str) -> str:
    """Read what the sums of a channel depend on: mean, deviation, factor and shift of the normalisation."""
    shift = f"\n    const float shift = offset[{c}] - middle * factor;" if s.activation != NONE else ""
    return f"    const float middle = center[{c}], {_factor(c)};{shift}"


def _factor(c: str) -> str:
    return f"reciprocal = inverse[{c}], factor = reciprocal * scale[{c}]"


def _mask(s: NormSizes) -> str:
    """Set the scalars that the activation's mask needs, as the forward pass computed them."""
    if s.activation == NONE:
        return ""
    return f"    s.scalar[0] = factor;\n    s.scalar[1] = shift;{limit(s, 2, True)}\n"


def _sums(s: NormSizes, at: str) -> str:
    """Set the stream's sums: of the gradient, and of its products with the deviations."""
    mean = len(mask_scalars(s.activation))
    return f"""\
{at}
{_mask(s)}\
    const float ratio = middle * reciprocal;
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


_COEFFICIENTS = """\
    const float slope = -(factor * reciprocal * by_scale * NORM_SHARE);
    const float move = -(factor * by_offset * NORM_SHARE) - middle * slope;"""


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

    loops = streams(s, Kept.ALL, separate)
    constants = _constants(s, "c")
    if parts > 1 and s.activation == NONE:  # the factor is for the second sweep, which reads it again
        constants = "    const float middle = center[c], reciprocal = inverse[c];"
    first = f"{constants}\n{_sums(s, at(loops.sums))}"
    again, by_offset, products = "", "s.sum[0]", "s.sum[1]"
    if parts > 1:
        first += f"\n    sums[c * {parts} + part] = s.sum[0];\n    products[c * {parts} + part] = s.sum[1];"
        again = f"    const float middle = center[c], {_factor('c')};\n"
        by_offset = f"norm_total(sums + c * {parts}, {parts})"
        products = f"norm_total(products + c * {parts}, {parts})"
    second = f"""\
{again}{at(loops.results)}
    const float by_offset = {by_offset}, by_scale = {products} * reciprocal;
{_COEFFICIENTS}
    s.scalar[0] = slope, s.scalar[1] = move, s.scalar[2] = factor;
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


def backward_step(s: NormSizes, kept: Kept, relief: Relief) -> str:
    """Return C of ``batch_norm_step``: a sweep over a part of a channel.

    Parameters
    ----------
    s
        Sizes.
    kept
        Which elements stay in L1 between the sweeps; a masked gradient takes the place of theirs.
    relief
        Of core 0.
    """
    loops = streams(s, kept)
    at = "    s.at[0] = tile + begin;\n    s.at[1] = gradient + begin;"
    masks = s.activation != NONE
    keep_shift = "\n      own[1] = shift;" if masks else ""
    shift = ", shift = own[1]" if masks else ""

    def results(stream: Stream) -> str:
        field = stream.scalars.index("slope")
        weight = _mask(s) if field else "    s.scalar[2] = factor;\n"
        return f"""\
{weight}\
    s.scalar[{field}] = slope, s.scalar[{field + 1}] = move;
    if (s.length > 0) {stream.name}(&s);"""

    second = results(loops.results)
    if loops.kept_results:
        kept_results, second = indent(results(loops.kept_results), "  "), indent(second, "  ")
        second = f"    if (kept) {{\n{kept_results}\n    }} else {{\n{second}\n    }}"
    shift_again = shift if loops.results.scalars[0] != "slope" else ""
    return f"""\
{SHARE}

/* A sweep over `elements` of a channel, the last one in the place of the output's gradient; `first`: the
 * first of the sweep; `kept`: they stay from sweep to sweep. state: a float a worker for the gradient's sum,
 * another for its products, then what each worker keeps. */
static inline __attribute__((always_inline)) void
batch_norm_step(int core, float *tile, float *gradient, float *state, int32_t sweep, int32_t first,
                int32_t kept, int32_t elements, {_parameters(s)}) {{
{relief.step()}\
  float *others = state + PULP_CORES, *own = state + 2 * PULP_CORES + 4 * core;
  (void)offset, (void)kept;
  if (sweep == 0) {{
    if (first) {{
{indent(_constants(s, "0"), "  ")}
      own[0] = factor;{keep_shift}
      own[2] = middle;
      own[3] = reciprocal;
      state[core] = others[core] = 0.0f;
    }}
    if (s.length == 0) return;
    const float {"factor = own[0], " if masks else ""}middle = own[2], reciprocal = own[3]{shift};
{_sums(s, at)}
    state[core] += s.sum[0];
    others[core] += s.sum[1];
  }} else {{
    const float factor = own[0];
    if (first) {{
      const float middle = own[2], reciprocal = own[3], by_offset = norm_total(state, PULP_CORES);
      const float by_scale = norm_total(others, PULP_CORES) * reciprocal;
{indent(_COEFFICIENTS, "  ")}
      own[2] = slope;
      own[3] = move;
{indent(_gradient_results(s, "core == 0", "0"), "  ")}
    }}
    const float slope = own[2], move = own[3]{shift_again};
{at}
{second}
  }}
}}"""
