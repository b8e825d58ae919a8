"""Batch normalisation in training mode in L1, forward and backward, by the sweeps of `batch_norm_streams`.

*Resident*: a tile holds all elements of its channels, and both sweeps run over it. *Streamed*: a tile holds a
part of one channel, and a step is one sweep over it.
"""

from __future__ import annotations

from dataclasses import replace

from tvm_pulp.schedules.microkernels.batch_norm_backward import backward_step, backward_tile
from tvm_pulp.schedules.microkernels.batch_norm_forward import forward_moments, forward_step, forward_tile
from tvm_pulp.schedules.microkernels.batch_norm_streams import Kept, NormSizes, streams
from tvm_pulp.schedules.microkernels.stream import streams_source

STATE_OF_A_WORKER = 6
"""Floats of L1 that a worker needs between the steps of a streamed channel."""


def batch_norm_source(
    s: NormSizes, *, parts: int, kept: Kept, resident: bool, assembly: bool, separate: bool = False
) -> str:
    """Return C for ``batch_norm_tile`` (resident) or ``batch_norm_step`` (streamed).

    Parameters
    ----------
    s
        Sizes.
    parts
        Workers that share a channel (resident).
    kept
        Which elements stay in L1 between the sweeps: all of a resident tile's.
    resident
        Whether a tile holds whole channels.
    assembly
        Whether the target has Xpulp.
    separate
        Whether the results of a resident tile go to one of their own.
    """
    if resident:
        body = (backward_tile if s.backward else forward_tile)(s, parts, separate)
    else:
        body = backward_step(s, kept) if s.backward else forward_step(s)
    length = s.pixels if resident and s.images % parts == 0 else 0
    loops = [replace(stream, length=length) for stream in streams(s, kept, separate).all()]
    sweeps = streams_source(loops, assembly=assembly)
    moments = [] if s.backward else [forward_moments(s)]
    shared = s.backward and (parts > 1 or not resident)
    return "\n\n".join([sweeps, _statistics(s, shared), *moments, body])


def _statistics(s: NormSizes, shared: bool) -> str:
    share = f"#define NORM_SHARE {1.0 / (s.images * s.pixels)!r}f /* of a sample in a mean */"
    if not shared:
        return share
    return f"""\
{share}

/* Sum of the workers' parts. */
static inline float norm_total(const float *parts, int32_t count) {{
  float total = 0.0f;
  for (int32_t i = 0; i < count; ++i) total += parts[i];
  return total;
}}"""
