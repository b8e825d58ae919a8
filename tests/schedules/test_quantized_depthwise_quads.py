"""The template of depthwise convolutions with stride 2: bit by bit against NumPy, and its speed."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.schedules.host_harness import HostKernel
from tests.schedules.quantized_convolutions import image_sizes
from tests.schedules.test_quantized_depthwise import SAME, Bounds, Shape, workload
from tvm_pulp.measure import measure_kernel
from tvm_pulp.passes.operators.quantized_conv2d import QuantizedConv2d
from tvm_pulp.schedules.base import choose
from tvm_pulp.schedules.quantized_depthwise_quads import DepthwiseQuadsTemplate
from tvm_pulp.target import Features

GEOMETRY = QuantizedConv2d((3, 3), (2, 2), SAME, zero_point=9)


def simulate(
    shape: Shape, g: QuantizedConv2d, chip: Features, directory: Path, form: str = "halfword",
    bounds: Bounds = (0, 0, 255), tile_y: int | None = None, on_host: Path | None = None,
) -> float:  # fmt: skip
    """Run it and return MAC/cycle with all transfers from and to L2; perhaps on the host, too."""
    function, arrays, expected = workload(shape, g, form, bounds)
    template = DepthwiseQuadsTemplate()
    found = template.match(function)
    assert found is not None
    knobs = template.default(found, chip) if tile_y is None else {"tile_y": tile_y}
    assert knobs is not None
    lowered = template.build(found, knobs, chip)
    assert int(lowered.attrs["pulp.l1_bytes"]) == template.l1_bytes(found, knobs) <= chip.kernel_l1_bytes
    if on_host is not None:
        HostKernel(lowered, on_host)(arrays)
        np.testing.assert_array_equal(arrays[-1], expected)
        arrays[-1][:] = 0
    measured = measure_kernel(lowered, arrays, chip, directory)
    np.testing.assert_array_equal(arrays[-1], expected)
    return float(int(function.attrs["pulp.macs"]) / measured.cycles[-1])


@settings(max_examples=25, deadline=None)
@given(
    batch=st.integers(1, 2), data=st.data(),
    quads=st.integers(1, 6), padding=st.tuples(*[st.integers(0, 2)] * 4), zero_point=st.integers(0, 255),
    form=st.sampled_from(["halfword", "short"]), tile_y=st.integers(1, 8),
    bounds=st.tuples(st.integers(0, 255), st.integers(0, 100), st.integers(100, 255)),
)  # fmt: skip
def test_any_geometry_and_tiles(
    batch: int, data: st.DataObject, quads: int, padding: Shape, zero_point: int, form: str, tile_y: int,
    bounds: Bounds, chip: Features, kernels: Path,
) -> None:  # fmt: skip
    """In C on the host and on the simulator, with its checks on."""
    g = QuantizedConv2d((3, 3), (2, 2), padding, zero_point=zero_point)
    shape = (batch, *data.draw(image_sizes(g, 2, 14), label="size"))
    with tempfile.TemporaryDirectory() as folder:
        simulate((*shape, 4 * quads), g, chip, Path(folder), form, bounds, tile_y, kernels)


@pytest.mark.parametrize(
    "shape,g,form",
    [
        ((1, 8, 8, 6), GEOMETRY, "halfword"),
        ((1, 8, 8, 8), QuantizedConv2d((3, 3), (1, 1), SAME), "halfword"),
        ((1, 8, 8, 8), QuantizedConv2d((3, 2), (2, 2), SAME), "halfword"),
        ((1, 8, 8, 8), QuantizedConv2d((3, 3), (2, 2), SAME, (2, 1)), "halfword"),
        ((1, 8, 8, 8), GEOMETRY, "wide"),
        ((1, 8, 8, 8), GEOMETRY, "rounded twice"),
        ((1, 8, 140, 16), GEOMETRY, "halfword"),  # a row is longer than an instruction's step
    ],
)
def test_others_are_left_to_the_strips(shape: Shape, g: QuantizedConv2d, form: str, chip: Features) -> None:
    function, _, _ = workload(shape, g, form)
    assert DepthwiseQuadsTemplate().match(function) is None
    choice = choose(function, chip)
    assert choice is not None and choice.template.name == "quantized_depthwise"


@pytest.mark.parametrize("size,channels,least", [(48, 16, 3.9), (24, 32, 3.6), (12, 64, 2.9), (6, 128, 2.15)])
def test_speed(size: int, channels: int, least: float, chip: Features, tmp_path: Path) -> None:
    """The layers of a MobileNet; the first load and the last store are what a small image waits for."""
    assert simulate((1, size, size, channels), GEOMETRY, chip, tmp_path) >= least


def test_estimate_is_near_the_simulator(chip: Features, tmp_path: Path) -> None:
    shape = (1, 48, 48, 16)
    function, _, _ = workload(shape, GEOMETRY, "halfword")
    choice = choose(function, chip)
    assert choice is not None and choice.template.name == "quantized_depthwise_quads"
    cycles = int(function.attrs["pulp.macs"]) / simulate(shape, GEOMETRY, chip, tmp_path)
    assert 0.9 <= choice.estimate_cycles(chip) / cycles <= 1.1
