import pytest
import torch
from torch.nn import functional
from tvm import relax

from tests.passes.single_operator import check_operator, normal


@pytest.mark.parametrize("axes", [(0, 2, 3, 1), (3, 1, 0, 2), (0, 1, 3, 2)])
def test_transposes_agree_with_pytorch(axes: tuple[int, ...]) -> None:
    check_operator(
        lambda builder, x: relax.op.permute_dims(x, list(axes)),
        lambda x: x.permute(axes),
        {"data": normal(2, 3, 4, 5)},
    )


def test_transpose_without_axes_reverses_them() -> None:
    check_operator(
        lambda builder, x: relax.op.permute_dims(x),
        lambda x: x.permute(2, 1, 0),
        {"data": normal(2, 3, 4)},
    )


@pytest.mark.parametrize("value", [0.0, -1.5])
def test_padding_agrees_with_pytorch(value: float) -> None:
    check_operator(
        lambda builder, x: relax.op.nn.pad(x, [0, 0, 1, 0, 2, 1, 0, 3], "constant", value),
        lambda x: functional.pad(x, (0, 3, 2, 1, 1, 0), value=value),
        {"data": normal(2, 3, 4, 5)},
    )


@pytest.mark.parametrize("axis", [0, 1, -1])
def test_concatenation_agrees_with_pytorch(axis: int) -> None:
    shapes = [[2, 3, 4], [2, 3, 4], [2, 3, 4]]
    for position, shape in enumerate(shapes):
        shape[axis] += position
    arrays = {f"data{position}": normal(*shape, seed=position) for position, shape in enumerate(shapes)}
    check_operator(lambda builder, *x: relax.op.concat(list(x), axis), lambda *x: torch.cat(x, axis), arrays)
    module = check_operator(
        lambda builder, *x: relax.op.concat(list(x), axis),
        lambda *x: torch.cat(x, axis),
        arrays,
        ("data1",),
    )
    assert not [v for v in module.get_global_vars() if "data0_gradient" in v.name_hint]


def test_reshape_has_no_kernel() -> None:
    module = check_operator(
        lambda builder, x: relax.op.reshape(x, (4, 6)), lambda x: x.reshape(4, 6), {"data": normal(2, 3, 4)}
    )
    assert {v.name_hint for v in module.get_global_vars()} == {"step", "loss_gradient"}
