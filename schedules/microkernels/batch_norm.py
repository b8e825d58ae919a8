"""Batch normalisation in training mode in L1, forward and backward, by the sweeps of `batch_norm_streams`.

*Resident*: a tile holds all elements of its channels, and both sweeps run over it. *Streamed*: a tile holds a
part of one channel, and a step is one sweep over it. *Overlapped* (forward):
a step is a sweep over a tile, for sums, and one over a tile of the channels before, for results.
"""

from __future__ import annotations

from dataclasses import replace

from tvm_pulp.schedules.microkernels.batch_norm_backward import backward_step, backward_tile
from tvm_pulp.schedules.microkernels.batch_norm_forward import forward_moments, forward_step, forward_tile
from tvm_pulp.schedules.microkernels.batch_norm_overlapped import overlapped_channels, overlapped_pieces
from tvm_pulp.schedules.microkernels.batch_norm_share import Relief
from tvm_pulp.schedules.microkernels.batch_norm_streams import Kept, NormSizes, both_sweeps, streams
from tvm_pulp.schedules.microkernels.inline_stream import fits_inline, inline_stream
from tvm_pulp.schedules.microkernels.stream import stream_assembly, streams_source
from tvm_pulp.schedules.microkernels.stream_definition import LANES, Stream

STATE_OF_A_WORKER = 6
"""Floats of L1 that a worker needs between the steps of a streamed channel."""
STATE_OF_A_PIECE = 6
"""The same where the sweeps over two channels overlap."""


def batch_norm_source(
    s: NormSizes,
    *,
    parts: int,
    kept: Kept,
    resident: bool,
    assembly: bool,
    separate: bool = False,
    whole_rounds: bool = False,
    relief: Relief | None = None,
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
    whole_rounds
        Whether the elements of each step are whole rounds of the loops (streamed).
    relief
        Of core 0 (streamed).
    """
    if resident:
        body = (backward_tile if s.backward else forward_tile)(s, parts, separate)
    else:
        relief = relief or Relief((0, 0), (0, 0))
        body = backward_step(s, kept, relief) if s.backward else forward_step(s, relief)
    length = s.pixels if resident and s.images % parts == 0 else 0
    loops = streams(s, kept, separate).all()
    if not resident:
        loops = [replace(stream, single=True, whole_rounds=whole_rounds) for stream in loops]
    return _source(s, loops, body, length, shared=parts > 1 or not resident, assembly=assembly)


def overlapped_source(
    s: NormSizes, *, channels: int, parts: int, pieces: int, cores: int, assembly: bool
) -> str:
    """Return C for ``batch_norm_overlapped``, forward.

    Parameters
    ----------
    s
        Sizes.
    channels
        Channels of a tile.
    parts
        Workers that share a channel where there are several.
    pieces
        Tiles of a channel where a tile has one at most.
    cores
        Workers.
    assembly
        Whether the target has Xpulp.
    """
    whole = channels > 1
    body = overlapped_channels(s, channels, parts) if whole else overlapped_pieces(s, pieces, cores)
    length = s.pixels if whole and s.images % parts == 0 else 0
    loops = [*streams(s, Kept.ALL).all(), both_sweeps(s)]
    if not whole:
        whole_rounds = s.images * s.pixels // pieces % LANES == 0
        loops = [replace(stream, single=True, whole_rounds=whole_rounds) for stream in loops]
    return _source(s, loops, body, length, shared=False, assembly=assembly)


def _source(
    s: NormSizes, loops: list[Stream], body: str, length: int, *, shared: bool, assembly: bool
) -> str:
    """Return the loops, for segments of a length unless it is 0, the statistics, and what uses them."""
    loops = [replace(stream, length=length) for stream in loops]
    sweeps = streams_source(loops, assembly=assembly, form=_form)
    moments = [] if s.backward else [forward_moments(s)]
    return "\n\n".join([sweeps, _statistics(s, s.backward and shared), *moments, body])


def _form(stream: Stream) -> str:
    """Return the assembly of a stream, inline if it can be."""
    return inline_stream(stream) if fits_inline(stream) else stream_assembly(stream)


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
