"""Blocks of windows that share columns of the image: every bit on the cluster, and where they serve."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.schedules.quantized_convolutions import image_sizes
from tests.schedules.quantized_operands import FORMS
from tests.schedules.test_quantized_conv2d import Shape, simulate, workload
from tvm_pulp.passes.operators.quantized_conv2d import QuantizedConv2d
from tvm_pulp.schedules.microkernels.dot_panel import DotDistances
from tvm_pulp.schedules.microkernels.shared_columns import step_instructions
from tvm_pulp.schedules.quantized_conv2d import QuantizedConv2dTemplate
from tvm_pulp.schedules.quantized_conv2d_model import QuantizedConv2dBlocking
from tvm_pulp.schedules.quantized_conv2d_workload import SHARING_BLOCKS
from tvm_pulp.target import Features


@settings(max_examples=25, deadline=None)
@given(
    batch=st.integers(1, 2), words=st.integers(1, 3), outputs=st.integers(1, 7), data=st.data(),
    groups=st.sampled_from([1, 1, 2]), form=st.sampled_from([*FORMS, "sums"]),
    pixels=st.sampled_from(SHARING_BLOCKS),
    kernel=st.tuples(st.integers(2, 4), st.integers(2, 5)), dilation=st.tuples(*[st.integers(1, 3)] * 2),
    strides=st.tuples(st.integers(1, 2), st.integers(1, 3)), padding=st.tuples(*[st.integers(0, 2)] * 4),
)  # fmt: skip
def test_windows_share_columns(
    batch: int, words: int, outputs: int, data: st.DataObject, groups: int, form: str, pixels: int,
    kernel: tuple[int, int], dilation: tuple[int, int], strides: tuple[int, int], padding: Shape,
    chip: Features,
) -> None:  # fmt: skip
    """Any window and distance of windows, with the simulator's checks on."""
    g = QuantizedConv2d(kernel, strides, padding, dilation, 200)
    shape = (batch, *data.draw(image_sizes(g, 3, 14), label="size"), 4 * words * groups)
    knobs = {"tile_y": 5, "tile_n": outputs, "block_pixels": pixels, "block_outputs": 2, "order": 0}
    with tempfile.TemporaryDirectory() as folder:
        simulate(shape, outputs * groups, g, chip, Path(folder), form, groups, knobs)


def test_sizes_whose_windows_share_columns() -> None:
    def shares(channels: int, kernel: tuple[int, int], groups: int = 1, tile_n: int = 4) -> bool:
        function, _, _ = workload((1, 8, 8, channels), 8, QuantizedConv2d(kernel), groups=groups)
        found = QuantizedConv2dTemplate().match(function)
        assert found is not None
        knobs = {"tile_y": 8, "tile_n": tile_n, "block_pixels": 4, "block_outputs": 2, "order": 0}
        return QuantizedConv2dBlocking.of(found.sizes, knobs).shares

    assert shares(8, (3, 3)) and shares(8, (2, 5)) and shares(8, (3, 3), 2)
    assert not shares(6, (3, 3))  # words of taps do not begin with a channel
    assert not shares(8, (3, 1)) and not shares(8, (1, 3))
    assert shares(128, (3, 3))  # a row of the window a segment
    assert shares(512, (3, 3), tile_n=1)  # each tap one
    assert not shares(512, (3, 3))  # whose weights are too far from the next one's


def test_instructions_of_a_step() -> None:
    """Eight windows of three taps, two channels: 48 products; with stride 1 ten columns, with 2 seventeen."""
    d = DotDistances(8, 72, 2, 3, taps=3, a_tap=8, b_tap=8)
    assert step_instructions(8, 2, d) == 48 + 6 + 10
    assert step_instructions(8, 2, replace(d, a_row=16)) == 48 + 6 + 17
