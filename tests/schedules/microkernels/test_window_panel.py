"""Windows that stay in registers: every bit on the cluster, where they serve, and their speed."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.schedules.quantized_convolutions import image_sizes
from tests.schedules.test_quantized_conv2d import SAME, Shape, simulate, workload
from tvm_pulp.passes.operators.quantized_conv2d import QuantizedConv2d
from tvm_pulp.schedules.quantized_conv2d import QuantizedConv2dTemplate
from tvm_pulp.schedules.quantized_conv2d_model import QuantizedConv2dBlocking
from tvm_pulp.target import Features

WINDOWS = [(3, (3, 3)), (2, (3, 3)), (3, (2, 4)), (6, (1, 4)), (3, (5, 1)), (2, (3, 4))]
"""Channels and windows of five to seven words; those of three lines of nine bytes have odd ones."""


def knobs(tile_y: int, tile_n: int, order: int = 0) -> dict[str, int]:
    return {"tile_y": tile_y, "tile_n": tile_n, "block_pixels": 3, "block_outputs": 1, "order": order}


@settings(max_examples=30, deadline=None)
@given(
    batch=st.integers(1, 2), window=st.sampled_from(WINDOWS), data=st.data(), tile_y=st.integers(1, 14),
    tile_n=st.integers(1, 5), tiles=st.integers(1, 2), order=st.integers(0, 1), dilation=st.integers(1, 2),
    form=st.sampled_from(["short", "halfword"]), strides=st.tuples(st.integers(1, 2), st.integers(1, 3)),
    padding=st.tuples(*[st.integers(0, 2)] * 4),
)  # fmt: skip
def test_any_geometry_on_the_cluster(
    batch: int, window: tuple[int, tuple[int, int]], data: st.DataObject, tile_y: int, tile_n: int,
    tiles: int, order: int, dilation: int, form: str, strides: tuple[int, int], padding: Shape,
    chip: Features,
) -> None:  # fmt: skip
    """With the simulator's checks on: no race between what is arranged and what is loaded."""
    channels, kernel = window
    g = QuantizedConv2d(kernel, strides, padding, (dilation, 1), 200)
    shape = (batch, *data.draw(image_sizes(g, 3, 14), label="size"), channels)
    with tempfile.TemporaryDirectory() as folder:
        simulate(shape, tile_n * tiles, g, chip, Path(folder), form, knobs=knobs(tile_y, tile_n, order))


def test_sizes_whose_windows_fit_registers() -> None:
    def fits(channels: int, kernel: tuple[int, int], form: str = "short", bits: int = 8) -> bool:
        function, _, _ = workload((1, 8, 8, channels), 8, QuantizedConv2d(kernel), form, bits=bits)
        found = QuantizedConv2dTemplate().match(function)
        assert found is not None
        return QuantizedConv2dBlocking.of(found.sizes, knobs(8, 8)).keeps_windows

    assert all(fits(*window) for window in WINDOWS)
    assert fits(3, (3, 3), "halfword")
    assert not fits(4, (3, 3))  # nine words
    assert not fits(1, (3, 3))  # three words: weights of four channels stay in registers
    assert not fits(3, (3, 3), "wide") and not fits(3, (3, 3), "sums")
    assert not fits(3, (3, 3), bits=4)


@pytest.mark.parametrize(
    "size,outputs,stride,least", [(96, 8, 2, 10.9), (96, 16, 2, 12.0), (32, 16, 1, 11.2)]
)
def test_speed_of_first_layers(
    size: int, outputs: int, stride: int, least: float, chip: Features, tmp_path: Path
) -> None:
    """Of images with three channels: a MobileNet's and a residual network's."""
    g = QuantizedConv2d((3, 3), (stride, stride), SAME, zero_point=9)
    assert simulate((1, size, size, 3), outputs, g, chip, tmp_path, "short") >= least
