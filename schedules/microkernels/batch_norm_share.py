"""What the C of both passes of a batch norm has in common: shares of a channel, loops, limits."""

from __future__ import annotations

from dataclasses import dataclass

from tvm_pulp.schedules.microkernels.batch_norm_streams import CLIP, NormSizes
from tvm_pulp.schedules.microkernels.stream_definition import LANES

SHARE = f"""\
/* Elements of a worker's share of a step, of whole rounds of the loops; core 0 has what the others leave,
 * about `relief` rounds less where they are many, and one element at least. */
static inline int32_t norm_share(int32_t elements, int32_t relief) {{
  const int32_t rounds = elements / {LANES};
  const int32_t spared = pulp_min(relief, rounds / (2 * PULP_CORES)) + PULP_CORES / 2;
  return {LANES} * ((rounds + (rounds < PULP_CORES * PULP_CORES ? 0 : spared)) / PULP_CORES);
}}"""


@dataclass(frozen=True)
class Relief:
    """Rounds of the loops that core 0, which sees to the DMA, has less than others in a step over a piece.

    Attributes
    ----------
    sums, results : tuple of int
        In the sweep for sums and that for results: of a step over a channel's first piece, and of others.
    """

    sums: tuple[int, int]
    results: tuple[int, int]

    def step(self) -> str:
        """Declare a worker's share of a step over a part of a channel, from where `SHARE` is defined."""

        def share(rounds: tuple[int, int]) -> str:
            first, other = (f"norm_share(elements, {relief})" for relief in rounds)
            return first if first == other else f"(first ? {first} : {other})"

        return f"""\
  const int32_t share = sweep == 0 ? {share(self.sums)}
                                   : {share(self.results)};
  const int32_t begin = core == 0 ? 0 : elements - share * (PULP_CORES - core);
  struct stream s; /* set field by field: an initialiser would clear all of it, by a call of memset */
  s.length = core == 0 ? elements - share * (PULP_CORES - 1) : share, s.segments = 1, s.skip = 0;
"""


def limit(s: NormSizes, field: int, last: bool) -> str:
    """Set the scalar that bounds a clipped value: the bound, or the largest number below it."""
    if s.activation != CLIP:
        return ""
    bound = f"{s.limit!r}f"
    if last:
        bound = f"pulp_int_as_float(pulp_float_as_int({bound}) - 1)"
    return f"\n    s.scalar[{field}] = {bound};"


def share_of_a_channel(s: NormSizes, parts: int) -> str:
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


def samples_of_parts(s: NormSizes, parts: int) -> tuple[int, int, int]:
    """Return how many workers have a larger share of a channel, its samples, and those of the others."""
    if s.images % parts == 0:
        samples = s.images // parts * s.pixels
        return 0, samples, samples
    each, larger = divmod(s.pixels, parts)
    return larger, s.images * (each + 1), s.images * each


def channels_loop(parts: int, body: str) -> str:
    """Loop over the channels of a worker: its team takes each one in `teams`."""
    return f"""\
  for (int32_t c = core / {parts}; c < channels; c += PULP_CORES / {parts}) {{
{body}
  }}"""


def sweeps_of_a_tile(parts: int, first: str, second: str) -> str:
    """Run both sweeps over each channel, with a barrier in between where workers share it."""
    if parts == 1:
        return channels_loop(parts, f"{first}\n{second}")
    return f"{channels_loop(parts, first)}\n  cluster_barrier();\n{channels_loop(parts, second)}"


def result_parameter(separate: bool) -> str:
    """Declare where the results of a tile go if not into its own place."""
    return ", float *result" if separate else ""
