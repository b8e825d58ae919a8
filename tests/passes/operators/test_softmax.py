import numpy as np
import pytest
import torch
from tvm import relax

from tests.passes.single_operator import check_operator, normal


@pytest.mark.parametrize(("shape", "axis"), [((3, 7), -1), ((3, 7), 0), ((2, 5, 3, 4), 1), ((6,), 0)])
@pytest.mark.parametrize("logarithm", [False, True])
def test_agrees_with_pytorch(shape: tuple[int, ...], axis: int, logarithm: bool) -> None:
    ours = relax.op.nn.log_softmax if logarithm else relax.op.nn.softmax
    theirs = torch.log_softmax if logarithm else torch.softmax
    check_operator(lambda builder, x: ours(x, axis), lambda x: theirs(x, axis), {"data": 3 * normal(*shape)})


def test_large_values_stay_finite() -> None:
    data = normal(3, 7)
    data[:, 2] = [200, -200, 1e4]
    check_operator(
        lambda builder, x: relax.op.nn.softmax(x, 1),
        lambda x: torch.softmax(x, 1),
        {"data": np.float32(data)},
    )
