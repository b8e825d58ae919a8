import pytest
from torch.nn import functional
from tvm import relax

from tests.passes.single_operator import check_operator, normal, operator_model, training_module
from tvm_pulp.target.errors import UserError
from tvm_pulp.target.tvm_names import PrimFunc


def batch_norm(builder: relax.BlockBuilder, x: relax.Var, *parameters: relax.Var) -> relax.Expr:
    return relax.TupleGetItem(builder.emit(relax.op.nn.batch_norm(x, *parameters, axis=1)), 0)


def test_operator_without_gradient_is_named_with_its_layer() -> None:
    """A batch norm by running statistics has no gradient: where gradients flow it runs in training mode."""
    names = ("bn.weight", "bn.bias", "bn.running_mean", "bn.running_var")
    arrays = {"x": normal(2, 3, 4, 4), **{name: abs(normal(3)) for name in names}}
    with pytest.raises(UserError, match="layer bn: its operator has no gradient"):
        training_module(operator_model(batch_norm, arrays), ("x",), set())


def test_parameter_without_influence_is_named() -> None:
    arrays = {"x": normal(2, 3), "spare.weight": normal(3)}
    model = operator_model(lambda builder, x, w: relax.op.nn.relu(x), arrays)
    with pytest.raises(UserError, match=r"parameter spare\.weight does not influence the loss"):
        training_module(model, ("spare.weight",), set())


def test_nothing_is_computed_for_what_is_not_trained() -> None:
    arrays = {"x": normal(2, 3, 5, 5), "conv.weight": normal(4, 3, 3, 3), "scale.weight": normal(4, 1, 1)}
    module = check_operator(
        lambda builder, x, w, s: relax.op.multiply(builder.emit(relax.op.nn.conv2d(x, w)), s),
        lambda x, w, s: functional.conv2d(x, w) * s,
        arrays,
        ("scale.weight",),
    )
    kernels = {v.name_hint for v, f in module.functions.items() if isinstance(f, PrimFunc)}
    assert {name for name in kernels if "gradient" in name} == {"loss_gradient", "scale_weight_gradient"}


def test_gradients_of_several_readers_are_added_up_once_each() -> None:
    def build(builder: relax.BlockBuilder, x: relax.Var) -> relax.Expr:
        y = builder.emit(relax.op.sigmoid(x))
        sums = builder.emit(relax.op.add(builder.emit(relax.op.tanh(y)), builder.emit(relax.op.nn.relu(y))))
        return relax.op.add(sums, y)

    module = check_operator(build, lambda x: (y := x.sigmoid()).tanh() + y.relu() + y, {"x": normal(3, 4)})
    text = str(module["step"])
    assert text.count("gradient_sum") == 2
    assert "R.zeros" not in text and "R.ones" not in text and "broadcast_to" not in text
