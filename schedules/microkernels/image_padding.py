"""Padding around a tile of an image of bytes in L1."""

from __future__ import annotations


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
    right = pitch - left - filled
    size = rows * pitch
    sides = ""
    left_side = f"    quantized_pad(line, {left});\n" if left else ""
    right_side = f"    quantized_pad(line + {left + filled}, {right});\n" if right else ""
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
    text = f"""\
/* Puts the padding's value into a run of bytes. */
static void quantized_pad(uint8_t *to, int32_t bytes) {{
  typedef uint32_t __attribute__((may_alias)) word;
  uint8_t *const end = to + bytes;
  for (; to < end && (uintptr_t)to % 4; ++to) *to = {value};
  for (; end - to >= 16; to += 16)
    ((word *)to)[0] = ((word *)to)[1] = ((word *)to)[2] = ((word *)to)[3] = {value * 0x01010101:#x};
  for (; end - to >= 4; to += 4) *(word *)to = {value * 0x01010101:#x};
  for (; to < end; ++to) *to = {value};
}}

"""
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
