"""From float32 to unsigned bytes: ``clip(floor(x * r + 1/2) + Z, 0, 255)``, r the reciprocal scale.

Up to four channels, or four of more, which lie one after the other, become words with the channels of a pixel
side by side, by `byte_conversion`. Other numbers of channels are left to plain C.
"""

from __future__ import annotations

from dataclasses import dataclass

from tvm_pulp.schedules.microkernels.byte_conversion import ROUNDING_DOWN, ByteConversion
from tvm_pulp.schedules.microkernels.latent_block import BlockCode, share

_NAME = "quantize_blocks"
_SOURCES = ("a0", "a3", "a4", "a5")
_VALUES = 16
_WORKING = 8
_MOST_CHANNELS = 256
"""Of the result's pixels, which immediate operands must reach across."""


@dataclass(frozen=True)
class QuantizeSettings:
    """What the code depends on.

    Attributes
    ----------
    reciprocal : float
        Of the scale, a float32.
    zero_point : int
        Z, 0 to 255.
    channels : int
        Channels: the step from a result to the next one of a channel.
    """

    reciprocal: float
    zero_point: int
    channels: int

    @property
    def has_words(self) -> bool:
        """Whether there is assembly, which makes words."""
        return self.channels <= len(_SOURCES) or (self.channels % 4 == 0 and self.channels <= _MOST_CHANNELS)

    @property
    def together(self) -> int:
        """Channels that the assembly works on at once."""
        return min(self.channels, len(_SOURCES))

    @property
    def pixels(self) -> int:
        """Pixels of a pass of the assembly's loop: they fill words."""
        return _VALUES // self.together // 4 * 4 or 4


def quantize_source(s: QuantizeSettings, *, assembly: bool) -> str:
    """Return C for ``quantize_tile``, a worker's share of a tile, ``[channel][pixel]`` to the inverse order.

    Parameters
    ----------
    s
        The settings.
    assembly
        Whether the target has Xpulp; plain C is there in any case, for the host.
    """
    low, high = -s.zero_point, 255 - s.zero_point
    one = f"""\
/* The bytes of some pixels. */
static void quantize_some(const float *data, uint8_t *result, int32_t pixels, int32_t first, int32_t end) {{
  for (int32_t channel = 0; channel < {s.channels}; ++channel)
    for (int32_t pixel = first; pixel < end; ++pixel) {{
      const float value = data[channel * pixels + pixel];
      const int32_t nearest = pulp_quantize(value, {s.reciprocal.hex()}f, {low}, {high});
      result[pixel * {s.channels} + channel] = (uint8_t)(nearest + {s.zero_point});
    }}
}}"""
    shared = f"""\
/* The share of worker `core` in {s.channels} channels of some pixels. */
static void quantize_tile(int core, const float *data, uint8_t *result, int32_t count, int32_t driving) {{
  (void)driving;
  quantize_some(data, result, count, pulp_chunk(core, PULP_CORES, count),
                pulp_chunk(core + 1, PULP_CORES, count));
}}"""
    if not (assembly and s.has_words):
        return f"{one}\n\n{shared}"
    more = "".join(f", planes + {c} * count" for c in range(1, s.together))
    return f"""\
#include "pulp_assembly.h"

{one}

#if PULP_ASSEMBLY

{_Pixels(s).source()}

/* The share of worker `core` in {s.channels} channels of some pixels, {s.pixels} at a time; the last one does
 * the rest. Worker 0 needs the time of `driving` blocks for the DMA. */
static void quantize_tile(int core, const float *data, uint8_t *result, int32_t count, int32_t driving) {{
{share(s.pixels)}
  for (int32_t channel = 0; channel < {s.channels} && number > 0; channel += {s.together}) {{
    const float *const planes = data + channel * count + first * {s.pixels};
    {_NAME}(planes, result + channel + first * {s.pixels * s.channels}, number{more});
  }}
  if (core == PULP_CORES - 1) quantize_some(data, result, count, blocks * {s.pixels}, count);
}}

#else

{shared}

#endif"""


class _Pixels(BlockCode):
    """The assembly of some pixels at a time: a pointer for each channel, and one for the result."""

    def __init__(self, s: QuantizeSettings) -> None:
        super().__init__(_WORKING, sources=_SOURCES[: s.together])
        self.s = s
        self.conversion = ByteConversion(8, s.zero_point, s.reciprocal)

    def source(self) -> str:
        """Return C with the function."""
        further = ", const float *" * (self.s.together - 1)
        declaration = f"void {_NAME}(const float *, uint8_t *, int32_t{further})"
        steps = 4 * self.s.pixels, self.s.channels * self.s.pixels
        return self.function(_NAME, declaration, steps, ROUNDING_DOWN)

    def write(self) -> None:
        """Append the instructions for a block."""
        together = self.s.together
        for word in range(together * self.s.pixels // 4):
            registers = [self.take() for _ in range(4)]
            for i, register in enumerate(registers):
                pixel, channel = divmod(4 * word + i, together)
                self.load(register, 4, 4 * pixel, channel)
            self.conversion.bytes(self, registers)
            is_whole_pixel = together < self.s.channels
            self.store(registers[0], self.s.channels * word if is_whole_pixel else 4 * word)
            self.release(*registers)
