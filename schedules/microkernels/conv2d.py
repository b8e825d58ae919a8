"""Convolution in L1: a worker's share of a tile, in panels. No padding is stored anywhere.

The tile of the image lies as it comes from L2: ``[image][channel][row][column]``. Taps outside of it are left
out: whole rows of taps by the limits of the sum, single columns of a block by panels of their own at the
left and right edge (see `edge_panel`). The three steps differ in what runs along a panel's rows and columns,
and along its sum:

================  ===============  ==============  =============================================
step              rows (A)         columns (B)     sum: steps, segments, groups
================  ===============  ==============  =============================================
forward           output channels  columns of y    input channels, taps of a row, rows of taps
data gradient     input channels   columns of x    output channels, taps of a row, rows of taps
weight gradient   output channels  input channels  columns, rows, images
================  ===============  ==============  =============================================
"""

from __future__ import annotations

from tvm_pulp.schedules.conv2d_workload import DATA_GRADIENT, FORWARD, WEIGHT_GRADIENT, Conv2dSizes
from tvm_pulp.schedules.microkernels.block_sizes import block_sizes_with_rests
from tvm_pulp.schedules.microkernels.conv2d_results import results_source
from tvm_pulp.schedules.microkernels.conv2d_weight_gradient import weight_gradient_source
from tvm_pulp.schedules.microkernels.operand_walk import Distances


def conv2d_distances(s: Conv2dSizes, tile_inputs: int, tile_rows: int, lines: int) -> Distances:
    """Return the distances of a step's panels for tiles of the given input channels and output rows.

    ``lines`` are the rows of the image's tile.
    """
    if s.kind == FORWARD:
        return Distances(tile_inputs * s.taps, s.taps, s.width.stride, lines * s.width.source)
    if s.kind == DATA_GRADIENT:
        return Distances(s.taps, tile_inputs * s.taps, 1, lines * s.width.out, s.width.stride)
    return Distances(tile_rows * s.width.out, 1, lines * s.width.source, s.width.stride, s.taps)


def conv2d_source(
    s: Conv2dSizes, d: Distances, lines: int, block: tuple[int, int], rests: tuple[set[int], set[int]],
    parts: tuple[int, int], assembly: bool,
) -> str:  # fmt: skip
    """Return C for ``conv2d_tile``.

    Parameters
    ----------
    s, d
        Sizes and distances.
    lines
        Rows of the image's tile.
    block
        Rows and columns of the register block.
    rests
        Rows and columns of smaller blocks that are left over; the columns for the weight gradient only.
    parts
        Partial sums of the weight gradient, and the distance of their results.
    assembly
        Whether the target has Xpulp.
    """
    row_sizes = block_sizes_with_rests(block[0], rests[0])
    if s.kind == WEIGHT_GRADIENT:
        sizes = row_sizes, block_sizes_with_rests(block[1], rests[1])
        return weight_gradient_source(s, d, lines, block, sizes, parts, _signature("gradient"), assembly)
    return results_source(s, d, lines, block, row_sizes, _signature("weight"), assembly)


def _signature(operand: str) -> str:
    return f"""\
static void conv2d_tile(int core, const float *image, const float *{operand}, float *result, int32_t images,
                        int32_t outputs, int32_t inputs, int32_t rows, int32_t first_row, int32_t low,
                        int32_t accumulate)"""
