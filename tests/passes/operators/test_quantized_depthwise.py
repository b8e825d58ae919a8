"""Quantised depthwise convolutions by the generic lowering, bit by bit against NumPy."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.schedules.host_harness import HostKernel
from tests.schedules.quantized_convolutions import depthwise_sums
from tests.schedules.quantized_operands import requantization_for
from tvm_pulp.passes.operators.quantized_conv2d import QuantizedConv2d
from tvm_pulp.passes.operators.quantized_depthwise import pack_depthwise_weight, quantized_depthwise
from tvm_pulp.schedules.base import lower
from tvm_pulp.target import features, parse


@pytest.mark.parametrize("strides", [(1, 1), (2, 2)])
def test_against_numpy(strides: tuple[int, int], tmp_path: Path) -> None:
    g = QuantizedConv2d((3, 3), strides, (1, 1, 1, 1), zero_point=11)
    random = np.random.default_rng(0)
    data = random.integers(0, 256, (2, 7, 9, 6)).astype(np.uint8)
    weight = random.integers(-128, 128, (6, 1, 3, 3)).astype(np.int8)
    sums = depthwise_sums(data, weight, g)
    bias, multiplier, requantization = requantization_for(sums, 0, "narrow", 5)
    function = quantized_depthwise("layer", "forward", g, data.shape, requantization)
    arrays = [
        data,
        pack_depthwise_weight(weight),
        requantization.terms(bias, multiplier),
        np.zeros(sums.shape, np.uint8),
    ]
    HostKernel(lower(function, features(parse("pulp"))), tmp_path)(arrays)
    np.testing.assert_array_equal(arrays[-1], requantization.reference(sums + bias, multiplier))
    assert len(np.unique(arrays[-1])) > 10
