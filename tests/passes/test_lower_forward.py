import pytest
from tvm import relax

from tests.passes.single_operator import normal, operator_model, training_module
from tvm_pulp.target.errors import UserError
from tvm_pulp.target.tvm_names import PrimFunc


def test_operator_without_kernel_is_named_with_its_layer() -> None:
    model = operator_model(lambda builder, x: builder.emit(relax.op.erf(x), "odd_one"), {"x": normal(2, 3)})
    with pytest.raises(UserError, match="layer odd_one: operator erf has no kernel"):
        training_module(model, ("x",), set())


def test_kernels_of_layers_of_the_same_name_stay_apart() -> None:
    def build(builder: relax.BlockBuilder, x: relax.Var, w: relax.Var) -> relax.Expr:
        y = builder.emit(relax.op.nn.conv2d(x, w, padding=1), "first")
        return builder.emit(relax.op.nn.conv2d(y, w), "second")

    arrays = {"x": normal(1, 3, 5, 5), "conv.weight": normal(3, 3, 3, 3)}
    module = training_module(operator_model(build, arrays), ("conv.weight",), set())
    forward = [
        v.name_hint
        for v, f in module.functions.items()
        if isinstance(f, PrimFunc) and str(f.attrs["pulp.operator"]) == "conv2d"
    ]
    assert sorted(forward) == ["conv_forward", "conv_forward1"]
