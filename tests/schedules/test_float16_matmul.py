"""The template of float16 products against NumPy, within what rounding allows, and its speed."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.schedules.host_harness import HostKernel, run_with_sanitizer
from tests.schedules.matmul_functions import matmul_expected, matmul_function
from tvm_pulp.measure import measure_kernel, random_arguments
from tvm_pulp.measure.kernel import Measurement
from tvm_pulp.schedules.base import lower
from tvm_pulp.schedules.float16_matmul import Float16MatmulTemplate
from tvm_pulp.schedules.generic import lower_generic
from tvm_pulp.target import Features, features, parse
from tvm_pulp.target.tvm_names import PrimFunc

LAYOUTS = [(False, False), (True, False), (False, True), (True, True)]
UNIT, UNIT_OF_SUMS = 2.0**-11, 2.0**-24
"""Largest relative error of a rounding to float16 and to float32."""
SMALLEST = 2.0**-24
"""The smallest float16 above zero."""

SIZES = st.tuples(st.integers(1, 40), st.integers(1, 40), st.integers(1, 40))
FLAGS = st.tuples(st.booleans(), st.booleans(), st.booleans())


def function_of(
    sizes: tuple[int, int, int], layout: tuple[bool, bool], batch: int, flags: tuple[bool, bool, bool]
) -> PrimFunc:
    batch_a, batch_b, reduce_batch = (flag and batch > 1 for flag in flags)
    return matmul_function(
        *sizes, transpose_a=layout[0], transpose_b=layout[1], batch=batch, batch_a=batch_a,
        batch_b=batch_b or (batch > 1 and not batch_a), reduce_batch=reduce_batch, dtype="float16",
    )  # fmt: skip


def assert_rounded_once(function: PrimFunc, arrays: list[np.ndarray]) -> None:
    """Compare with the exact result: float32 sums in any order, then one rounding.

    A sum of k products in any order errs by at most k units of the sum of the magnitudes; the product of two
    float16 is exact in float32.
    """
    exact = matmul_expected(function, arrays)
    magnitudes = matmul_expected(function, [np.abs(array) for array in arrays])
    terms = int(function.attrs["pulp.macs"]) / exact.size
    sums = terms * UNIT_OF_SUMS / (1 - terms * UNIT_OF_SUMS) * magnitudes
    limit = sums + UNIT * (np.abs(exact) + sums) + SMALLEST / 2
    errors = np.abs(arrays[2].astype(np.float64) - exact)
    assert np.all(errors <= limit), f"{(errors / limit).max():.3g} times what rounding allows"


def build(function: PrimFunc, knobs: dict[str, int] | None, chip: Features) -> PrimFunc:
    template = Float16MatmulTemplate()
    workload = template.match(function)
    assert workload is not None
    if knobs is None or not template.is_valid(workload, knobs, chip.kernel_l1_bytes):
        knobs = template.default(workload, chip)
    lowered = template.build(workload, knobs, chip)
    assert int(lowered.attrs["pulp.l1_bytes"]) == template.l1_bytes(workload, knobs) <= chip.kernel_l1_bytes
    return lowered


def simulate(function: PrimFunc, lowered: PrimFunc, chip: Features, **options: Any) -> Measurement:
    """Run with the simulator's checks, twice, so that the second call finds the code in the cache."""
    arrays = random_arguments(function)
    measured = simulate_on(lowered, arrays, chip, **options)
    assert_rounded_once(function, arrays)
    return measured


def simulate_on(lowered: PrimFunc, arrays: list[np.ndarray], chip: Features, **options: Any) -> Measurement:
    with tempfile.TemporaryDirectory() as folder:
        return measure_kernel(lowered, arrays, chip, Path(folder), **options)


def draw_knobs(function: PrimFunc, data: st.DataObject, chip: Features) -> dict[str, int]:
    template = Float16MatmulTemplate()
    choices = template.knobs(template.match(function), chip)
    return {name: data.draw(st.sampled_from(values), label=name) for name, values in choices.items()}


@settings(max_examples=40, deadline=None)
@given(sizes=SIZES, layout=st.sampled_from(LAYOUTS), batch=st.integers(1, 4), flags=FLAGS, data=st.data())
def test_any_knobs_in_plain_c(
    sizes: tuple[int, int, int], layout: tuple[bool, bool], batch: int, flags: tuple[bool, bool, bool],
    data: st.DataObject, chip: Features, kernels: Path,
) -> None:  # fmt: skip
    function = function_of(sizes, layout, batch, flags)
    lowered = build(function, draw_knobs(function, data, chip), chip)
    arrays = random_arguments(function)
    HostKernel(lowered, kernels)(arrays)
    assert_rounded_once(function, arrays)


@settings(max_examples=15, deadline=None)
@given(sizes=SIZES, layout=st.sampled_from(LAYOUTS), batch=st.integers(1, 4), flags=FLAGS, data=st.data())
def test_any_knobs_in_assembly(
    sizes: tuple[int, int, int], layout: tuple[bool, bool], batch: int, flags: tuple[bool, bool, bool],
    data: st.DataObject, chip: Features,
) -> None:  # fmt: skip
    function = function_of(sizes, layout, batch, flags)
    simulate(function, build(function, draw_knobs(function, data, chip), chip), chip, runs=1)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize(
    "m,n,k", [(9, 1500, 7), (1500, 9, 6), (7, 9, 1501), (3, 700, 9), (700, 3, 8), (6, 7, 701)]
)
def test_long_rows_in_l1(layout: tuple[bool, bool], m: int, n: int, k: int) -> None:
    """Rows that an instruction's offset does not reach across, where the tile is the tensor."""
    chip = features(parse("pulp -l1-bytes=262144"))
    function = function_of((m, n, k), layout, 1, (False, False, False))
    names = [str(parameter.name) for parameter in function.params]
    lowered = lower(function, chip, names)
    assert lowered.attrs["pulp.schedule"] == "float16_matmul"
    simulate(function, lowered, chip, runs=1, resident=names)


@pytest.mark.parametrize("m,n", [(50, 37), (3, 200), (200, 3), (1, 8), (1, 1), (64, 256)])
def test_outer_products_are_rounded_once(m: int, n: int, chip: Features, kernels: Path) -> None:
    function = function_of((m, n, 1), (False, True), 2, (True, True, False))
    lowered = build(function, None, chip)
    for run in (HostKernel(lowered, kernels), lambda arrays: simulate_on(lowered, arrays, chip)):
        arrays = random_arguments(function)
        run(arrays)
        products = np.einsum("bmk,bnk->bmn", *(array.astype(np.float32) for array in arrays[:2]))
        np.testing.assert_array_equal(arrays[2], products.astype(np.float16))


@pytest.mark.parametrize("target", ["pulp -has-fp16=false", "pulp -has-xpulp=false -has-fp16=false"])
def test_chips_without_half_precision(target: str) -> None:
    chip = features(parse(target))
    function = function_of((13, 10, 9), (False, False), 2, (True, True, True))
    simulate(function, lower(function, chip), chip, runs=1)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_generic_lowering_compiles_it_too(layout: tuple[bool, bool], chip: Features) -> None:
    function = function_of((13, 10, 9), layout, 1, (False, False, False))
    simulate(function, lower_generic(function, chip), chip, runs=1)


@pytest.mark.parametrize("sanitizer", ["address,undefined", "thread"])
def test_sanitizers(sanitizer: str, chip: Features, tmp_path: Path) -> None:
    function = function_of((43, 30, 71), (True, False), 3, (False, True, False))
    knobs = {"tile_m": 16, "tile_n": 12, "tile_k": 32, "tile_batch": 2, "block_rows": 4, "block_columns": 4}
    run_with_sanitizer(build(function, {**knobs, "order": 0}, chip), tmp_path, sanitizer)


@pytest.mark.parametrize("layout", LAYOUTS[:3])
@pytest.mark.parametrize("size,in_l1,least", [(64, True, 7.2), (160, False, 7.3)])
def test_speed(layout: tuple[bool, bool], size: int, in_l1: bool, least: float, chip: Features) -> None:
    """MAC/cycle of a cube."""
    function = function_of((size, size, size), layout, 1, (False, False, False))
    names = [str(parameter.name) for parameter in function.params] if in_l1 else []
    measured = simulate(function, lower(function, chip, names), chip, resident=names)
    assert size**3 / measured.cycles[-1] >= least


@pytest.mark.parametrize("layout", LAYOUTS[1:3])
def test_estimate_is_near_the_simulator(layout: tuple[bool, bool], chip: Features) -> None:
    function = function_of((128, 96, 160), layout, 1, (False, False, False))
    template = Float16MatmulTemplate()
    workload = template.match(function)
    assert workload is not None
    measured = simulate(function, build(function, None, chip), chip)
    estimate = template.estimate_cycles(workload, template.default(workload, chip), chip)
    assert 0.85 <= estimate / measured.cycles[-1] <= 1.15


def test_other_types_do_not_match() -> None:
    assert Float16MatmulTemplate().match(matmul_function(4, 4, 4)) is None
