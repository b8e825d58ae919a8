"""The template of depthwise convolutions with stride 2: bit by bit against NumPy, and its speed."""

from __future__ import annotations

import tempfile
from dataclasses import replace
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
from tvm_pulp.schedules.base import choose, lower
from tvm_pulp.schedules.quantized_depthwise_pairs import DepthwisePairsTemplate
from tvm_pulp.schedules.resident import resident_bytes
from tvm_pulp.target import Features
from tvm_pulp.target.print_kernel import print_kernel

GEOMETRY = QuantizedConv2d((3, 3), (2, 2), SAME, zero_point=9)


def simulate(
    shape: Shape, g: QuantizedConv2d, chip: Features, directory: Path, form: str = "halfword",
    bounds: Bounds = (0, 0, 255), rows: tuple[int, int] | None = None, on_host: Path | None = None,
) -> float:  # fmt: skip
    """Run it and return MAC/cycle with all transfers from and to L2; perhaps on the host, too."""
    function, arrays, expected = workload(shape, g, form, bounds)
    template = DepthwisePairsTemplate()
    found = template.match(function)
    assert found is not None
    knobs = template.default(found, chip) if rows is None else {"tile_y": rows[0], "first_y": rows[1]}
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
    pairs=st.integers(1, 12), padding=st.tuples(*[st.integers(0, 2)] * 4), zero_point=st.integers(0, 255),
    form=st.sampled_from(["halfword", "short"]), rows=st.tuples(st.integers(1, 8), st.integers(1, 8)),
    bounds=st.tuples(st.integers(0, 255), st.integers(0, 100), st.integers(100, 255)),
)  # fmt: skip
def test_any_geometry_and_tiles(
    batch: int, data: st.DataObject, pairs: int, padding: Shape, zero_point: int, form: str,
    rows: tuple[int, int], bounds: Bounds, chip: Features, kernels: Path,
) -> None:  # fmt: skip
    """In C on the host and on the simulator, with its checks on."""
    g = QuantizedConv2d((3, 3), (2, 2), padding, zero_point=zero_point)
    shape = (batch, *data.draw(image_sizes(g, 2, 14), label="size"))
    with tempfile.TemporaryDirectory() as folder:
        simulate((*shape, 2 * pairs), g, chip, Path(folder), form, bounds, rows, kernels)


@settings(max_examples=25, deadline=None)
@given(
    data=st.data(), batch=st.integers(1, 2), pairs=st.integers(1, 8),
    form=st.sampled_from(["halfword", "short"]), padding=st.tuples(*[st.integers(0, 2)] * 4),
    bits=st.sampled_from([4, 8]), room=st.sampled_from([600, 9000]),
)  # fmt: skip
def test_tensors_in_l1_with_any_padding(
    data: st.DataObject, batch: int, pairs: int, form: str, padding: Shape, bits: int, room: int,
    chip: Features,
) -> None:  # fmt: skip
    """The image is read where it is if no window goes beyond its last row, else its rows are copied."""
    g = QuantizedConv2d((3, 3), (2, 2), padding, zero_point=9)
    shape = (batch, *data.draw(image_sizes(g, 2, 14), label="size"), 2 * pairs)
    function, arrays, expected = workload(shape, g, form, bits=bits)
    names = [str(parameter.name) for parameter in function.params]
    tensors = resident_bytes(function, range(len(names)))
    small = replace(chip, l1_bytes=chip.l1_bytes - chip.kernel_l1_bytes + tensors + room)
    lowered = lower(function, small, names)
    reaches = (expected.shape[1] - 1) * 2 + 3 - padding[0]
    if padding[0] <= 1 and reaches <= shape[1] and shape[2] * shape[3] % 4 == 0 and room > 600:
        assert lowered.attrs["pulp.schedule"] == "quantized_depthwise_pairs"
        assert "copy_rows" not in print_kernel(lowered, "kernel")
    with tempfile.TemporaryDirectory() as folder:
        measure_kernel(lowered, arrays, chip, Path(folder), resident=names)
    np.testing.assert_array_equal(arrays[-1], expected)


@pytest.mark.parametrize(
    "shape,g,form",
    [
        ((1, 8, 8, 5), GEOMETRY, "halfword"),
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
    assert DepthwisePairsTemplate().match(function) is None
    choice = choose(function, chip)
    assert choice is not None and choice.template.name == "quantized_depthwise"


@pytest.mark.parametrize(
    "size,channels,least", [(48, 16, 4.4), (24, 32, 3.85), (12, 64, 3.25), (6, 128, 2.67)]
)
def test_speed(size: int, channels: int, least: float, chip: Features, tmp_path: Path) -> None:
    """The layers of a MobileNet; the first load and the last store are what a small image waits for."""
    assert simulate((1, size, size, channels), GEOMETRY, chip, tmp_path) >= least


@pytest.mark.parametrize(
    "size,channels,least", [(48, 16, 5.3), (24, 32, 5.1), (12, 64, 4.55), (6, 128, 3.95)]
)
def test_speed_in_l1(size: int, channels: int, least: float, chip: Features, tmp_path: Path) -> None:
    function, arrays, expected = workload((1, size, size, channels), GEOMETRY, "halfword")
    names = [str(parameter.name) for parameter in function.params]
    measured = measure_kernel(lower(function, chip, names), arrays, chip, tmp_path, resident=names)
    np.testing.assert_array_equal(arrays[-1], expected)
    assert int(function.attrs["pulp.macs"]) / measured.cycles[-1] >= least


def test_estimate_is_near_the_simulator(chip: Features, tmp_path: Path) -> None:
    shape = (1, 48, 48, 16)
    function, _, _ = workload(shape, GEOMETRY, "halfword")
    choice = choose(function, chip)
    assert choice is not None and choice.template.name == "quantized_depthwise_pairs"
    cycles = int(function.attrs["pulp.macs"]) / simulate(shape, GEOMETRY, chip, tmp_path)
    assert 0.9 <= choice.estimate_cycles(chip) / cycles <= 1.1
