"""Batch normalisation in training mode, forward: statistics of a channel beside the results of another one.

A step takes the sums of a tile and gives the results of the tile that lies a whole channel, or group of
channels, behind: one loop does both, and the loads and stores of the one fill the time that two workers share
a FPU for the other. See `batch_norm_forward` for the statistics.
"""

from __future__ import annotations

from dataclasses import dataclass
from textwrap import dedent, indent

from tvm_pulp.schedules.microkernels.batch_norm_forward import (
    forward_parameters,
    forward_results,
    join_of_parts,
    share_of_a_sample,
)
from tvm_pulp.schedules.microkernels.batch_norm_share import channels_loop, limit, share_of_a_channel
from tvm_pulp.schedules.microkernels.batch_norm_streams import NormSizes
from tvm_pulp.schedules.microkernels.stream_definition import LANES

FEWEST_ELEMENTS = 256
"""Elements that a piece of a channel needs at least for `MOST_CORES` workers to have shares of it."""
MOST_CORES = 8

_RELIEF = 24
"""Elements of a piece that core 0 is spared, at least where they are many, as it sees to the DMA too."""


@dataclass(frozen=True)
class Shares:
    """Elements of a piece that core 0 has, and those of each other worker."""

    first: int
    others: int

    @property
    def relief(self) -> int:
        """Elements that core 0 has less than others."""
        return self.others - self.first


def piece_shares(elements: int, cores: int) -> Shares:
    """Share out a piece so that all workers but core 0 have the same, if it can be in whole rounds."""
    relief = min(_RELIEF, elements // (2 * cores))
    others = round((elements + relief) / cores)
    if elements % LANES == 0:
        others = round(others / LANES) * LANES
    return Shares(elements - (cores - 1) * others, others)


_CONSTANTS = """\
const float reciprocal = pulp_rsqrtf(spread + NORM_EPSILON), factor = reciprocal * scale[before];
const float shift = offset[before] - middle * factor;"""


def _sweeps(s: NormSizes) -> str:
    """Run the loop for sums, for results, or for both."""
    bound = limit(s, 2, False)[1:]
    return f"""\
{bound + chr(10) if bound else ""}\
    if (!results) {{
      pulp_norm_sums(&s);
    }} else if (sums) {{
      pulp_norm_both(&s);
    }} else {{
      s.at[0] = s.at[1];
      pulp_norm_apply(&s);
    }}"""


def overlapped_pieces(s: NormSizes, pieces: int, cores: int) -> str:
    """Return C of ``batch_norm_overlapped`` for tiles that hold a piece of a channel.

    Parameters
    ----------
    s
        Sizes.
    pieces
        Of a channel, all of the same size.
    cores
        Workers.
    """
    shares = piece_shares(s.images * s.pixels // pieces, cores)
    samples = pieces * shares.others
    merge = ""
    if pieces > 1:
        share = "0.5f" if pieces == 2 else "pulp_reciprocalf((float)(piece + 1))"
        merge = f"""\
 else {{
      const float share = {share}, distance = s.sum[0] - means[core]; /* share: of a piece in all up to it */
      squares[core] += s.sum[1] + distance * distance * ((1.0f - share) * (float)length);
      means[core] += distance * share;
    }}"""
    statistics = f"""\
const float *found = state + {2 * cores} * (before & 1);
float middle, spread;
norm_join(found, &middle, &spread);
{_CONSTANTS}
own[0] = factor;
own[1] = shift;"""
    return f"""\
/* Mean and variance of a channel, from the means of the workers' parts and the squared deviations from these,
 * as in state. Core 0 has {pieces * shares.first} samples, each other worker {samples}. */
static inline void norm_join(const float *found, float *mean, float *variance) {{
  float apart = 0.0f, squares = 0.0f, deviations = found[{cores}];
  for (int32_t p = 1; p < {cores}; ++p) {{
    const float distance = found[p] - found[0];
    apart += distance;
    squares += distance * distance;
    deviations += found[{cores} + p];
  }}
  const float nearer = apart * ({samples}.0f * NORM_SHARE); /* from the first mean to that of all */
  *mean = found[0] + nearer;
  *variance = (deviations + {samples}.0f * (squares - apart * nearer)) * NORM_SHARE;
}}

/* Sums of a piece of a channel, and results of the same piece of the channel before, in place, where there
 * are such (`sums`, `results`). state, for channels of even and of odd number: a float a worker for the
 * means, as many for squared deviations; then what each worker keeps. */
static void batch_norm_overlapped(int core, float *summed, float *tile, float *state, int32_t sums,
                                  int32_t results, int32_t piece, int32_t channel,
                                  {forward_parameters(s)}) {{
  const int32_t begin = core == 0 ? 0 : {shares.others} * core - {shares.relief};
  const int32_t length = core == 0 ? {shares.first} : {shares.others};
  float *means = state + {2 * cores} * (channel & 1), *squares = means + {cores};
  float *own = state + {4 * cores} + 2 * core;
  struct stream s; /* set field by field: an initialiser would clear all of it, by a call of memset */
  s.length = length, s.segments = 1, s.skip = 0;
  s.at[0] = summed + begin;
  s.at[1] = tile + begin;
  if (results) {{
    if (piece == 0) {{
      const int32_t before = channel - 1;
{indent(statistics, "      ")}
{indent(forward_results(s, "core == 0", "before"), "  ")}
    }}
    s.scalar[0] = own[0];
    s.scalar[1] = own[1];
  }}
{indent(dedent(_sweeps(s)), "  ")}
  if (sums) {{
    norm_moments(&s, summed + begin, core == 0 ? {1.0 / shares.first!r}f : {1.0 / shares.others!r}f);
    if (piece == 0) {{
      means[core] = s.sum[0];
      squares[core] = s.sum[1];
    }}{merge}
  }}
}}"""


def overlapped_channels(s: NormSizes, channels: int, parts: int) -> str:
    """Return C of ``batch_norm_overlapped`` for tiles that hold all of several channels.

    Parameters
    ----------
    s
        Sizes.
    channels
        Of a tile.
    parts
        Workers that share a channel.
    """
    statistics = f"const float middle = found[c], spread = found[{channels} + c] * NORM_SHARE;"
    join = ""
    if parts > 1:
        join = f"{join_of_parts(s, parts)}\n\n"
        statistics = f"""\
float middle, spread;
norm_join(found + c * {parts}, found + {channels * parts} + c * {parts}, &middle, &spread);"""
    body = f"""\
    float *const at = summed + begin + c * {s.pixels};
    s.at[0] = at;
    s.at[1] = tile + begin + c * {s.pixels};
    if (results) {{
      const int32_t before = channel - {channels} + c;
{indent(statistics, "      ")}
{indent(_CONSTANTS, "      ")}
      s.scalar[0] = factor;
      s.scalar[1] = shift;
{indent(forward_results(s, "part == 0", "before"), "  ")}
    }}
{_sweeps(s)}
    if (sums) {{
      norm_moments(&s, at, {share_of_a_sample(s, parts)});
      means[c * {parts} + part] = s.sum[0];
      squares[c * {parts} + part] = s.sum[1];
    }}"""
    half = 2 * channels * parts
    return f"""\
{join}\
/* Sums of {channels} channels, and results of as many before these, in place, where there are such (`sums`,
 * `results`); {parts} workers share a channel. channel: of the first sum. state, for tiles of even and of odd
 * number: means of the workers' parts, as many squared deviations. */
static void batch_norm_overlapped(int core, float *summed, float *tile, float *state, int32_t sums,
                                  int32_t results, int32_t odd, int32_t channel,
                                  {forward_parameters(s)}) {{
  const int32_t channels = {channels};
  float *means = state + {half} * odd, *squares = means + {half // 2};
  const float *found = state + {half} * (1 - odd);
{share_of_a_channel(s, parts)}
{channels_loop(parts, body)}
}}"""
