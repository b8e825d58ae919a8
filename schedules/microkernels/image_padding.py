"""Padding around a tile of an image of bytes in L1."""

from __future__ import annotations

_MOST_WORDS = 8
"""That are written one by one on a side of a row."""


_PAD = """\
/* Puts the padding's value into a run of bytes. */
static void quantized_pad(uint8_t *to, int32_t bytes) {{
  uint8_t *const end = to + bytes;
  for (; to < end && (uintptr_t)to % 4; ++to) *to = {value};
  for (; end - to >= 16; to += 16) {{
    pad_word *const words = (pad_word *)to;
    words[0] = words[1] = words[2] = words[3] = {word};
  }}
  for (; end - to >= 4; to += 4) *(pad_word *)to = {word};
  for (; to < end; ++to) *to = {value};
}}

"""


def _side(value: int, pitch: int, at: int, size: int) -> str:
    """Return C that writes so many bytes from a place in each row on, by words where they are whole ones."""
    if not size:
        return ""
    if at % 4 or size % 4 or pitch % 4 or size > 4 * _MOST_WORDS:
        return f"    quantized_pad(line + {at}, {size});\n"
    targets = " = ".join(f"((pad_word *)line)[{at // 4 + i}]" for i in range(size // 4))
    return f"    {targets} = {value * 0x01010101:#x};\n"


def padding_source(value: int, pitch: int, left: int, filled: int, rows: int, slack: int, above: bool) -> str:
    """Return C that puts a value around a tile of an image of bytes.

    Parameters
    ----------
    value
        The data's zero point.
    pitch
        Bytes of a row.
    left, filled
        Bytes in front of what the DMA writes in each row, and bytes that it writes.
    rows
        Rows of a full tile.
    slack
        Bytes behind the last row that are read, times zero.
    above
        Whether there is padding above or below.
    """
    right, word = pitch - left - filled, f"{value * 0x01010101:#x}"
    size = rows * pitch
    sides = ""
    left_side = _side(value, pitch, 0, left)
    right_side = _side(value, pitch, left + filled, right)
    if left or right:
        sides = f"""\
  const int32_t first = PULP_CORES > 1, workers = PULP_CORES - first; /* worker 0 starts transfers */
  if (core < first) return;
  const int32_t end = pulp_chunk(core + 1 - first, workers, {rows});
  for (int32_t row = pulp_chunk(core - first, workers, {rows}); row < end; ++row) {{
    uint8_t *const line = image + row * {pitch};
{left_side}{right_side}  }}
"""
    behind = f"  if (core == PULP_CORES - 1) quantized_pad(image + {size}, {slack});\n" if slack else ""
    text = "typedef uint32_t __attribute__((may_alias)) pad_word;\n\n"
    if above or behind or "quantized_pad(" in sides:
        text += _PAD.format(value=value, word=word)
    if sides or behind:
        text += f"""\
/* What the DMA never writes in a tile: the columns left and right of the image. */
static void quantized_pad_sides(int core, uint8_t *image) {{
  (void)core;
{sides}{behind}}}

"""
    if not above:
        return text if sides or behind else ""
    return f"""\
{text}/* Rows above and below the image: the first `before` rows and those from `after` on. */
static void quantized_pad_rows(int core, void *tile, int32_t before, int32_t after, int32_t rows) {{
  uint8_t *const image = tile;
  const int32_t split = pulp_min(before, rows) * {pitch}, total = split + pulp_max(0, rows - after) * {pitch};
  const int32_t begin = pulp_chunk(core, PULP_CORES, total), end = pulp_chunk(core + 1, PULP_CORES, total);
  const int32_t below = pulp_max(begin, split);
  if (begin < split) quantized_pad(image + begin, pulp_min(end, split) - begin);
  if (below < end) quantized_pad(image + below + (after - before) * {pitch}, end - below);
}}
"""
