"""Outer products whose pace the DMA sets: any tiles on the host, results and speed on the simulator."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.schedules.host_harness import HostKernel
from tests.schedules.matmul_functions import matmul_expected, matmul_function
from tvm_pulp.measure import measure_kernel, random_arguments
from tvm_pulp.schedules.matmul import MatmulTemplate
from tvm_pulp.schedules.microkernels.outer_product import share_out
from tvm_pulp.target import Features


@settings(max_examples=25, deadline=None)
@given(
    m=st.integers(1, 150),
    n=st.integers(1, 150),
    layout=st.tuples(st.booleans(), st.booleans()),
    data=st.data(),
)
def test_any_tiles(
    m: int, n: int, layout: tuple[bool, bool], data: st.DataObject, chip: Features, kernels: Path
) -> None:
    function = matmul_function(m, n, 1, transpose_a=layout[0], transpose_b=layout[1])
    template = MatmulTemplate()
    workload = template.match(function)
    assert workload is not None
    knobs = {
        **template.default(workload, chip),
        "tile_m": data.draw(st.integers(1, min(m, 48)), label="tile_m"),
        "tile_n": data.draw(st.integers(1, min(n, 64)), label="tile_n"),
        "copies": data.draw(st.sampled_from([2, 3, 4]), label="copies"),
        "order": data.draw(st.integers(0, 5), label="order"),
    }
    assert template.is_valid(workload, knobs, chip.kernel_l1_bytes)
    arrays = random_arguments(function)
    expected = matmul_expected(function, arrays)
    HostKernel(template.build(workload, knobs, chip), kernels)(arrays)
    np.testing.assert_array_equal(arrays[2], expected.astype(np.float32))


@pytest.mark.parametrize(
    "sizes,least",
    [((10, 1024), 0.89), ((64, 256), 0.91), ((1024, 10), 0.87), ((128, 128), 0.91), ((3, 5), 0.0)],
)
def test_speed(sizes: tuple[int, int], least: float, chip: Features, tmp_path: Path) -> None:
    """Fraction of 8 bytes a cycle, with the simulator's checks for races; and the estimate is near."""
    function = matmul_function(*sizes, 1, transpose_a=True)
    template = MatmulTemplate()
    workload = template.match(function)
    assert workload is not None
    arrays = random_arguments(function)
    expected = matmul_expected(function, arrays)
    knobs = template.default(workload, chip)
    measured = measure_kernel(template.build(workload, knobs, chip), arrays, chip, tmp_path, runs=3)
    np.testing.assert_array_equal(arrays[2], expected.astype(np.float32))
    assert 4 * np.prod(sizes) / chip.dma_bytes_per_cycle / measured.cycles[-1] >= least
    if least:
        assert 0.95 <= template.estimate_cycles(workload, knobs, chip) / measured.cycles[-1] <= 1.05


def test_core_0_has_no_share_beside_transfers(chip: Features) -> None:
    template = MatmulTemplate()
    workload = template.match(matmul_function(10, 1024, 1))
    assert workload is not None
    knobs = template.default(workload, chip)
    several = template.build(workload, {**knobs, "tile_n": 512, "copies": 3}, chip)
    assert "pulp.core_0_moves" in several.attrs
    for fewer in ({"tile_n": 1024}, {"tile_n": 512, "copies": 2}):
        assert "pulp.core_0_moves" not in template.build(workload, {**knobs, **fewer}, chip).attrs


@pytest.mark.parametrize("m,n,workers", [(10, 56, 7), (10, 64, 7), (64, 10, 7), (3, 1, 8), (1, 300, 8)])
def test_workers_share_all_units(m: int, n: int, workers: int) -> None:
    units = share_out(m, n, workers)
    share = units.of_worker(n, workers)
    assert share * workers >= -(-n // units.width) * units.parts > (share - 1) * workers
    others = [units._replace(width=width) for width in range(1, min(n, 12) + 1)]
    assert units.cycles(m, n, workers) == min(other.cycles(m, n, workers) for other in others)
