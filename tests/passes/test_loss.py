import numpy as np
import pytest
from tvm import relax

from tests.passes.single_operator import normal, operator_model
from tvm_pulp.passes.loss import labels_type, loss_source
from tvm_pulp.passes.model import Model
from tvm_pulp.passes.train_config import TrainConfig
from tvm_pulp.target.errors import UserError


def model(*operators: str, shape: tuple[int, ...] = (4, 5), name: str = "x") -> Model:
    functions = {
        "relu": relax.op.nn.relu,
        "softmax": relax.op.nn.softmax,
        "log_softmax": relax.op.nn.log_softmax,
        "softmax over samples": lambda x: relax.op.nn.softmax(x, 0),
    }

    def build(builder: relax.BlockBuilder, x: relax.Var) -> relax.Expr:
        for position, operator in enumerate(operators):
            x = builder.emit(functions[operator](x), f"{operator}{position}")
        return x

    return operator_model(build, {name: normal(*shape)})


@pytest.mark.parametrize("last", ["softmax", "log_softmax"])
def test_cross_entropy_is_of_what_the_last_softmax_reads(last: str) -> None:
    assert loss_source(model("relu", last), TrainConfig()).name == "relu0"


@pytest.mark.parametrize("operators", [("softmax", "relu"), ("relu", "softmax over samples")])
def test_other_softmaxes_stay(operators: tuple[str, ...]) -> None:
    found = model(*operators)
    values = {b.var: b.value for block in found.function.body.blocks for b in block.bindings}
    source = loss_source(found, TrainConfig())
    assert str(values[source].op.name) == {"relu": "relax.nn.relu"}.get(operators[1], "relax.nn.softmax")


def test_squared_error_is_of_the_output_itself() -> None:
    found = model("relu", "softmax")
    values = {b.var: b.value for block in found.function.body.blocks for b in block.bindings}
    assert values[loss_source(found, TrainConfig(loss="mse"))].op.name == "relax.nn.softmax"


def test_labels_are_class_numbers_or_like_the_output() -> None:
    classes = labels_type(model("relu"), TrainConfig(), 4)
    assert (list(classes.shape), str(classes.dtype)) == ([4], "int32")
    values = labels_type(model("relu", shape=(4, 3, 2)), TrainConfig(loss="mse"), 4)
    assert (list(values.shape), str(values.dtype)) == ([4, 3, 2], "float32")


@pytest.mark.parametrize("shape", [(4,), (4, 1), (4, 5, 1, 1)])
def test_output_without_classes_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(UserError, match=r"cross-entropy needs \[batch, classes\]"):
        labels_type(model("relu", shape=shape), TrainConfig(), 4)


def test_an_input_named_like_the_labels_is_refused() -> None:
    with pytest.raises(UserError, match="an argument is named 'labels'"):
        labels_type(model("relu", name="labels"), TrainConfig(), 4)
    assert np.prod(model("relu").parameters or 1) == 1
