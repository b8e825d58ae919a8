"""Quantised convolutions by the generic lowering, and the packing of their weights."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.schedules.host_harness import HostKernel
from tests.schedules.test_quantized_conv2d import workload
from tvm_pulp.passes.operators.quantized_conv2d import QuantizedConv2d, pack_weight
from tvm_pulp.schedules.generic import lower_generic
from tvm_pulp.target import features, parse


@pytest.mark.parametrize("dilation", [(1, 1), (2, 2)])
@pytest.mark.parametrize("channels", [3, 4])
def test_generic_lowering(dilation: tuple[int, int], channels: int, tmp_path: Path) -> None:
    g = QuantizedConv2d((3, 2), (1, 2), (1, 1, 0, 2), dilation, 17)
    function, arrays, expected = workload((2, 9, 8, channels), 5, g)
    assert len(np.unique(expected)) > 10
    HostKernel(lower_generic(function, features(parse("pulp"))), tmp_path)(arrays)
    np.testing.assert_array_equal(arrays[-1], expected)


def test_generic_lowering_of_groups(tmp_path: Path) -> None:
    g = QuantizedConv2d((3, 2), (1, 2), (1, 1, 0, 2), zero_point=17)
    function, arrays, expected = workload((2, 9, 8, 6), 4, g, groups=2)
    assert len(np.unique(expected)) > 10
    HostKernel(lower_generic(function, features(parse("pulp"))), tmp_path)(arrays)
    np.testing.assert_array_equal(arrays[-1], expected)


def test_packed_weights_have_their_channels_innermost_and_whole_words() -> None:
    weight = np.arange(2 * 3 * 2 * 3, dtype=np.int8).reshape(2, 3, 2, 3)
    packed = pack_weight(weight)
    assert packed.shape == (2, 2, 12)
    assert packed[1, 0, 4] == weight[1, 1, 0, 1] and (packed[:, :, 9:] == 0).all()
