"""Masks of one bit an element: kernels that make and read them, by the template and the generic lowering."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from tvm import te

from tests.passes.operators.test_pack_mask import masked_gradient, unpacked
from tests.schedules.host_harness import HostKernel
from tvm_pulp.measure import measure_kernel
from tvm_pulp.passes.compose_kernels import compose_kernels
from tvm_pulp.passes.operators.kernel import argument, make_kernel, number
from tvm_pulp.passes.operators.pack_mask import pack_mask, unpack_mask
from tvm_pulp.schedules.elementwise import ElementwiseTemplate
from tvm_pulp.schedules.generic import lower_generic
from tvm_pulp.target import Features
from tvm_pulp.target.tvm_names import PrimFunc, Select

LIMITS = [None, 0.5]
Case = Callable[[int, float | None], tuple[PrimFunc, list[np.ndarray], list[np.ndarray]]]


def packing(groups: int, limit: float | None) -> tuple[PrimFunc, list[np.ndarray], list[np.ndarray]]:
    """Return a kernel that makes a mask, its buffers before and after it."""
    x = np.random.default_rng(groups).standard_normal((groups, 32, 4)).astype(np.float32)
    x[0, :3, 0] = (0.0, -0.0, 0.5)
    words = np.full((groups, 4), 77, np.uint32)
    inside = (x > 0) & (x < (np.inf if limit is None else limit))
    bits = np.left_shift(inside.astype(np.uint32), np.arange(31, -1, -1, dtype=np.uint32)[:, None])
    return pack_mask("l", "w", (groups, 4), limit), [x, words], [x, bits.sum(axis=1, dtype=np.uint32)]


def reading(groups: int, limit: float | None) -> tuple[PrimFunc, list[np.ndarray], list[np.ndarray]]:
    """Return a kernel that reads a mask, its buffers before and after it."""
    rng = np.random.default_rng(groups)
    shape = (groups, 4, 2, 16)
    gradient = rng.standard_normal(shape).astype(np.float32)
    mask = rng.integers(0, 2**32, (groups, 4), dtype=np.uint32)
    want = np.where(unpacked(mask).reshape(shape), gradient, np.float32(0))
    before = [gradient, mask, np.full(shape, 7, np.float32)]
    return masked_gradient(shape, limit), before, [gradient, mask, want]


@pytest.mark.parametrize("limit", LIMITS)
@pytest.mark.parametrize("case", [packing, reading])
@pytest.mark.parametrize("groups", [2, 7, 24])
def test_template_with_any_tile(
    case: Case, limit: float | None, groups: int, chip: Features, kernels: Path
) -> None:
    function, before, after = case(groups, limit)
    template = ElementwiseTemplate()
    workload = template.match(function)
    assert workload is not None
    for size in template.knobs(workload, chip)["tile_elements"]:
        lowered = template.build(workload, {"tile_elements": size}, chip)
        assert int(lowered.attrs["pulp.l1_bytes"]) == template.l1_bytes(workload, {"tile_elements": size})
        results = [array.copy() for array in before]
        HostKernel(lowered, kernels)(results)
        for got, want in zip(results, after, strict=True):
            np.testing.assert_array_equal(got, want)


@pytest.mark.parametrize("limit", LIMITS)
@pytest.mark.parametrize("case", [packing, reading])
@pytest.mark.parametrize("groups", [2, 50, 300])
def test_on_the_simulator(
    case: Case, limit: float | None, groups: int, chip: Features, tmp_path: Path
) -> None:
    """In assembly, without a report of a race, of bounds or of reading what nobody wrote."""
    function, before, after = case(groups, limit)
    template = ElementwiseTemplate()
    workload = template.match(function)
    lowered = template.build(workload, template.default(workload, chip), chip)
    results = [array.copy() for array in before]
    measure_kernel(lowered, results, chip, tmp_path, runs=1)
    for got, want in zip(results, after, strict=True):
        np.testing.assert_array_equal(got, want)


@pytest.mark.parametrize("limit", LIMITS)
@pytest.mark.parametrize("case", [packing, reading])
def test_generic_lowering(case: Case, limit: float | None, chip: Features, kernels: Path) -> None:
    function, before, after = case(9, limit)
    results = [array.copy() for array in before]
    HostKernel(lower_generic(function, chip), kernels)(results)
    for got, want in zip(results, after, strict=True):
        np.testing.assert_array_equal(got, want)


def test_a_mask_of_other_elements_is_not_taken() -> None:
    """The bits are read in order: not those of another place, nor twice."""
    kernel = masked_gradient((2, 8, 16), None)
    chain = [(kernel, ["g", "m", "h"]), (kernel, ["h", "m", "o"])]
    assert ElementwiseTemplate().match(compose_kernels(chain, ["g", "m", "o"], {})) is None
    unpack = unpack_mask("l", "w", (16, 16), 1.0)
    outside = masked_gradient((16, 16), 0.5, inside=0.75)
    assert ElementwiseTemplate().match(outside) is None
    chain = [(unpack, ["m", "y"]), (transposed_gradient(), ["g", "y", "o"])]
    assert ElementwiseTemplate().match(compose_kernels(chain, ["g", "m", "o"], {})) is None


def transposed_gradient() -> PrimFunc:
    """Make a rectifier's gradient that reads the transposed result."""
    gradient, y = argument("g", (16, 16)), argument("y", (16, 16))
    result = te.compute(
        (16, 16), lambda i, j: Select(y(j, i) > number(0.0), gradient(i, j), number(0.0)), name="output"
    )
    return make_kernel([gradient, y], [result], operator="elementwise", layer="l", work="w")
