"""The template of sums of bytes: bit by bit against NumPy, in L2 and in L1, and its speed."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.schedules.host_harness import HostKernel, run_with_sanitizer
from tvm_pulp.measure import measure_kernel
from tvm_pulp.passes.operators.kernel import Shape
from tvm_pulp.passes.operators.linear_sum import LinearSum, linear_sum_kernel
from tvm_pulp.schedules.base import lower
from tvm_pulp.schedules.linear_sum import LinearSumTemplate
from tvm_pulp.target import Features, features, parse
from tvm_pulp.target.tvm_names import PrimFunc

CHIP = features(parse("pulp"))
FORMS = {
    "bytes": LinearSum(147, 200, -21000, 8, 0, 255),
    "bytes with signs": LinearSum(97, -128, 4000, 7, 3, 250),
    "halves": LinearSum(33567, 52749, -6815000, 16, 0, 255),
    "halves with signs": LinearSum(16783, -26374, 1700000, 15, 0, 255),
    "words": LinearSum(1074160, 1687999, -218000000, 21, 7, 255),
    "words with signs": LinearSum(1074160, -1687999, 150000000, 21, 0, 200),
}


def workload(form: LinearSum, shape: Shape) -> tuple[PrimFunc, list[np.ndarray], np.ndarray]:
    """Kernel, arguments and expected result."""
    random = np.random.default_rng(len(shape) + form.shift)
    left, right = (random.integers(0, 256, shape).astype(np.uint8) for _ in range(2))
    function = linear_sum_kernel("quantized_add", "layer", "infer", (shape, shape), form)
    return function, [left, right, np.full(shape, 77, np.uint8)], form.table()[left, right]


@pytest.mark.parametrize("name", FORMS)
@pytest.mark.parametrize("shape", [(1,), (15,), (3, 7, 11), (5, 9, 16)])
def test_every_bit(name: str, shape: Shape, chip: Features, tmp_path: Path) -> None:
    function, arguments, expected = workload(FORMS[name], shape)
    template = LinearSumTemplate()
    found = template.match(function)
    assert found is not None
    for tile in template.knobs(found, chip)["tile_values"]:
        arguments[2][...] = 77
        built = template.build(found, {"tile_values": tile}, chip)
        assert int(built.attrs["pulp.l1_bytes"]) == template.l1_bytes(found, {"tile_values": tile})
        HostKernel(built, tmp_path)(arguments)
        np.testing.assert_array_equal(arguments[2], expected)


@given(
    multipliers=st.one_of(
        *(st.tuples(st.integers(0, 2**n), st.integers(-(2**n), 2**n)) for n in (8, 16, 21))
    ),
    shift=st.integers(0, 21),
    offset=st.integers(-(2**29), 2**29),
    bounds=st.sampled_from([(0, 255), (0, 254), (1, 255), (30, 30)]),
    values=st.integers(1, 700),
    seed=st.integers(0, 99),
)
@settings(max_examples=25)
def test_any_sum_on_the_cluster(
    multipliers: tuple[int, int], shift: int, offset: int, bounds: tuple[int, int], values: int, seed: int
) -> None:
    form = LinearSum(*multipliers, offset, shift, *bounds)
    function, arguments, expected = workload(form, (values,))
    template = LinearSumTemplate()
    found = template.match(function)
    assert found is not None
    tiles = template.knobs(found, CHIP)["tile_values"]
    built = template.build(found, {"tile_values": tiles[seed % len(tiles)]}, CHIP)
    with tempfile.TemporaryDirectory() as folder:
        measure_kernel(built, arguments, CHIP, Path(folder))
    np.testing.assert_array_equal(arguments[2], expected)


@pytest.mark.parametrize("resident", [(), ("left", "right", "result"), ("left",), ("result",)])
@pytest.mark.parametrize("name", ["bytes", "halves", "words"])
def test_in_l1(name: str, resident: tuple[str, ...], chip: Features, tmp_path: Path) -> None:
    function, arguments, expected = workload(FORMS[name], (16, 9, 21))
    lowered = lower(function, chip, resident)
    assert str(lowered.attrs["pulp.schedule"]) == "linear_sum"
    measure_kernel(lowered, arguments, chip, tmp_path / "cluster", resident=resident)
    np.testing.assert_array_equal(arguments[2], expected)


def test_operands_that_broadcast_are_left_to_others(chip: Features, tmp_path: Path) -> None:
    form = FORMS["halves"]
    function = linear_sum_kernel("quantized_add", "layer", "infer", ((5, 4), (1, 4)), form)
    assert LinearSumTemplate().match(function) is None
    left, right = np.arange(20, dtype=np.uint8).reshape(5, 4), np.arange(4, dtype=np.uint8).reshape(1, 4)
    arguments = [left, right, np.zeros((5, 4), np.uint8)]
    measure_kernel(lower(function, chip), arguments, chip, tmp_path)
    np.testing.assert_array_equal(arguments[2], form.table()[left, right])


def test_sanitizer(chip: Features, tmp_path: Path) -> None:
    function, _, _ = workload(FORMS["words"], (301, 3))
    template = LinearSumTemplate()
    built = template.build(template.match(function), {"tile_values": 512}, chip)
    run_with_sanitizer(built, tmp_path, "address,undefined")


@pytest.mark.parametrize(("name", "rate"), [("bytes", 1.6), ("halves", 1.35), ("words", 0.9)])
def test_speed(name: str, rate: float, chip: Features, tmp_path: Path) -> None:
    function, arguments, expected = workload(FORMS[name], (16, 32, 32))
    resident = ("left", "right", "result")
    cycles = measure_kernel(
        lower(function, chip, resident), arguments, chip, tmp_path, resident=resident
    ).cycles[-1]
    np.testing.assert_array_equal(arguments[2], expected)
    assert expected.size / cycles >= rate
