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
    if left or right:
        sides = f"""\
  const int32_t end = pulp_chunk(core + 1, PULP_CORES, {rows});
  for (int32_t row = pulp_chunk(core, PULP_CORES, {rows}); row < end; ++row) {{
    uint8_t *const line = image + row * {pitch};
    for (int32_t i = 0; i < {left}; ++i) line[i] = {value};
    for (int32_t i = {left + filled}; i < {pitch}; ++i) line[i] = {value};
  }}
"""
    behind = (
        f"  if (core == 0)\n    for (int32_t i = {size}; i < {size + slack}; ++i) image[i] = {value};\n"
        if slack
        else ""
    )
    text = ""
    if sides or behind:
        text = f"""\
/* What the DMA never writes in a tile: the columns left and right of the image. */
static void quantized_pad_sides(int core, uint8_t *image) {{
  (void)core;
{sides}{behind}}}

"""
    if not above:
        return text
    return f"""\
{text}/* Rows above and below the image: the first `before` rows and those from `after` on. */
static void quantized_pad_rows(int core, uint8_t *image, int32_t before, int32_t after, int32_t rows) {{
  const int32_t total = (before + pulp_max(0, rows - after)) * {pitch};
  for (int32_t i = pulp_chunk(core, PULP_CORES, total); i < pulp_chunk(core + 1, PULP_CORES, total); ++i)
    image[i < before * {pitch} ? i : i + (after - before) * {pitch}] = {value};
}}
"""
