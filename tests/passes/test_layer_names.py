from tvm import relax

from tests.passes.single_operator import normal, operator_model
from tvm_pulp.passes.layer_names import layer_names
from tvm_pulp.passes.rewrite import bindings, operands


def build(builder: relax.BlockBuilder, x: relax.Var, w: relax.Var, b: relax.Var) -> relax.Expr:
    y = builder.emit(relax.op.matmul(x, builder.emit(relax.op.permute_dims(w), "turned")), "product")
    y = builder.emit(relax.op.add(y, builder.emit(relax.op.reshape(b, (1, 3)), "row")), "sum")
    y = builder.emit(relax.op.nn.relu(y), "fc")
    return builder.emit(relax.op.nn.relu(y), "activation")


def test_layers_are_those_of_the_parameters_that_are_read() -> None:
    arrays = {"x": normal(2, 4), "fc.weight": normal(3, 4), "fc.bias": normal(3)}
    model = operator_model(build, arrays)
    names = layer_names(model)
    found = {variable.name: names.layer(variable) for variable, _ in bindings(model.function)}
    assert found["product"] == found["sum"] == found["turned"] == "fc"
    assert found["activation"] == "activation"
    assert found["fc"] == "fc.relu"


def test_operands_are_called_by_the_parameter() -> None:
    arrays = {"x": normal(2, 4), "fc.weight": normal(3, 4), "fc.bias": normal(3)}
    model = operator_model(build, arrays)
    names = layer_names(model)
    values = {variable.name: operands(value) for variable, value in bindings(model.function)}
    assert names.operands(*values["product"]) == ("data", "weight")
    assert names.operands(*values["sum"]) == ("data", "bias")
    assert names.operands(values["product"][0], values["product"][0]) == ("left", "right")
