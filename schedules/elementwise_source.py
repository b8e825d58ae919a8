"""C of an elementwise tile: the share of a worker, a run of elements, by a stream."""

from __future__ import annotations

import math

from tvm_pulp.schedules.bit_mask import GROUP, WORD_BITS
from tvm_pulp.schedules.flat_stream import FlatStream, RowScalar
from tvm_pulp.schedules.microkernels.stream import streams_source
from tvm_pulp.target.tvm_names import Buffer, buffer_shape

_STREAM = """\
  struct stream s; /* set field by field: an initialiser would clear all of it, by a call of memset */
  s.segments = 1, s.skip = 0;"""


def inputs(flat: FlatStream) -> list[Buffer]:
    """Return the parameters of one element, which the function reads from L2."""
    return [scalar for scalar in flat.scalars if not isinstance(scalar, float | RowScalar)]


def tile_function(flat: FlatStream, *, assembly: bool, of_box: bool = False) -> str:
    """Return the C of ``elementwise_tile``, with that of the stream.

    Its arguments: worker, elements of the tile; where operands are broadcast the tile's position, or, for a
    tile that is a box of channels, the elements of a row in it and the rows after which the channels start
    again; a pointer a tensor, a pointer a mask, a tensor of one element a row, a parameter of one element.

    Parameters
    ----------
    flat
        What is done to an element.
    assembly
        Whether the target has Xpulp.
    of_box
        Whether a tile is a box of the tensors instead of a run of their elements: rows may be cut off, and a
        tensor of one element a row is passed from the tile's first channel on.
    """
    parameters = ""
    if flat.row < flat.elements:
        parameters = ", int32_t length, int32_t channels" if of_box else ", int32_t position"
    parameters += "".join(f", float *{pointer}" for pointer in flat.stream.pointers)
    parameters += "".join(f", uint32_t *{mask}" for mask in flat.stream.masks)
    parameters += "".join(f", const float *row{n}" for n in range(len(flat.row_scalars)))
    parameters += "".join(f", const float *input{n}" for n in range(len(inputs(flat))))
    body = _rows(flat, of_box) if flat.row < flat.elements else _run(flat)
    units, unit, count = "fours", 4, "(elements + 3) / 4"
    if flat.masks:
        units, unit, count = "groups", GROUP, f"elements / {GROUP}"
    return f"""\
{streams_source([flat.stream], assembly=assembly)}

/* The share of worker `core` in a tile: a run of elements. */
static void elementwise_tile(int core, int32_t elements{parameters}) {{
  const int32_t {units} = {count}, begin = {unit} * pulp_chunk(core, PULP_CORES, {units});
  const int32_t end = pulp_min(elements, {unit} * pulp_chunk(core + 1, PULP_CORES, {units}));
  if (begin >= end) return;
{body}
}}"""


def _run(flat: FlatStream) -> str:
    at = "".join(f"\n  s.at[{n}] = {pointer} + begin;" for n, pointer in enumerate(flat.stream.pointers))
    length = "s.length = end - begin;"
    if flat.masks:
        length = f"s.length = {GROUP}, s.segments = (end - begin) / {GROUP};"
    first = len(flat.stream.pointers)
    for n, mask in enumerate(flat.stream.masks):
        at += f"\n  s.at[{first + n}] = (float *)({mask} + begin / {WORD_BITS});"
    return f"""\
{_STREAM}
  {length}{at}{_constants(flat)}
  pulp_elementwise(&s);"""


def _rows(flat: FlatStream, of_box: bool) -> str:
    """Return the loop over the rows that a run touches."""
    length, first = ("length", "begin") if of_box else (str(flat.row), "position + begin")
    pointers = enumerate(zip(flat.stream.pointers, flat.repeated, strict=True))
    at = " ".join(f"s.at[{n}] = {p} + {'column' if repeated else 'at'};" for n, (p, repeated) in pointers)
    places = [n for n, scalar in enumerate(flat.scalars) if isinstance(scalar, RowScalar)]
    counts = ["channels" if of_box else math.prod(buffer_shape(tensor)) for tensor in flat.row_scalars]
    starts = "".join(f"\n  int32_t place{n} = row % {count};" for n, count in enumerate(counts))
    values = "".join(f"\n    s.scalar[{place}] = row{n}[place{n}];" for n, place in enumerate(places))
    moves = "".join(
        f"\n    place{n} = place{n} + 1 < {count} ? place{n} + 1 : 0;" for n, count in enumerate(counts)
    )
    return f"""\
{_STREAM}{_constants(flat)}
  const int32_t row = ({first}) / {length};
  int32_t column = {first} - row * {length};{starts}
  for (int32_t at = begin; at < end; at += s.length, column = 0) {{
    s.length = pulp_min(end - at, {length} - column);{values}{moves}
    {at}
    pulp_elementwise(&s);
  }}"""


def _constants(flat: FlatStream) -> str:
    """Return the settings of the scalars that are the same for all rows."""
    lines, count = [], 0
    for number, scalar in enumerate(flat.scalars):
        if isinstance(scalar, RowScalar):
            continue
        if isinstance(scalar, float):
            value = f"{scalar!r}f"
        else:
            value, count = f"*input{count}", count + 1
        lines.append(f"\n  s.scalar[{number}] = {value};")
    return "".join(lines)
