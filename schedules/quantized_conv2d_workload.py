"""A quantised convolution: its sizes, read from a function's attribute."""

from __future__ import annotations

from dataclasses import dataclass, replace

from tvm_pulp.schedules.dialect import ceil_div
from tvm_pulp.schedules.microkernels.dot_panel import LARGEST_BLOCK, Epilogue, longest_distance
from tvm_pulp.schedules.microkernels.stationary_panel import StationaryPanel
from tvm_pulp.schedules.microkernels.window_panel import takes_windows
from tvm_pulp.schedules.quantized_matmul_workload import read_epilogue
from tvm_pulp.target.tvm_names import PrimFunc, buffer_shape

BLOCKS = (5, 4, 3)
"""Pixels that a register block may have; it has four output channels."""
BLOCK_OUTPUTS = LARGEST_BLOCK[1]
SHARING_BLOCKS = (10, 9, 8, 7, 6, 5, 4)
"""Pixels of a register block of two output channels, whose windows share columns of the image."""
SHARING_OUTPUTS = 2
WINDOW_OUTPUTS = 1
"""Of a block whose windows stay in registers, see ``window_panel``."""


@dataclass(frozen=True)
class QuantizedConv2dSizes:
    """A convolution of bytes [images][rows][columns][channels]; sizes of its image, window and result."""

    images: int
    height: int
    width: int
    channels: int
    rows: int
    columns: int
    outputs: int
    kernel: tuple[int, int]
    strides: tuple[int, int]
    padding: tuple[int, int, int, int]
    dilation: tuple[int, int]
    zero_point: int
    epilogue: Epilogue
    groups: int = 1
    packed: bool = False
    """Whether the weight has 4 bits a value."""

    @property
    def inputs(self) -> int:
        """Channels that a result depends on: those of its group."""
        return self.channels // self.groups

    @property
    def outputs_of_group(self) -> int:
        """Channels of the result that depend on the same ones."""
        return self.outputs // self.groups

    @property
    def chunk(self) -> int:
        """Bytes of a row of the window, in whole words."""
        return ceil_div(self.kernel[1] * self.inputs, 4) * 4

    @property
    def taps_apart(self) -> bool:
        """Whether a row of the window is no segment of a sum, but each of its taps.

        They do not lie side by side, or are longer together than immediate operands reach.
        """
        apart = self.dilation[1] > 1 or self.groups > 1 or self.chunk > longest_distance(BLOCK_OUTPUTS)
        return apart and self.kernel[1] > 1

    @property
    def chunk_of_channel(self) -> int:
        """Bytes of a row of the window of one channel, in whole words."""
        return ceil_div(self.kernel[1], 4) * 4

    @property
    def left(self) -> int:
        """Columns of padding on the left."""
        return self.padding[1]

    @property
    def padded_width(self) -> int:
        """Columns of the padded image that windows reach."""
        return (self.columns - 1) * self.strides[1] + (self.kernel[1] - 1) * self.dilation[1] + 1

    @property
    def filled(self) -> int:
        """Columns of the image that are fetched."""
        return max(0, min(self.width, self.padded_width - self.left))

    @property
    def pitch(self) -> int:
        """Bytes of a row of the padded image: whole words, so that every row is aligned like the first."""
        return ceil_div(self.padded_width * self.channels, 4) * 4

    @property
    def slack(self) -> int:
        """Bytes behind the image that the last word of a window's row may reach."""
        return self.chunk - self.kernel[1] * self.inputs

    @property
    def segments(self) -> int:
        """Pieces that a channel's weights lie in: one where the instructions reach across it."""
        if self.kernel[0] * self.chunk <= longest_distance(BLOCK_OUTPUTS):
            return 1
        return self.kernel[0] * (self.kernel[1] if self.taps_apart else 1)

    def stationary_panel(self, tile_n: int) -> StationaryPanel:
        """Return the sizes of a panel whose weights stay in registers."""
        return StationaryPanel(
            self.kernel[1] * self.channels, self.kernel[0], self.strides[1] * self.channels,
            self.dilation[0] * self.pitch, self.chunk, tile_n,
            replace(self.epilogue, multipliers=4 * tile_n),
        )  # fmt: skip

    def can_be_stationary(self, tile_n: int) -> bool:
        """Tell whether the weights of a tile can stay in registers."""
        side_by_side = self.groups == 1 and not self.taps_apart
        return side_by_side and self.stationary_panel(tile_n).takes(self.outputs, tile_n)

    def can_keep_windows(self, tile_n: int) -> bool:
        """Tell whether windows can stay in registers while the channels of a tile pass by."""
        side_by_side = self.groups == 1 and not self.taps_apart and not self.packed
        return side_by_side and takes_windows(self.stationary_panel(tile_n), self.outputs, tile_n)

    @property
    def has_rows_of_padding(self) -> bool:
        """Whether there is padding above or below."""
        return self.padding[0] > 0 or self.source_rows(self.rows) - self.padding[0] > self.height

    def source_rows(self, rows: int) -> int:
        """Return the rows of the padded image that so many rows of the result need."""
        return (rows - 1) * self.strides[0] + (self.kernel[0] - 1) * self.dilation[0] + 1


@dataclass(frozen=True)
class QuantizedConv2dWorkload:
    """A kernel of the class."""

    function: PrimFunc
    sizes: QuantizedConv2dSizes


def read_sizes(function: PrimFunc, attribute: str, takes_sums: bool = False) -> QuantizedConv2dSizes | None:
    """Read a function's attribute.

    None for rare shifts, and for sums that are not requantised if the template does not take them.
    """
    value = {str(key): item for key, item in function.attrs[attribute].items()}
    if not int(value["requantize"]) and not takes_sums:
        return None

    def pair(name: str) -> tuple[int, int]:
        rows, columns = (int(item) for item in value[name])
        return rows, columns

    images, height, width, channels = buffer_shape(function.params[0])
    _, rows, columns, outputs = buffer_shape(function.params[-1])
    epilogue = read_epilogue(value)
    kernel, (row_dilation, column_dilation) = pair("kernel"), pair("dilation")
    dilation = (row_dilation if kernel[0] > 1 else 1, column_dilation if kernel[1] > 1 else 1)
    top, left, bottom, right = (int(item) for item in value["padding"])
    sizes = QuantizedConv2dSizes(
        images, height, width, channels, rows, columns, outputs, kernel, pair("strides"),
        (top, left, bottom, right), dilation, int(value["data_zero_point"]), epilogue,
        int(value.get("groups", 1)), int(value["weight_bits"]) == 4,
    )  # fmt: skip
    return sizes if epilogue.is_supported() else None


def read_workload(function: PrimFunc) -> QuantizedConv2dWorkload | None:
    """Return the workload; None where the panels do not serve."""
    s = read_sizes(function, "pulp.quantized_conv2d", takes_sums=True)
    if s is None or (s.inputs if s.taps_apart else s.chunk) > longest_distance(BLOCK_OUTPUTS):
        return None
    if s.inputs % 4 and (s.taps_apart or s.groups > 1):
        return None
    if s.strides[1] * s.channels > longest_distance(BLOCKS[-1]) or (s.packed and s.segments > 1):
        return None
    return QuantizedConv2dWorkload(function, s)
