"""Products of a vector and a matrix on the simulator, with its checks, against NumPy."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.schedules.matmul_functions import matmul_expected, matmul_function
from tvm_pulp.measure import measure_kernel, random_arguments
from tvm_pulp.schedules.matmul import MatmulTemplate
from tvm_pulp.schedules.matmul_model import is_valid
from tvm_pulp.schedules.matmul_workload import Blocking
from tvm_pulp.schedules.microkernels.operand_walk import Distances
from tvm_pulp.schedules.microkernels.vector_product import LONGEST_SUM, vector_product_source
from tvm_pulp.target import Features


def check(
    sizes: tuple[int, int], transpose_b: bool, knobs: dict[str, int], chip: Features, folder: Path
) -> None:
    """Run a vector of k values times a matrix of k x n on the simulator, and compare."""
    n, k = sizes
    function = matmul_function(1, n, k, transpose_b=transpose_b)
    template = MatmulTemplate()
    workload = template.match(function)
    assert workload is not None
    knobs = {**template.default(workload, chip), **knobs}
    assert template.is_valid(workload, knobs, chip.kernel_l1_bytes)
    assert Blocking.of(workload.sizes, knobs).is_vector_product(workload.sizes)
    arrays = random_arguments(function)
    expected = matmul_expected(function, arrays)
    measure_kernel(template.build(workload, knobs, chip), arrays, chip, folder)
    np.testing.assert_allclose(arrays[2], expected, atol=2e-5 * np.abs(expected).max())


@pytest.mark.parametrize("transpose_b", [False, True])
@pytest.mark.parametrize("width", range(1, 17))
@pytest.mark.parametrize("steps", [5, 14])
def test_every_width(width: int, steps: int, transpose_b: bool, chip: Features, tmp_path: Path) -> None:
    """The first tiles have whole blocks, the last one of the columns what is left; the sum is in three."""
    tile = {"tile_n": 8 * width, "tile_k": steps, "block_columns": width, "split_k": 1, "copies": 4}
    check((9 * width + 3, 2 * steps + 1), transpose_b, tile, chip, tmp_path)


@pytest.mark.parametrize(
    "n,k,transpose_b",
    [(3, 1030, True), (1100, 3, False), (17, 700, True), (600, 20, False)],
    ids=["rows out of reach", "steps out of reach", "rows that are chained", "move in a register"],
)
def test_distances(n: int, k: int, transpose_b: bool, chip: Features, tmp_path: Path) -> None:
    tile = {"tile_n": min(n, 600), "tile_k": k, "block_columns": min(n, 8), "split_k": 1, "copies": 2}
    check((n, k), transpose_b, tile, chip, tmp_path)


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(sizes=st.tuples(st.integers(1, 90), st.integers(2, 90)), transpose_b=st.booleans(), data=st.data())
def test_any_knobs(
    sizes: tuple[int, int], transpose_b: bool, data: st.DataObject, chip: Features,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:  # fmt: skip
    template = MatmulTemplate()
    workload = template.match(matmul_function(1, *sizes, transpose_b=transpose_b))
    assert workload is not None
    choices = template.knobs(workload, chip)
    knobs = {name: data.draw(st.sampled_from(values), label=name) for name, values in choices.items()}
    if not template.is_valid(workload, knobs, chip.kernel_l1_bytes):
        knobs = {}
    check(sizes, transpose_b, knobs, chip, tmp_path_factory.mktemp("kernel"))


def test_a_step_has_one_instruction_for_each_product_and_load() -> None:
    for steps, products in ((10, 8), (40, 16)):
        text = vector_product_source(
            8, {0}, Distances(0, 1, 1, 64), 8, steps, split_k=1, partial_elements=0, relief=0,
            in_parts=False, assembly=True,
        )  # fmt: skip
        assert "LP_SETUP(0, a3, 17, 5)" in text
        assert text.count("fmadd.s") == products  # of a long sum the last step stands behind the loop
        assert "(sp)" not in text  # nothing is saved


def test_long_sums_are_made_in_parts(chip: Features) -> None:
    """No worker adds more than so many products one after the other; `flat_panel` sums the tiles up."""
    workload = MatmulTemplate().match(matmul_function(1, 2, 2 * LONGEST_SUM + 2))
    assert workload is not None
    w, b = workload.sizes, Blocking(1, 2, 256, 1, 1, 2, 0, 4, 2)
    assert is_valid(w, b, chip.kernel_l1_bytes)
    assert not b.is_vector_product(w)
    assert Blocking(1, 2, 256, 1, 1, 2, 0, 4, 4).is_vector_product(w)
