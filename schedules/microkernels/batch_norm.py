"""Batch normalisation in training mode in L1, forward and backward, by the sweeps of `batch_norm_streams`.

*Resident*: a tile holds all elements of its channels, and all sweeps run over it. *Streamed*: a tile holds a
part of one channel, and a step is one sweep over it.
"""

from __future__ import annotations

from tvm_pulp.schedules.microkernels.batch_norm_streams import CLIP, NONE, NormSizes, streams
from tvm_pulp.schedules.microkernels.stream import Stream, streams_source

STATE_OF_A_WORKER = 5
"""Floats of L1 that a worker needs between the steps of a streamed channel."""


def batch_norm_source(
    s: NormSizes, *, parts: int, resident: bool, assembly: bool, separate: bool = False
) -> str:
    """Return C for ``batch_norm_tile`` (resident) or ``batch_norm_step`` (streamed).

    Parameters
    ----------
    s
        Sizes.
    parts
        Workers that share a channel (resident).
    resident
        Whether a tile holds whole channels.
    assembly
        Whether the target has Xpulp.
    separate
        Whether the results of a resident tile go to one of their own.
    """
    if resident:
        body = (_backward_tile if s.backward else _forward_tile)(s, parts, separate)
    else:
        body = _backward_step(s) if s.backward else _forward_step(s)
    sweeps = streams_source(streams(s, resident, separate), assembly=assembly)
    return "\n\n".join([sweeps, _statistics(s), body])


def _statistics(s: NormSizes) -> str:
    samples = s.images * s.pixels
    text = f"""\
#define NORM_SHARE {1.0 / samples!r}f /* of a sample in a mean */

/* Sum of the workers' parts. */
static inline float norm_total(const float *parts, int32_t count) {{
  float total = 0.0f;
  for (int32_t i = 0; i < count; ++i) total += parts[i];
  return total;
}}"""
    if s.backward:
        return text
    return f"""{text}

#define NORM_EPSILON {s.epsilon!r}f"""


_FORWARD_RESULTS = """\
    if ({condition}) {{
      center[{c}] = middle;
      {biased}variance[{c}] = spread;
      inverse[{c}] = reciprocal;
    }}"""


def _forward_parameters(s: NormSizes) -> str:
    bias = ", const float *bias, float *mean" if s.biased else ""
    return (
        "const float *scale, const float *offset, float *center, float *variance,\n"
        f"                            float *inverse{bias}"
    )


def _forward_results(s: NormSizes, condition: str, c: str) -> str:
    biased = f"mean[{c}] = middle + bias[{c}];\n      " if s.biased else ""
    return _FORWARD_RESULTS.format(condition=condition, c=c, biased=biased)


def _limit(s: NormSizes, field: int, last: bool) -> str:
    """Set the scalar that bounds a clipped value: the bound, or the largest number below it."""
    if s.activation != CLIP:
        return ""
    bound = f"{s.limit!r}f"
    if last:
        bound = f"pulp_int_as_float(pulp_float_as_int({bound}) - 1)"
    return f"\n    s.scalar[{field}] = {bound};"


def _share_of_a_channel(s: NormSizes, parts: int) -> str:
    """Declare a worker's share of each channel of a tile: whole images, or some pixels of all of them."""
    if s.images % parts == 0:
        images, begin, length = s.images // parts, f"part * {s.images // parts} * pitch", str(s.pixels)
    else:
        images, begin = s.images, f"pulp_chunk(part, {parts}, {s.pixels})"
        length = f"pulp_chunk(part + 1, {parts}, {s.pixels}) - begin"
    return f"""\
  const int32_t part = core % {parts}, pitch = channels * {s.pixels}, begin = {begin};
  struct stream s; /* set field by field: an initialiser would clear all of it, by a call of memset */
  s.length = {length}, s.segments = {images}, s.skip = 4 * (pitch - s.length);"""


def _channels(parts: int, body: str) -> str:
    """Loop over the channels of a worker: its team takes each one in `teams`."""
    return f"""\
  for (int32_t c = core / {parts}; c < channels; c += PULP_CORES / {parts}) {{
{body}
  }}"""


def _barrier(parts: int) -> str:
    return "\n  cluster_barrier();\n" if parts > 1 else "\n"


def _result_parameter(separate: bool) -> str:
    return ", float *result" if separate else ""


def _forward_tile(s: NormSizes, parts: int, separate: bool) -> str:
    at = f"    s.at[0] = tile + begin + c * {s.pixels};"
    first = f"{at}\n    pulp_norm_sum(&s);\n    sums[c * {parts} + part] = s.sum[0];"
    mean = f"norm_total(sums + c * {parts}, {parts}) * NORM_SHARE"
    second = f"""\
{at}
    s.scalar[0] = {mean};
    pulp_norm_deviations(&s);
    squares[c * {parts} + part] = s.sum[0];"""
    to = f"\n    s.at[1] = result + begin + c * {s.pixels};" if separate else ""
    third = f"""\
{at}{to}
    const float middle = {mean};
    const float spread = norm_total(squares + c * {parts}, {parts}) * NORM_SHARE;
    const float reciprocal = pulp_rsqrtf(spread + NORM_EPSILON);
    s.scalar[0] = reciprocal * scale[c];
    s.scalar[1] = offset[c] - middle * s.scalar[0];{_limit(s, 2, False)}
    pulp_norm_apply(&s);
{_forward_results(s, "part == 0", "c")}"""
    place = "" if separate else " in place"
    return f"""\
/* Normalise a tile of {s.images} x channels x {s.pixels} elements{place}; {parts} workers share a
 * channel. The other pointers are at the first channel's elements. */
static void batch_norm_tile(int core, float *tile{_result_parameter(separate)}, float *sums, float *squares,
                            int32_t channels, {_forward_parameters(s)}) {{
{_share_of_a_channel(s, parts)}
{_channels(parts, first)}{_barrier(parts)}{_channels(parts, second)}{_barrier(parts)}{_channels(parts, third)}
}}"""


def _backward_parameters(s: NormSizes) -> str:
    return (
        "const float *center, const float *inverse,\n"
        "                            const float *scale, const float *offset, float *scale_gradient,\n"
        f"                            float *offset_gradient{', float *bias_gradient' if s.biased else ''}"
    )


def _mask(s: NormSizes, c: str, field: int) -> str:
    """Set the scalars that the activation's mask needs, as the forward pass computed them."""
    if s.activation == NONE:
        return ""
    return f"""
    s.scalar[{field}] = inverse[{c}] * scale[{c}];
    s.scalar[{field + 1}] = offset[{c}] - center[{c}] * s.scalar[{field}];{_limit(s, field + 2, True)}"""


def _gradient_results(s: NormSizes, condition: str, c: str) -> str:
    bias = f"\n      bias_gradient[{c}] = 0.0f; /* the mean takes a bias away again */" if s.biased else ""
    return f"""\
    if ({condition}) {{
      scale_gradient[{c}] = by_scale;
      offset_gradient[{c}] = by_offset;{bias}
    }}"""


def _coefficients(c: str) -> str:
    """Set the scalars of the data gradient: the deviation's factor, a constant."""
    return f"""\
    const float factor = inverse[{c}] * scale[{c}];
    s.scalar[0] = center[{c}];
    s.scalar[1] = -(factor * inverse[{c}] * by_scale * NORM_SHARE);
    s.scalar[2] = -(factor * by_offset * NORM_SHARE);"""


def _backward_tile(s: NormSizes, parts: int, separate: bool) -> str:
    def at(stream: Stream) -> str:
        tiles = {"x": "tile", "g": "gradient", "r": "result"}
        places = [f"s.at[{i}] = {tiles[p]} + begin + c * {s.pixels};" for i, p in enumerate(stream.pointers)]
        return "\n".join(f"    {place}" for place in places)

    sums, gradients = streams(s, True, separate)
    first = f"""\
{at(sums)}
    s.scalar[0] = center[c];{_mask(s, "c", 1)}
    pulp_norm_sums(&s);
    sums[c * {parts} + part] = s.sum[0];
    products[c * {parts} + part] = s.sum[1];"""
    second = f"""\
{at(gradients)}
    const float by_offset = norm_total(sums + c * {parts}, {parts});
    const float by_scale = norm_total(products + c * {parts}, {parts}) * inverse[c];
{_coefficients("c")}
    s.scalar[3] = factor;
    pulp_norm_gradient(&s);
{_gradient_results(s, "part == 0", "c")}"""
    place = "`result`" if separate else "the output's"
    return f"""\
/* Gradients of a tile of {s.images} x channels x {s.pixels} elements, that of the data in the place of
 * {place}; {parts} workers share a channel. The other pointers are at the first channel's elements. */
static void batch_norm_tile(int core, float *tile, float *gradient{_result_parameter(separate)}, float *sums,
                            float *products, int32_t channels, {_backward_parameters(s)}) {{
  (void)offset;
{_share_of_a_channel(s, parts)}
{_channels(parts, first)}{_barrier(parts)}{_channels(parts, second)}
}}"""


_STEP = """\
  const int32_t begin = pulp_chunk(core, PULP_CORES, elements);
  struct stream s; /* set field by field: an initialiser would clear all of it, by a call of memset */
  s.length = pulp_chunk(core + 1, PULP_CORES, elements) - begin, s.segments = 1, s.skip = 0;
"""
_STEP_STATE = "  float *own = state + 2 * PULP_CORES + 3 * core, *others = state + PULP_CORES;\n"


def _forward_step(s: NormSizes) -> str:
    return f"""\
/* A sweep over `elements` of a channel, in place; `first`: the first of the sweep. state: a float a worker
 * for the sums, another for the squares, then what each worker keeps. */
static void batch_norm_step(int core, float *tile, float *state, int32_t sweep, int32_t first,
                            int32_t elements, {_forward_parameters(s)}) {{
{_STEP}  s.at[0] = tile + begin;
{_STEP_STATE}  if (sweep == 0) {{
    s.sum[0] = 0.0f;
    if (s.length > 0) pulp_norm_sum(&s);
    state[core] = first ? s.sum[0] : state[core] + s.sum[0];
  }} else if (sweep == 1) {{
    if (first) own[0] = norm_total(state, PULP_CORES) * NORM_SHARE;
    s.scalar[0] = own[0];
    s.sum[0] = 0.0f;
    if (s.length > 0) pulp_norm_deviations(&s);
    others[core] = first ? s.sum[0] : others[core] + s.sum[0];
  }} else {{
    if (first) {{
      const float middle = own[0], spread = norm_total(others, PULP_CORES) * NORM_SHARE;
      const float reciprocal = pulp_rsqrtf(spread + NORM_EPSILON);
      own[1] = reciprocal * scale[0];
      own[2] = offset[0] - middle * own[1];
  {_forward_results(s, "core == 0", "0")}
    }}
    s.scalar[0] = own[1];
    s.scalar[1] = own[2];{_limit(s, 2, False)}
    if (s.length > 0) pulp_norm_apply(&s);
  }}
}}"""


def _backward_step(s: NormSizes) -> str:
    weight = "    s.scalar[3] = factor;" if s.activation == NONE else _mask(s, "0", 3).lstrip("\n")
    return f"""\
/* A sweep over `elements` of a channel, the last one in the place of the output's gradient; `first`: the
 * first of the sweep. state: a float a worker for the gradient's sum, another for its products. */
static void batch_norm_step(int core, float *tile, float *gradient, float *state, int32_t sweep,
                            int32_t first, int32_t elements, {_backward_parameters(s)}) {{
{_STEP}  s.at[0] = tile + begin;
  s.at[1] = gradient + begin;
  float *others = state + PULP_CORES;
  (void)offset;
  if (sweep == 0) {{
    s.scalar[0] = center[0];{_mask(s, "0", 1)}
    s.sum[0] = s.sum[1] = 0.0f;
    if (s.length > 0) pulp_norm_sums(&s);
    state[core] = first ? s.sum[0] : state[core] + s.sum[0];
    others[core] = first ? s.sum[1] : others[core] + s.sum[1];
  }} else {{
    const float by_offset = norm_total(state, PULP_CORES);
    const float by_scale = norm_total(others, PULP_CORES) * inverse[0];
{_coefficients("0")}
{weight}
    if (s.length > 0) pulp_norm_gradient(&s);
    if (first) {{
  {_gradient_results(s, "core == 0", "0")}
    }}
  }}
}}"""
