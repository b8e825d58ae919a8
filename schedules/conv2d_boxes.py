"""Which parts of its tensors a tile of a convolution needs and makes."""

from __future__ import annotations

from collections.abc import Mapping

from tvm_pulp.schedules.conv2d_tiling import Conv2dBlocking, axis_extents, tile_lines
from tvm_pulp.schedules.conv2d_workload import DATA_GRADIENT, FORWARD, WEIGHT_GRADIENT, Conv2dSizes
from tvm_pulp.schedules.dialect import index
from tvm_pulp.schedules.footprint import TileAxis
from tvm_pulp.schedules.transfers import Box
from tvm_pulp.target.tvm_names import Expr, Var, arith, tirx

Axes = Mapping[Var, TileAxis]


class Conv2dBoxes:
    """Boxes of the image, the other operand and the result of a tile.

    Parameters
    ----------
    s, b
        The convolution and its tiles.
    variables
        Of the axes by name.
    analyzer
        Knows the variables' ranges.
    """

    def __init__(
        self, s: Conv2dSizes, b: Conv2dBlocking, variables: Mapping[str, Var], analyzer: arith.Analyzer
    ) -> None:
        self.s, self.b, self.variables, self.analyzer = s, b, variables, analyzer

    def at(self, axes: Axes, axis: str) -> TileAxis:
        """Return a tile's values of an axis; images and rows count from the start of the batch."""
        return axes[self.variables[axis]]

    def place(self, axes: Axes) -> tuple[Expr, Expr]:
        """Return the first image and the first row of a tile, its section taken into account."""
        s = self.s
        image, row = self.at(axes, "n").offset, self.at(axes, "y").offset
        if s.sections > 1:
            section = self.at(axes, "s").offset
            parts = max(1, s.sections // s.batch)
            image = image + tirx.floordiv(section, parts) * s.section_images
            row = row + tirx.floormod(section, parts) * s.section_rows
        return image, row

    def source_rows(self, axes: Axes) -> tuple[Expr, Expr]:
        """Return the first line of a tile's image, and their number."""
        s, (_, row) = self.s, self.place(axes)
        h, size = s.height, self.at(axes, "y").size
        if s.kind == DATA_GRADIENT:
            first = tirx.floordiv(row, h.stride) + h.first_window
            rows = tirx.floordiv(size - 1 + h.before, h.stride) - h.first_window + 1
            extent = h.out
        else:
            first, rows, extent = row * h.stride - h.before, (size - 1) * h.stride + h.reach + 1, h.source
        if not s.depthwise:  # panels count on the same number of lines in all tiles
            lines = tile_lines(s, self.b)
            return self.analyzer.simplify(tirx.min(tirx.max(first, 0), extent - lines)), index(lines)
        low = tirx.min(tirx.max(first, 0), extent - 1)
        high = tirx.max(tirx.min(first + rows - 1, extent - 1), low)
        return self.analyzer.simplify(low), self.analyzer.simplify(high - low + 1)

    def channels(self, axes: Axes, axis: str) -> tuple[TileAxis, int]:
        """Return a tile's channels and the number of all, of the output (``"o"``) or the input (``"c"``)."""
        of_group, tile = self.s.outputs if axis == "o" else self.s.inputs, self.at(axes, axis)
        start = self.analyzer.simplify(self.at(axes, "g").offset * of_group + tile.offset)
        return TileAxis(start, tile.size, tile.tile), of_group * self.s.groups

    def _shifted(self, offset: Expr, extent: int, tile: int) -> tuple[Expr, Expr]:
        """Return where a full tile that holds this one starts, and how far into it this one does."""
        if extent % tile == 0:
            return offset, index(0)
        start = self.analyzer.simplify(tirx.min(offset, extent - tile))
        return start, self.analyzer.simplify(offset - start)

    def image_box(self, axes: Axes) -> Box:
        """Return the image's box."""
        s = self.s
        channels, all_channels = self.channels(axes, self.s.image_axis)
        low, valid = self.source_rows(axes)
        height, width = (
            (s.height.out, s.width.out) if s.kind == DATA_GRADIENT else (s.height.source, s.width.source)
        )
        return Box(
            (s.batch, all_channels, height, width),
            (self.place(axes)[0], channels.offset, low, index(0)),
            (self.at(axes, "n").size, channels.size, valid, index(width)),
        )

    def operand_box(self, axes: Axes) -> tuple[Box, Expr]:
        """Return the other operand's box and the element of its tile where this tile's part starts."""
        s, b = self.s, self.b
        (outputs, all_outputs), inputs = self.channels(axes, "o"), self.at(axes, "c")
        if s.kind == WEIGHT_GRADIENT:
            image, row = self.place(axes)
            base = self.analyzer.simplify(row - self.at(axes, "y").offset)
            start, shift = self._shifted(self.at(axes, "y").offset, axis_extents(s)["y"], b.tile_y)
            box = Box(
                (s.batch, all_outputs, s.height.out, s.width.out),
                (image, outputs.offset, self.analyzer.simplify(base + start), index(0)),
                (self.at(axes, "n").size, outputs.size, index(b.tile_y), index(s.width.out)),
            )
            return box, self.analyzer.simplify(shift * s.width.out)
        start, shift = self._shifted(inputs.offset, s.inputs, b.tile_c)
        box = Box(
            (all_outputs, s.inputs, s.taps),
            (outputs.offset, start, index(0)),
            (outputs.size, index(b.tile_c), index(s.taps)),
        )
        return box, self.analyzer.simplify(shift * s.taps)

    def result_box(self, axes: Axes) -> Box:
        """Return the result's box."""
        s = self.s
        (outputs, all_outputs), inputs = self.channels(axes, "o"), self.at(axes, "c")
        rows = self.at(axes, "y")
        if s.kind == WEIGHT_GRADIENT:
            section = self.at(axes, "s")
            parts = [(s.sections, section), (all_outputs, outputs), (s.inputs, inputs)]
            inner = s.taps
        else:
            made, total = self.channels(axes, s.result_axis)
            height, inner = (
                (s.height.out, s.width.out) if s.kind == FORWARD else (s.height.source, s.width.source)
            )
            parts = [(s.batch, self.at(axes, "n")), (total, made), (height, rows)]
        return Box(
            (*(extent for extent, _ in parts), inner),
            (*(axis.offset for _, axis in parts), index(0)),
            (*(axis.size for _, axis in parts), index(inner)),
        )
