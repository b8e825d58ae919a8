"""The template of pooled bytes: bit by bit against NumPy, in L2 and in L1, and its speed."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.schedules.host_harness import HostKernel, run_with_sanitizer
from tvm_pulp.measure import measure_kernel, random_arguments
from tvm_pulp.measure.workloads import Workload, make_workload
from tvm_pulp.passes.operators.quantized_conv2d import QuantizedConv2d
from tvm_pulp.passes.operators.quantized_pooling import quantized_avg_pool2d, quantized_max_pool2d
from tvm_pulp.passes.operators.requantize import Requantization
from tvm_pulp.schedules.base import lower
from tvm_pulp.schedules.quantized_pool import QuantizedPoolTemplate
from tvm_pulp.target import Features, features, parse

CHIP = features(parse("pulp"))
TEXTS = [
    "max_pool:channels=16,h=12,w=10",
    "max_pool:channels=4,h=9,w=11,window=3,pad=1,batch=2",
    "max_pool:channels=12,h=13,w=9,window=3,stride=1,pad=1",
    "max_pool:channels=8,h=11,w=12,window=3,stride=3",
    "max_pool:channels=8,h=9,w=8,window=4,stride=1,pad=2",
    "max_pool:channels=8,h=3,w=1,window=1,stride=1",
    "max_pool:channels=8,h=7,w=9,window=2,stride=1",
    "avg_pool:channels=16,h=12,w=10",
    "avg_pool:channels=12,h=9,w=11,window=3,batch=2",
    "avg_pool:channels=8,h=13,w=9,window=3,stride=1",
    "avg_pool:channels=8,h=13,w=15,window=7,stride=3",
    "avg_pool:channels=8,h=12,w=11,window=6,stride=1",
    "mean:channels=64,h=8,w=8",
    "mean:channels=20,h=5,w=3,batch=3",
    "mean:channels=512,h=2,w=2",
]


def prepared(text: str, seed: int = 0) -> tuple[Workload, list[np.ndarray], np.ndarray]:
    """Kernel, arguments and expected result."""
    workload = make_workload(f"{text},dtype=int8")
    arguments = random_arguments(workload.function, seed)
    return workload, arguments, workload.expected(arguments)[1]


@pytest.mark.parametrize("text", TEXTS)
def test_every_bit(text: str, tmp_path: Path) -> None:
    workload, arguments, expected = prepared(text)
    assert len(np.unique(expected)) > 4
    template = QuantizedPoolTemplate()
    found = template.match(workload.function)
    assert found is not None
    for tile in template.knobs(found, CHIP)["tile_y"]:
        arguments[1][...] = 77
        built = template.build(found, {"tile_y": tile}, CHIP)
        assert int(built.attrs["pulp.l1_bytes"]) == template.l1_bytes(found, {"tile_y": tile})
        HostKernel(built, tmp_path)(arguments)
        np.testing.assert_array_equal(arguments[1], expected)
    arguments[1][...] = 77
    measure_kernel(lower(workload.function, CHIP), arguments, CHIP, tmp_path / "cluster")
    np.testing.assert_array_equal(arguments[1], expected)


@st.composite
def pools(draw: st.DrawFn) -> str:
    """A maximum or an average pooling."""
    kind = draw(st.sampled_from(["max_pool", "avg_pool"]))
    window, stride = draw(st.integers(1, 4 if kind == "max_pool" else 6)), draw(st.integers(1, 4))
    pad = draw(st.integers(0, window // 2)) if kind == "max_pool" else 0
    height, width = (draw(st.integers(max(window - 2 * pad, 1), 14)) for _ in range(2))
    channels, batch = 4 * draw(st.integers(1, 9)), draw(st.integers(1, 2))
    return (
        f"{kind}:channels={channels},h={height},w={width},batch={batch},window={window},stride={stride},"
        f"pad={pad}"
    )


@given(pools(), st.integers(0, 99))
@settings(max_examples=30)
def test_any_pooling_on_the_cluster(text: str, seed: int) -> None:
    workload, arguments, expected = prepared(text, seed)
    template = QuantizedPoolTemplate()
    found = template.match(workload.function)
    assert found is not None
    tiles = template.knobs(found, CHIP)["tile_y"]
    built = template.build(found, {"tile_y": tiles[seed % len(tiles)]}, CHIP)
    with tempfile.TemporaryDirectory() as folder:
        measure_kernel(built, arguments, CHIP, Path(folder))
    np.testing.assert_array_equal(arguments[1], expected)


@pytest.mark.parametrize("resident", [("data", "result"), ("data",), ("result",)])
@pytest.mark.parametrize(
    "text", [TEXTS[0], TEXTS[2], "avg_pool:channels=16,h=12,w=10", "mean:channels=64,h=8,w=8"]
)
def test_in_l1(text: str, resident: tuple[str, ...], tmp_path: Path) -> None:
    workload, arguments, expected = prepared(text)
    lowered = lower(workload.function, CHIP, resident)
    assert str(lowered.attrs["pulp.schedule"]) == "quantized_pool"
    measure_kernel(lowered, arguments, CHIP, tmp_path / "cluster", resident=resident)
    np.testing.assert_array_equal(arguments[1], expected)


def test_what_is_left_to_others() -> None:
    template, shape = QuantizedPoolTemplate(), (1, 8, 8, 8)
    scaled = Requantization(15, short=True)
    one = np.array([[8000]])
    for geometry, data in (
        (QuantizedConv2d((2, 2), (2, 2)), (1, 8, 8, 7)),
        (QuantizedConv2d((2, 2), (1, 1), dilation=(2, 2)), shape),
    ):
        assert template.match(quantized_max_pool2d("layer", "infer", geometry, data)) is None
        assert template.match(quantized_avg_pool2d("layer", "infer", geometry, data, one, scaled)) is None
    padded = QuantizedConv2d((3, 3), (1, 1), (1, 1, 1, 1), zero_point=9)
    assert template.match(quantized_avg_pool2d("layer", "infer", padded, shape, one, scaled)) is None
    several = np.arange(1, 65).reshape(8, 8)
    assert template.match(quantized_avg_pool2d("layer", "infer", padded, shape, several, scaled)) is None
    large = QuantizedConv2d((8, 8), (1, 1))
    assert template.match(quantized_max_pool2d("layer", "infer", large, shape)) is None


@pytest.mark.parametrize("text", [TEXTS[1], TEXTS[2], "avg_pool:channels=8,h=13,w=15,window=7,stride=3"])
def test_sanitizer(text: str, tmp_path: Path) -> None:
    workload, _, _ = prepared(text)
    template = QuantizedPoolTemplate()
    built = template.build(template.match(workload.function), {"tile_y": 2}, CHIP)
    run_with_sanitizer(built, tmp_path, "address,undefined")


@pytest.mark.parametrize(
    ("text", "least"),
    [
        ("max_pool:channels=16,h=32,w=32", 5.2),  # bytes of the data a cycle
        ("max_pool:channels=16,h=32,w=32,window=3,stride=1,pad=1", 2.1),
        ("avg_pool:channels=16,h=32,w=32", 2.7),
        ("mean:channels=64,h=8,w=8", 2.7),
    ],
)
def test_speed(text: str, least: float, chip: Features, tmp_path: Path) -> None:
    workload, arguments, expected = prepared(text)
    cycles = measure_kernel(lower(workload.function, chip), arguments, chip, tmp_path).cycles[-1]
    np.testing.assert_array_equal(arguments[1], expected)
    assert arguments[0].size / cycles >= least
