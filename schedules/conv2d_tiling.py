"""Tiles of a convolution: their sizes, how long they stay the same, and what they need of L1."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from tvm_pulp.schedules.conv2d_workload import DATA_GRADIENT, FORWARD, WEIGHT_GRADIENT, Conv2dSizes
from tvm_pulp.schedules.dialect import ALIGNMENT, ceil_div
from tvm_pulp.schedules.microkernels.conv2d import conv2d_distances
from tvm_pulp.schedules.microkernels.depthwise_plan import depthwise_plans

LOOP_ORDERS = ("nyr", "rny")
"""Orders of the tile loops: images, rows, and the result's channels (``r``) inside or outside."""

ITEM_BYTES = 4
_STAYING_WEIGHTS = 6144
"""Bytes of a depthwise convolution's weights up to which they all stay in L1."""


@dataclass(frozen=True)
class Conv2dBlocking:
    """Bound knobs. ``tile_y`` counts rows of the output (of the data for the data gradient).

    ``parts`` partial sums of the weight gradient are made side by side by different workers.
    """

    tile_n: int
    tile_y: int
    tile_o: int
    tile_c: int
    order: int
    block_rows: int = 4
    block_columns: int = 4
    parts: int = 1

    @staticmethod
    def of(s: Conv2dSizes, knobs: Mapping[str, int]) -> Conv2dBlocking:
        """Return the blocking for knobs, clipped to the sizes."""
        rows_total, columns_total = panel_extents(s)
        return Conv2dBlocking(
            min(knobs["tile_n"], axis_extents(s)["n"]),
            min(knobs["tile_y"], axis_extents(s)["y"]),
            min(knobs["tile_o"], s.outputs),
            min(knobs["tile_c"], s.inputs),
            knobs["order"],
            min(4, rows_total),
            min(4, columns_total),
            knobs.get("parts", 1),
        )

    def tile(self, axis: str) -> int:
        """Return the tile size of an axis: section, group, image, row, output or input channel."""
        return {"s": 1, "g": 1, "n": self.tile_n, "y": self.tile_y, "o": self.tile_o, "c": self.tile_c}[axis]


def axis_extents(s: Conv2dSizes) -> dict[str, int]:
    """Return the extents of the tile loop's axes: section, group, image, row, output and input channel."""
    images, rows = s.batch, s.height.source if s.kind == DATA_GRADIENT else s.height.out
    if s.kind == WEIGHT_GRADIENT:
        images, rows = s.section_images, s.section_rows
    return {"s": s.sections, "g": s.groups, "n": images, "y": rows, "o": s.outputs, "c": s.inputs}


def panel_extents(s: Conv2dSizes) -> tuple[int, int]:
    """Return what runs along a panel's rows and columns, in all."""
    if s.kind == FORWARD:
        return s.outputs, s.width.out
    if s.kind == DATA_GRADIENT:
        return s.inputs, max(1, s.width.source // s.width.stride)
    return s.outputs, s.inputs


def reduction_axes(s: Conv2dSizes) -> str:
    """Return the axes that are summed over, outermost first."""
    if s.kind == WEIGHT_GRADIENT:
        return "ny"
    return "o" if s.kind == DATA_GRADIENT and not s.depthwise else "c"


def loop_axes(s: Conv2dSizes, order: int) -> str:
    """Return the axes of the tile loop, outermost first."""
    if s.kind == WEIGHT_GRADIENT:
        return "sg" + ("oc" if LOOP_ORDERS[order] == "nyr" else "co") + "ny"
    return "g" + LOOP_ORDERS[order].replace("r", s.result_axis) + reduction_axes(s)


def tensor_axes(s: Conv2dSizes) -> tuple[str, str, str]:
    """Return the axes that the image, the other operand and the result depend on."""
    if s.kind == WEIGHT_GRADIENT:
        return "sgny" + s.image_axis, "sgnyo", "sgoc"
    return "gny" + s.image_axis, "goc", "gny" + s.result_axis


def weights_stay(s: Conv2dSizes, b: Conv2dBlocking) -> bool:
    """Tell whether all weights lie in L1 once their channels have come by, as they are few and come again.

    They are those of a depthwise convolution whose tile loop runs over the channels innermost: the first
    tile's are loaded with it, all others beside the work on it.
    """
    innermost = s.depthwise and s.kind != WEIGHT_GRADIENT and LOOP_ORDERS[b.order] == "nyr"
    return innermost and b.tile_o < s.outputs and ITEM_BYTES * s.outputs * s.taps <= _STAYING_WEIGHTS


def image_rows(s: Conv2dSizes, rows: int) -> int:
    """Return the lines of the image, padding counted, for ``rows`` rows of the tile loop."""
    return s.height.windows(rows) if s.kind == DATA_GRADIENT else s.height.padded(rows)


def tile_lines(s: Conv2dSizes, b: Conv2dBlocking) -> int:
    """Return the lines of each channel of the image's tile."""
    return min(image_rows(s, b.tile_y), s.height.out if s.kind == DATA_GRADIENT else s.height.source)


def tile_elements(s: Conv2dSizes, b: Conv2dBlocking) -> tuple[int, int, int]:
    """Return the elements of a tile of the image, of the other operand, and of the result."""
    line = s.width.out if s.kind == DATA_GRADIENT else s.width.source
    image = b.tile_n * b.tile(s.image_axis) * tile_lines(s, b) * line
    if s.kind == WEIGHT_GRADIENT:
        operand = b.tile_n * b.tile_o * b.tile_y * s.width.out
        result = b.parts * b.tile_o * b.tile_c * s.taps
    else:
        operand = (s.outputs if weights_stay(s, b) else b.tile_o) * b.tile_c * s.taps
        width = s.width.out if s.kind == FORWARD else s.width.source
        result = b.tile_n * b.tile(s.result_axis) * b.tile_y * width
    step = ALIGNMENT // ITEM_BYTES
    one, two, three = (ceil_div(size, step) * step for size in (image, operand, result))
    return one, two, three


def row_unit(s: Conv2dSizes) -> int:
    """Return of how many rows the number of a tile's rows is a multiple."""
    if s.depthwise:
        return depthwise_plans(s, True)[0].row_unit
    return s.height.stride if s.kind == DATA_GRADIENT else 1


def whole_planes(s: Conv2dSizes, b: Conv2dBlocking, cores: int) -> int:
    """Return the channels of images of a worker's share of each tile of a depthwise convolution's results.

    It is 0 where shares are not whole channels or not all the same.
    """
    extents = axis_extents(s)
    if s.kind == WEIGHT_GRADIENT or any(extents[axis] % b.tile(axis) for axis in "nyo"):
        return 0
    planes, rest = divmod(b.tile_n * b.tile_o, cores)
    return 0 if rest or b.tile_y < extents["y"] else planes


def counts(s: Conv2dSizes, b: Conv2dBlocking) -> dict[str, int]:
    """Return the number of tiles along each axis."""
    return {axis: ceil_div(extent, b.tile(axis)) for axis, extent in axis_extents(s).items()}


def periods(s: Conv2dSizes, b: Conv2dBlocking) -> tuple[int, int, int]:
    """Return for how many tiles in a row the image, the other operand and the result stay the same."""
    number = counts(s, b)

    def same_for(used: str) -> int:
        product = 1
        for axis in reversed(loop_axes(s, b.order)):
            if axis in used and number[axis] > 1:
                break
            product *= number[axis]
        return product

    image, operand, result = (same_for(axes) for axes in tensor_axes(s))
    return image, math.prod(number.values()) if weights_stay(s, b) else operand, result


def l1_bytes(s: Conv2dSizes, b: Conv2dBlocking) -> int:
    """Return the bytes of L1: two copies of what changes from tile to tile, one of the rest."""
    total = math.prod(counts(s, b).values())
    sizes = list(zip(tile_elements(s, b), periods(s, b), strict=True))
    plain = sizes if s.epilogue is None else sizes[:2]
    found = ITEM_BYTES * sum(size * (2 if same_for < total else 1) for size, same_for in plain)
    if s.epilogue is not None:
        reduced = reduction_tiles(s, b)
        one, result = epilogue_elements(s, b), sizes[2][0]
        found += s.epilogue.l1_bytes(ITEM_BYTES * one, ITEM_BYTES * result, total // reduced, reduced)
    return found


def reduction_tiles(s: Conv2dSizes, b: Conv2dBlocking) -> int:
    """Return the tiles of the tile loop that make up one of the result."""
    number = counts(s, b)
    return math.prod(number[axis] for axis in reduction_axes(s))


def epilogue_elements(s: Conv2dSizes, b: Conv2dBlocking) -> int:
    """Return the elements of a tile of the tensors that an epilogue works on, partial sums added up."""
    step = ALIGNMENT // ITEM_BYTES
    return ceil_div(tile_elements(s, b)[2], b.parts * step) * step


def is_valid(s: Conv2dSizes, b: Conv2dBlocking, limit: int) -> bool:
    """Tell whether the tiles fit L1, instructions reach across them, and rows start where a class does."""
    if b.tile_y % row_unit(s) and b.tile_y < axis_extents(s)["y"]:
        return False
    if s.depthwise:
        return l1_bytes(s, b) <= limit
    reach = conv2d_distances(s, b.tile_c, b.tile_y, tile_lines(s, b)).reach(b.block_rows, b.block_columns)
    return reach and l1_bytes(s, b) <= limit
