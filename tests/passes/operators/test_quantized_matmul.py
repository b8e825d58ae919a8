"""Products of bytes as tensor expressions and by the generic lowering, against NumPy."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.schedules.host_harness import HostKernel, run_reference
from tests.schedules.quantized_operands import operands
from tvm_pulp.passes.operators.quantized_matmul import quantized_matmul
from tvm_pulp.passes.operators.requantize import Requantization, Rounding, twice_multiplier
from tvm_pulp.schedules import lower
from tvm_pulp.schedules.generic import lower_generic
from tvm_pulp.target import features, parse


@pytest.mark.parametrize("shift", [20, 32, 40])
@pytest.mark.parametrize("dtype", ["uint8", "int8"])
def test_expression_by_the_generic_lowering(shift: int, dtype: str, tmp_path: Path) -> None:
    m, n, k = 9, 7, 13
    data, weight = operands(m, n, k, 0, dtype)
    random = np.random.default_rng(1)
    bias = random.integers(-5000, 5000, n).astype(np.int32)
    multiplier = np.rint(random.uniform(0.0005, 0.0019, n) * 2.0**shift).astype(np.int32)
    requantization = Requantization(shift, zero_point=7, low=2, high=250)
    expected = requantization.reference(data.astype(np.int32) @ weight.astype(np.int32).T + bias, multiplier)
    assert len(np.unique(expected)) > 10
    function = quantized_matmul("layer", "product", m, n, k, requantization, dtype)
    arrays = [data, weight, requantization.terms(bias, multiplier), np.zeros((m, n), np.uint8)]
    HostKernel(lower_generic(function, features(parse("pulp"))), tmp_path)(arrays)
    np.testing.assert_array_equal(arrays[-1], expected)


def test_sums(tmp_path: Path) -> None:
    data, weight = operands(5, 6, 11)
    function = quantized_matmul("layer", "product", 5, 6, 11, None)
    found = run_reference(function, [data, weight, np.zeros((5, 6), np.int32)])[-1]
    np.testing.assert_array_equal(found, data.astype(np.int32) @ weight.astype(np.int32).T)
    assert (
        str(function.attrs["pulp.operator"]) == "quantized_matmul" and int(function.attrs["pulp.macs"]) == 330
    )


@pytest.mark.parametrize("rounding", [Rounding.HALF_EVEN, Rounding.HALF_AWAY, Rounding.TWICE])
def test_every_rounding_is_taken_by_some_lowering(rounding: Rounding, tmp_path: Path) -> None:
    m, n, k = 32, 8, 16
    data, weight = operands(m, n, k)
    data, weight = data % 8, weight // 32
    sums = data.astype(np.int32) @ weight.astype(np.int32).T
    shift, bias = 2, np.arange(n, dtype=np.int32)
    multiplier = np.full(n, 3, np.int32)
    if rounding is Rounding.TWICE:
        multiplier = np.array([twice_multiplier(s) for s in np.geomspace(0.001, 1.5, n)], np.int32).T.copy()
    own = rounding is Rounding.TWICE
    requantization = Requantization(shift, zero_point=100, rounding=rounding, own_shifts=own)
    expected = requantization.reference(sums + bias, multiplier)
    function = quantized_matmul("layer", "product", m, n, k, requantization)
    arrays = [data, weight, requantization.terms(bias, multiplier), np.zeros((m, n), np.uint8)]
    HostKernel(lower(function, features(parse("pulp"))), tmp_path)(arrays)
    np.testing.assert_array_equal(arrays[-1], expected)
    if rounding is not Rounding.TWICE:  # halves are among the results, so that the roundings differ
        assert (Requantization(shift, zero_point=100).reference(sums + bias, multiplier) != expected).any()
