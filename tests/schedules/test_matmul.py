"""The matmul template against TVM on LLVM, and its speed on the simulator."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.schedules.host_harness import HostKernel, run_with_sanitizer
from tests.schedules.matmul_functions import matmul_expected, matmul_function
from tvm_pulp.measure import measure_kernel, random_arguments
from tvm_pulp.schedules.matmul import MatmulTemplate
from tvm_pulp.target import Features
from tvm_pulp.target.errors import UserError
from tvm_pulp.target.tvm_names import PrimFunc

LAYOUTS = [(False, False), (True, False), (False, True), (True, True)]
POINTWISE = {
    "forward": {"batch_b": True},
    "data gradient": {"transpose_a": True, "batch_b": True},
    "weight gradient": {"transpose_b": True, "batch_a": True, "batch_b": True, "reduce_batch": True},
}


def check(function: PrimFunc, knobs: dict[str, int] | None, chip: Features, kernels: Path) -> None:
    """Build, print, compile and run with the given knobs (None: the default); compare with NumPy."""
    template = MatmulTemplate()
    workload = template.match(function)
    assert workload is not None
    if knobs is None or not template.is_valid(workload, knobs, chip.kernel_l1_bytes):
        knobs = template.default(workload, chip)
    lowered = template.build(workload, knobs, chip)
    assert int(lowered.attrs["pulp.l1_bytes"]) == template.l1_bytes(workload, knobs) <= chip.kernel_l1_bytes
    arrays = random_arguments(function)
    HostKernel(lowered, kernels)(arrays)
    expected = matmul_expected(function, arrays)
    np.testing.assert_allclose(arrays[2], expected, atol=3e-5 * np.abs(expected).max())


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize(
    "m,n,k",
    [(64, 64, 64), (50, 37, 61), (1, 1, 1), (257, 2, 1), (5, 300, 2), (1, 10, 64), (13, 45, 1), (3, 200, 1)],
)
def test_layouts(layout: tuple[bool, bool], m: int, n: int, k: int, chip: Features, kernels: Path) -> None:
    check(matmul_function(m, n, k, transpose_a=layout[0], transpose_b=layout[1]), None, chip, kernels)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_larger_than_l1(layout: tuple[bool, bool], chip: Features, kernels: Path) -> None:
    function = matmul_function(301, 71, 403, transpose_a=layout[0], transpose_b=layout[1])
    check(function, None, chip, kernels)


@pytest.mark.parametrize("work", POINTWISE)
@pytest.mark.parametrize("batch,pixels", [(1, 16), (3, 1), (8, 4), (8, 1024)])
def test_pointwise_convolution(work: str, batch: int, pixels: int, chip: Features, kernels: Path) -> None:
    channels_out, channels_in = 24, 10
    m, n, k = {
        "forward": (channels_out, pixels, channels_in),
        "data gradient": (channels_in, pixels, channels_out),
        "weight gradient": (channels_out, channels_in, pixels),
    }[work]
    flags: dict[str, Any] = POINTWISE[work]
    if batch == 1:
        flags = {key: value for key, value in flags.items() if key.startswith("transpose")}
    check(matmul_function(m, n, k, batch=batch, **flags), None, chip, kernels)


@settings(max_examples=40, deadline=None)
@given(
    sizes=st.tuples(st.integers(1, 70), st.integers(1, 70), st.integers(1, 70)),
    layout=st.sampled_from(LAYOUTS),
    batch=st.integers(1, 5),
    flags=st.tuples(st.booleans(), st.booleans(), st.booleans()),
    data=st.data(),
)
def test_any_knobs(
    sizes: tuple[int, int, int], layout: tuple[bool, bool], batch: int, flags: tuple[bool, bool, bool],
    data: st.DataObject, chip: Features, kernels: Path,
) -> None:  # fmt: skip
    batch_a, batch_b, reduce_batch = (flag and batch > 1 for flag in flags)
    if batch > 1 and not (batch_a or batch_b):
        batch_b = True
    function = matmul_function(
        *sizes, transpose_a=layout[0], transpose_b=layout[1], batch=batch,
        batch_a=batch_a, batch_b=batch_b, reduce_batch=reduce_batch,
    )  # fmt: skip
    template = MatmulTemplate()
    choices = template.knobs(template.match(function), chip)
    knobs = {name: data.draw(st.sampled_from(values), label=name) for name, values in choices.items()}
    check(function, knobs, chip, kernels)


SPLITS: list[tuple[tuple[int, int, int], dict[str, Any], dict[str, int]]] = [
    ((1, 10, 256), {"transpose_b": True}, {"tile_n": 4, "tile_k": 64, "split_k": 8, "copies": 3}),
    ((2, 6, 203), {"transpose_b": True}, {"tile_n": 4, "tile_k": 40, "split_k": 2, "copies": 2}),
    ((33, 40, 90), {"transpose_a": True}, {"tile_n": 16, "tile_k": 31, "split_k": 4, "copies": 3}),
    ((30, 50, 64), {}, {"tile_m": 12, "tile_k": 64, "split_k": 4, "copies": 2}),
    ((9, 7, 16), {"batch": 3, "batch_b": True}, {"tile_batch": 2, "split_k": 8, "copies": 2}),
    ((9, 7, 20), {"transpose_b": True, "batch": 5, "batch_a": True, "batch_b": True, "reduce_batch": True},
     {"tile_batch": 2, "split_k": 4, "copies": 3}),
]  # fmt: skip


@pytest.mark.parametrize("sizes,flags,knobs", SPLITS)
def test_workers_share_a_sum(
    sizes: tuple[int, int, int], flags: dict[str, Any], knobs: dict[str, int], chip: Features, tmp_path: Path
) -> None:
    """On the simulator, with its checks for races."""
    function = matmul_function(*sizes, **flags)
    template = MatmulTemplate()
    workload = template.match(function)
    assert workload is not None
    knobs = {**template.default(workload, chip), "block_rows": 4, "block_columns": 4, **knobs}
    assert template.is_valid(workload, knobs, chip.kernel_l1_bytes)
    arrays = random_arguments(function)
    expected = matmul_expected(function, arrays)
    measure_kernel(template.build(workload, knobs, chip), arrays, chip, tmp_path)
    np.testing.assert_allclose(arrays[2], expected, atol=2e-5 * np.abs(expected).max())


def test_no_worker_is_left_without_a_step(chip: Features) -> None:
    template = MatmulTemplate()
    workload = template.match(matmul_function(4, 4, 66))
    assert workload is not None
    knobs = {**template.default(workload, chip), "tile_k": 16, "split_k": 4}
    assert not template.is_valid(workload, knobs, chip.kernel_l1_bytes)
    assert template.is_valid(workload, {**knobs, "split_k": 2}, chip.kernel_l1_bytes)


@pytest.mark.parametrize("sanitizer", ["address,undefined", "thread"])
def test_sanitizers(sanitizer: str, chip: Features, tmp_path: Path) -> None:
    template = MatmulTemplate()
    workload = template.match(matmul_function(43, 30, 70, batch=3, batch_b=True))
    assert workload is not None
    knobs = {"tile_m": 16, "tile_n": 12, "tile_k": 32, "tile_batch": 2, "block_rows": 4, "block_columns": 4}
    ways = {"order": 0, "copies": 3, "split_k": 2}
    run_with_sanitizer(template.build(workload, {**knobs, **ways}, chip), tmp_path, sanitizer)


def test_attributes_must_fit_the_arguments(chip: Features) -> None:
    function = matmul_function(4, 4, 4)
    wrong = dict(function.attrs["pulp.matmul"].items()) | {"k": 5}
    with pytest.raises(UserError, match="product"):
        MatmulTemplate().match(function.with_attr("pulp.matmul", wrong))


def test_other_functions_do_not_match() -> None:
    assert MatmulTemplate().match(matmul_function(4, 4, 4).without_attr("pulp.matmul")) is None


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("sizes,least", [((64, 64, 64), 3.3), ((50, 37, 61), 2.7), ((3, 5, 7), 0.0)])
def test_speed(
    layout: tuple[bool, bool], sizes: tuple[int, int, int], least: float, chip: Features, tmp_path: Path
) -> None:
    """MAC/cycle with all transfers from and to L2."""
    function = matmul_function(*sizes, transpose_a=layout[0], transpose_b=layout[1])
    template = MatmulTemplate()
    workload = template.match(function)
    assert workload is not None
    arrays = random_arguments(function)
    expected = matmul_expected(function, arrays)
    lowered = template.build(workload, template.default(workload, chip), chip)
    measured = measure_kernel(lowered, arrays, chip, tmp_path)
    np.testing.assert_allclose(arrays[2], expected, atol=2e-5 * np.abs(expected).max())
    assert np.prod(sizes) / measured.cycles[-1] >= least


def test_estimate_is_near_the_simulator(chip: Features, tmp_path: Path) -> None:
    function = matmul_function(128, 96, 160)
    template = MatmulTemplate()
    workload = template.match(function)
    assert workload is not None
    knobs = template.default(workload, chip)
    measured = measure_kernel(
        template.build(workload, knobs, chip), random_arguments(function), chip, tmp_path
    )
    estimate = template.estimate_cycles(workload, knobs, chip)
    assert 0.85 <= estimate / measured.cycles[-1] <= 1.15
