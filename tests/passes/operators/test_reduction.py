import math

import numpy as np
import pytest
import torch
from tvm import relax

from tests.host_executor import run_kernel
from tests.passes.single_operator import assert_close, check_operator, normal
from tvm_pulp.passes.operators.reduction import LONGEST_SUM, sum_kernel, sum_stages


@pytest.mark.parametrize(
    ("shape", "axes", "stages"),
    [
        ((8, 16, 4, 4), (0, 2, 3), [[0, 2, 3]]),
        ((8, 16, 16, 16), (0, 2, 3), [[2, 3], [0]]),
        ((8, 16, 96, 96), (0, 2, 3), [[3], [2], [0]]),
        ((8, 16, 16, 24), (0, 1, 2, 3), [[2, 3], [1], [0]]),
        ((1, 16, 16, 32), (0, 2, 3), [[2, 3]]),
        ((1, 4, 16, 32), (0, 2, 3), [[3], [2]]),
        ((32, 10), (0, 1), [[1], [0]]),
        ((9000,), (0,), [[0]]),
        ((3, 4), (), [[]]),
    ],
)
def test_stages(shape: tuple[int, ...], axes: tuple[int, ...], stages: list[list[int]]) -> None:
    assert sum_stages(shape, axes) == stages
    for stage in stages:
        assert len(stage) == 1 or math.prod(shape[axis] for axis in stage) <= LONGEST_SUM


@pytest.mark.parametrize("shape", [(8, 16, 16, 16), (2, 16, 96, 96), (3, 2, 5, 7), (1, 1, 40, 40)])
@pytest.mark.parametrize("axes", [(0, 2, 3), (0, 1, 2, 3), (1,), (0, 3)])
def test_sums_agree_with_numpy(shape: tuple[int, ...], axes: tuple[int, ...]) -> None:
    data = normal(*shape) + 1
    kernel = sum_kernel("layer", "sum", [("data", shape)], lambda x: x * x, axes, scale=0.5)
    expected = 0.5 * (data.astype(np.float64) ** 2).sum(axes)
    assert_close(run_kernel(kernel, [data])[1], expected, "sum", 1e-6)


@pytest.mark.parametrize("keepdims", [False, True])
@pytest.mark.parametrize("axes", [(2, 3), (1,), (0, -1), (1, 2)])
def test_means_agree_with_pytorch(axes: tuple[int, ...], keepdims: bool) -> None:
    check_operator(
        lambda builder, x: relax.op.mean(x, list(axes), keepdims),
        lambda x: torch.mean(x, axes, keepdims),
        {"data": normal(2, 3, 4, 5)},
    )
