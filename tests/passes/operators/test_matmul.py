from typing import Any

import pytest
import torch
from tvm import relax

from tests.passes.single_operator import check_operator, normal, operator_model, training_module
from tvm_pulp.passes.operators.matmul import Matmul, Operand, matmul
from tvm_pulp.target.errors import UserError
from tvm_pulp.target.tvm_names import PrimFunc


def sizes_of(module: Any) -> dict[str, dict[str, int]]:
    return {
        v.name_hint: {key: int(value) for key, value in f.attrs["pulp.matmul"].items()}
        for v, f in module.functions.items()
        if isinstance(f, PrimFunc) and str(f.attrs["pulp.operator"]) == "matmul"
    }


def swapped(builder: relax.BlockBuilder, x: relax.Var) -> relax.Var:
    rank = len(x.ty.shape.values)
    return builder.emit(relax.op.permute_dims(x, [*range(rank - 2), rank - 1, rank - 2]))


@pytest.mark.parametrize("transpose_b", [False, True])
@pytest.mark.parametrize("transpose_a", [False, True])
@pytest.mark.parametrize(("leading", "shared"), [((), False), ((3,), False), ((3,), True), ((2, 3), True)])
def test_layouts_agree_with_pytorch(
    leading: tuple[int, ...], shared: bool, transpose_a: bool, transpose_b: bool
) -> None:
    m, n, k = 4, 5, 6
    a = (*leading, k, m) if transpose_a else (*leading, m, k)
    b = (*(() if shared else leading), *((n, k) if transpose_b else (k, n)))

    def build(builder: relax.BlockBuilder, x: relax.Var, y: relax.Var) -> relax.Expr:
        left = swapped(builder, x) if transpose_a else x
        return relax.op.matmul(left, swapped(builder, y) if transpose_b else y)

    def reference(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        left = x.transpose(-1, -2) if transpose_a else x
        return left @ (y.transpose(-1, -2) if transpose_b else y)

    module = check_operator(build, reference, {"data": normal(*a), "fc.weight": normal(*b, seed=1)})
    kernels = [f for f in module.functions.values() if isinstance(f, PrimFunc)]
    assert not [f for f in kernels if str(f.attrs["pulp.operator"]) == "permute_dims"]


def test_linear_layer_reads_its_weight_as_it_is_stored() -> None:
    module = check_operator(
        lambda builder, x, w: relax.op.matmul(x, swapped(builder, w)),
        lambda x, w: x @ w.T,
        {"data": normal(8, 10), "fc.weight": normal(3, 10)},
    )
    single = {"batch": 1, "batch_a": 0, "batch_b": 0, "reduce_batch": 0}
    assert sizes_of(module) == {
        "fc_forward": {"m": 8, "n": 3, "k": 10, "transpose_a": 0, "transpose_b": 1, **single},
        "fc_data_gradient": {"m": 8, "n": 10, "k": 3, "transpose_a": 0, "transpose_b": 0, **single},
        "fc_weight_gradient": {"m": 3, "n": 10, "k": 8, "transpose_a": 1, "transpose_b": 0, **single},
    }


def test_a_transpose_that_others_read_too_is_computed() -> None:
    check_operator(
        lambda builder, x: relax.op.multiply(y := swapped(builder, x), builder.emit(relax.op.matmul(y, x))),
        lambda x: x.T * (x.T @ x),
        {"data": normal(5, 5)},
    )


def test_macs_and_buffers_are_in_order_a_b_c() -> None:
    product = Matmul(
        Operand("x", (2, 3), "mk"), Operand("w", (4, 3), "nk"), Operand("y", (2, 4), "mn"), 2, 4, 3, 0, 1
    )
    function = matmul("fc", "forward", product)
    assert [buffer.name for buffer in function.params] == ["x", "w", "y"]
    assert int(function.attrs["pulp.macs"]) == 24


def test_vectors_are_refused_by_their_layer() -> None:
    arrays = {"data": normal(3, 4), "fc.weight": normal(4)}
    model = operator_model(lambda builder, x, w: relax.op.matmul(x, w), arrays)
    with pytest.raises(UserError, match="layer fc: matmul of a vector"):
        training_module(model, ("fc.weight",), set())
