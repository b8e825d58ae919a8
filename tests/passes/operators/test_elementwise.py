from collections.abc import Callable

import pytest
import torch
from torch.nn import functional
from tvm import relax

from tests.passes.single_operator import check_operator, normal
from tvm_pulp.target.tvm_names import PrimFunc

BINARY: dict[str, tuple[Callable[..., relax.Expr], Callable[..., torch.Tensor]]] = {
    "add": (relax.op.add, torch.add),
    "subtract": (relax.op.subtract, torch.sub),
    "multiply": (relax.op.multiply, torch.mul),
    "divide": (relax.op.divide, torch.div),
}
SHAPES = {
    "same": ((2, 3, 4, 5), (2, 3, 4, 5)),
    "bias of an image": ((2, 3, 4, 5), (1, 3, 1, 1)),
    "bias without batch axis": ((2, 3, 4, 5), (3, 1, 1)),
    "bias of a row": ((4, 3), (3,)),
    "bias of one row": ((1, 3), (3,)),
    "one number": ((2, 3, 4), (1,)),
    "gate of a channel": ((2, 3, 4, 5), (2, 3, 1, 1)),
    "both broadcast": ((2, 1, 4), (1, 3, 4)),
    "first broadcast": ((3, 1, 1), (2, 3, 4, 5)),
    "long sum": ((8, 3, 24, 24), (1, 3, 1, 1)),
    "long rows": ((2, 3, 80, 72), (1, 3, 1, 1)),
}


@pytest.mark.parametrize(
    ("operator", "shapes"),
    [(o, s) for o in BINARY for s in SHAPES if o in ("add", "multiply") or not s.startswith("long")],
)
def test_binary_operators_agree_with_pytorch(operator: str, shapes: str) -> None:
    left, right = SHAPES[shapes]
    ours, theirs = BINARY[operator]
    arrays = {"left": normal(*left), "right": normal(*right, seed=1)}
    if operator == "divide":
        arrays["right"] = abs(arrays["right"]) + 0.5
    check_operator(lambda builder, a, b: ours(a, b), theirs, arrays)


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("operator", BINARY)
def test_constants_are_in_the_code(operator: str, side: str) -> None:
    ours, theirs = BINARY[operator]
    arrays = {"data": abs(normal(2, 5)) + 0.5}
    constant = relax.const(1.75, "float32")
    module = check_operator(
        lambda builder, x: ours(constant, x) if side == "left" else ours(x, constant),
        lambda x: theirs(torch.tensor(1.75), x) if side == "left" else theirs(x, torch.tensor(1.75)),
        arrays,
    )
    kernels = [f for f in module.functions.values() if isinstance(f, PrimFunc)]
    assert all(len(f.params) <= 4 for f in kernels)


def test_gradients_of_the_same_variable_add_up() -> None:
    check_operator(
        lambda builder, x: relax.op.multiply(builder.emit(relax.op.multiply(x, x)), x),
        lambda x: x * x * x,
        {"data": normal(3, 4)},
    )


def test_addition_passes_the_gradient_on_without_a_kernel() -> None:
    arrays = {"left": normal(3, 4), "right": normal(3, 4, seed=1)}
    module = check_operator(lambda builder, a, b: relax.op.add(a, b), torch.add, arrays)
    names = {v.name_hint for v, f in module.functions.items() if isinstance(f, PrimFunc)}
    assert len([name for name in names if not name.startswith("loss")]) == 1


UNARY: dict[str, tuple[Callable[..., relax.Expr], Callable[..., torch.Tensor]]] = {
    "relu": (relax.op.nn.relu, torch.relu),
    "relu6": (lambda x: relax.op.clip(x, 0.0, 6.0), functional.relu6),
    "hardtanh": (lambda x: relax.op.clip(x, -1.0, 1.5), lambda x: functional.hardtanh(x, -1.0, 1.5)),
    "upper bound": (lambda x: relax.op.clip(x, float("-inf"), 1.5), lambda x: torch.clamp(x, max=1.5)),
    "sigmoid": (relax.op.sigmoid, torch.sigmoid),
    "tanh": (relax.op.tanh, torch.tanh),
}


@pytest.mark.parametrize("operator", UNARY)
def test_unary_operators_agree_with_pytorch(operator: str) -> None:
    ours, theirs = UNARY[operator]
    check_operator(lambda builder, x: ours(x), theirs, {"data": 4 * normal(3, 5, 4)})


@pytest.mark.parametrize("operator", ["relu", "relu6", "hardtanh"])
def test_bounds_pass_no_gradient_on(operator: str) -> None:
    ours, theirs = UNARY[operator]
    data = normal(4, 4)
    data.flat[:6] = [0.0, -0.0, 6.0, -1.0, 1.5, 3.0]
    check_operator(lambda builder, x: ours(x), theirs, {"data": data})
