"""Batch normalisation in training mode in L1, forward.

Each worker finds the mean of its share of a channel and the squared deviations from it; shares are joined by
Chan, Golub and LeVeque, "Updating Formulae and a Pairwise Algorithm for Computing Sample Variances", 1979. A
share's deviations come from its sums: Σ(x - m)² = Σx² - (Σx)·m, a difference that may cost 2 bits of Σx² at
most. Where the mean is larger beside the deviation, a second sweep over the share sums up x - m and (x - m)²,
which gives the deviations and the rest that m has lost to rounding (the corrected two-pass algorithm).
"""

from __future__ import annotations

from textwrap import indent

from tvm_pulp.schedules.microkernels.batch_norm_share import (
    SHARE,
    Relief,
    limit,
    result_parameter,
    samples_of_parts,
    share_of_a_channel,
    sweeps_of_a_tile,
)
from tvm_pulp.schedules.microkernels.batch_norm_streams import NormSizes


def forward_moments(s: NormSizes) -> str:
    """Return C of ``norm_moments``: mean and squared deviations of a worker's elements from their sums."""
    return f"""\
#define NORM_EPSILON {s.epsilon!r}f

/* From the sums of the stream's elements and of their squares, which it replaces: their mean into sum[0],
 * their squared deviations from it into sum[1]. at: where they are; share: of an element in their mean. */
static inline void norm_moments(struct stream *s, float *at, float share) {{
  const float mean = s->sum[0] * share, deviations = s->sum[1] - s->sum[0] * mean;
  if (deviations >= 0.25f * s->sum[1]) {{ /* not if they are not a number */
    s->sum[0] = mean;
    s->sum[1] = deviations;
    return;
  }}
  s->at[0] = at;
  s->scalar[0] = mean;
  pulp_norm_deviations(s);
  const float rest = s->sum[0] * share;
  s->sum[1] -= s->sum[0] * rest;
  s->sum[0] = mean + rest;
}}"""


_RESULTS = """\
    if ({condition}) {{
      center[{c}] = middle;
      {biased}variance[{c}] = spread;
      inverse[{c}] = reciprocal;
    }}"""


def forward_parameters(s: NormSizes) -> str:
    """Declare the vectors of a value a channel."""
    bias = ", const float *bias, float *mean" if s.biased else ""
    return (
        "const float *scale, const float *offset, float *center, float *variance,\n"
        f"                            float *inverse{bias}"
    )


def forward_results(s: NormSizes, condition: str, c: str) -> str:
    """Store a channel's statistics where the condition holds."""
    biased = f"mean[{c}] = middle + bias[{c}];\n      " if s.biased else ""
    return _RESULTS.format(condition=condition, c=c, biased=biased)


_JOIN = """\
/* Mean and variance of a channel, from means of the workers' parts and the squared deviations from these. */
static inline void norm_join({parameters}const float *means, const float *deviations, float *mean,
                             float *variance) {{
  float apart = 0.0f, squares = 0.0f;
  for (int32_t p = 0; p < {parts}; ++p) {{
    const float distance = means[p] - means[0], weighted = {samples} * distance;
    apart += weighted;
    squares += deviations[p] + weighted * distance;
  }}
  *mean = means[0] + apart * NORM_SHARE;
  *variance = (squares - apart * apart * NORM_SHARE) * NORM_SHARE;
}}"""


def share_of_a_sample(s: NormSizes, parts: int) -> str:
    """Return the share of a sample in the mean of a worker's samples, of those that share a channel."""
    larger, many, few = samples_of_parts(s, parts)
    return _by_part("part", larger, 1.0 / many, 1.0 / few)


def join_of_parts(s: NormSizes, parts: int) -> str:
    """Return C of ``norm_join`` for workers that share a channel."""
    larger, many, few = samples_of_parts(s, parts)
    return _JOIN.format(parameters="", parts=parts, samples=_by_part("p", larger, float(many), float(few)))


def _by_part(part: str, larger: int, value: float, other: float) -> str:
    return f"({part} < {larger} ? {value!r}f : {other!r}f)" if larger else f"{other!r}f"


def forward_tile(s: NormSizes, parts: int, separate: bool) -> str:
    """Return C of ``batch_norm_tile``: normalise a tile of whole channels.

    Parameters
    ----------
    s
        Sizes.
    parts
        Workers that share a channel.
    separate
        Whether the results have a place of their own.
    """
    first = f"""\
    float *const at = tile + begin + c * {s.pixels};
    s.at[0] = at;
    pulp_norm_sums(&s);
    norm_moments(&s, at, {share_of_a_sample(s, parts)});"""
    statistics = "    const float middle = s.sum[0], spread = s.sum[1] * NORM_SHARE;"
    join = ""
    if parts > 1:
        first += f"\n    means[c * {parts} + part] = s.sum[0];\n    squares[c * {parts} + part] = s.sum[1];"
        join = join_of_parts(s, parts) + "\n\n"
        statistics = f"""\
    float middle, spread;
    norm_join(means + c * {parts}, squares + c * {parts}, &middle, &spread);"""
    to = f"\n    s.at[1] = result + begin + c * {s.pixels};" if separate else ""
    second = f"""\
    s.at[0] = tile + begin + c * {s.pixels};{to}
{statistics}
    const float reciprocal = pulp_rsqrtf(spread + NORM_EPSILON);
    s.scalar[0] = reciprocal * scale[c];
    s.scalar[1] = offset[c] - middle * s.scalar[0];{limit(s, 2, False)}
    pulp_norm_apply(&s);
{forward_results(s, "part == 0", "c")}"""
    place = "" if separate else " in place"
    unused = "  (void)means, (void)squares;\n" if parts == 1 else ""
    return f"""\
{join}\
/* Normalise a tile of {s.images} x channels x {s.pixels} elements{place}; {parts} workers share a
 * channel. The other pointers are at the first channel's elements. */
static void batch_norm_tile(int core, float *tile{result_parameter(separate)}, float *means, float *squares,
                            int32_t channels, {forward_parameters(s)}) {{
{unused}{share_of_a_channel(s, parts)}
{sweeps_of_a_tile(parts, first, second)}
}}"""


_MERGE = """\
/* Join mean and squared deviations of `samples` more elements to those of a worker. */
static inline void norm_merge(float *count, float *mean, float *deviations, const struct stream *s) {
  const float samples = (float)s->length, all = *count + samples, share = samples * pulp_reciprocalf(all);
  const float distance = s->sum[0] - *mean;
  *deviations += s->sum[1] + distance * distance * (*count * share);
  *mean += distance * share;
  *count = all;
}"""


def forward_step(s: NormSizes, relief: Relief) -> str:
    """Return C of ``batch_norm_step``: a sweep over a part of a channel.

    Parameters
    ----------
    s
        Sizes.
    relief
        Of core 0.
    """
    return f"""\
{SHARE}

{_MERGE}

{_JOIN.format(parameters="const float *counts, ", parts="PULP_CORES", samples="counts[p]")}

/* A sweep over `elements` of a channel, in place; `first`: the first of the sweep; `kept`: they stay from
 * sweep to sweep, which makes no difference here. state: a float a worker for the means, as many for squared
 * deviations and for counts, then what each worker keeps. */
static inline __attribute__((always_inline)) void
batch_norm_step(int core, float *tile, float *state, int32_t sweep, int32_t first, int32_t kept,
                int32_t elements, {forward_parameters(s)}) {{
  (void)kept;
{relief.step()}\
  float *means = state, *squares = state + PULP_CORES, *counts = state + 2 * PULP_CORES;
  float *own = state + 3 * PULP_CORES + 2 * core;
  if (sweep == 0) {{
    if (first) means[core] = squares[core] = counts[core] = 0.0f;
    if (s.length == 0) return;
    const float share = pulp_reciprocalf((float)s.length);
    s.at[0] = tile + begin;
    pulp_norm_sums(&s);
    norm_moments(&s, tile + begin, share);
    norm_merge(&counts[core], &means[core], &squares[core], &s);
  }} else {{
    if (first) {{
      float middle, spread;
      norm_join(counts, means, squares, &middle, &spread);
      const float reciprocal = pulp_rsqrtf(spread + NORM_EPSILON);
      own[0] = reciprocal * scale[0];
      own[1] = offset[0] - middle * own[0];
{indent(forward_results(s, "core == 0", "0"), "  ")}
    }}
    s.at[0] = tile + begin;
    s.scalar[0] = own[0];
    s.scalar[1] = own[1];{limit(s, 2, False)}
    if (s.length > 0) pulp_norm_apply(&s);
  }}
}}"""
