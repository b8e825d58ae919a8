import numpy as np
import pytest
from tvm import relax

from tests.passes.small_models import build_model, random_input
from tvm_pulp.passes.rewrite import bindings
from tvm_pulp.passes.trained_part import batch_norm_layer, trained_parameters, training_batch_norms
from tvm_pulp.target.errors import UserError

VECTORS = ["a.weight", "n1.weight", "n1.bias", "b.weight", "n2.weight", "n2.bias", "c.weight"]
STATISTICS = [f"{n}.{s}" for n in ("n1", "n2") for s in ("running_mean", "running_var")]
SHAPES = {"a.weight": (4, 4, 1, 1), "b.weight": (4, 4, 1, 1), "c.weight": (3, 4)}
PARAMETERS = {
    name: random_input(*SHAPES.get(name, (4,)), seed=i) for i, name in enumerate(VECTORS + STATISTICS)
}


def body(builder, x, a, w1, b1, b, w2, b2, c, m1, v1, m2, v2):
    """Layers a, n1, activation, then a branch of b and n2 that is added, and a classifier c."""
    y = builder.emit(relax.op.nn.conv2d(x, a), "a")
    y = builder.emit(builder.emit(relax.op.nn.batch_norm(y, w1, b1, m1, v1, axis=1), "n1")[0])
    y = builder.emit(relax.op.nn.relu(y), "activation")
    z = builder.emit(relax.op.nn.conv2d(y, b), "b")
    z = builder.emit(builder.emit(relax.op.nn.batch_norm(z, w2, b2, m2, v2, axis=1), "n2")[0])
    y = builder.emit(relax.op.add(y, z), "sum")
    y = builder.emit(relax.op.reshape(builder.emit(relax.op.mean(y, [2, 3], True)), (2, 4)))
    return relax.op.matmul(y, builder.emit(relax.op.permute_dims(c)))


@pytest.fixture(scope="module")
def model():
    return build_model(body, {"x": (2, 4, 3, 3)}, PARAMETERS, frozenset(STATISTICS))


def test_everything_but_buffers_is_trained_by_default(model):
    assert trained_parameters(model) == tuple(VECTORS)


def test_patterns_choose(model):
    assert trained_parameters(model, ("c.*", "n?.bias")) == ("n1.bias", "n2.bias", "c.weight")


@pytest.mark.parametrize(
    "layer,left",
    [
        ("a", VECTORS[1:]),
        ("n1", VECTORS[3:]),
        ("activation", VECTORS[3:]),
        ("b", VECTORS[4:]),
        ("n2", VECTORS[6:]),
        ("sum", VECTORS[6:]),
    ],
)
def test_layers_up_to_and_including_one_are_frozen(model, layer, left):
    assert trained_parameters(model, ("*",), layer) == tuple(left)


def test_a_prefix_freezes_all_layers_below_it():
    parameters = {"block.0.weight": random_input(4, 1, 1), "block.1.weight": random_input(4, 1, 1)}
    parameters["head.weight"] = random_input(4, 1, 1)

    def chain(builder, x, *weights):
        for weight in weights:
            x = builder.emit(relax.op.multiply(x, weight))
        return x

    model = build_model(chain, parameters=parameters)
    assert trained_parameters(model, ("*",), "block") == ("head.weight",)
    assert trained_parameters(model, ("*",), "block.0") == ("block.1.weight", "head.weight")


def test_patterns_and_frozen_layers_meet(model):
    assert trained_parameters(model, ("n*",), "n1") == ("n2.weight", "n2.bias")


@pytest.mark.parametrize(
    "arguments,message",
    [
        ((("d.*",),), "'d.*' matches no trainable parameter; near names: "),
        ((("n1.running_mean",),), "'n1.running_mean' matches no trainable parameter; near names: n1"),
        ((("*",), "activatoin"), "no layer 'activatoin' to freeze up to; near names: activation"),
        ((("*",), "c"), "nothing is left to train"),
        ((("a.weight",), "n1"), "nothing is left to train"),
    ],
)
def test_what_matches_nothing_is_refused_with_near_names(model, arguments, message):
    with pytest.raises(UserError) as caught:
        trained_parameters(model, *arguments)
    assert message in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "trained,training",
    [
        (["a.weight"], {"n1", "n2"}),
        (["n1.bias"], {"n1", "n2"}),
        (["b.weight"], {"n2"}),
        (["n2.weight"], {"n2"}),
        (["c.weight"], set()),
        ([], set()),
    ],
)
def test_a_batch_norm_trains_if_gradients_flow_into_or_through_it(model, trained, training):
    assert training_batch_norms(model, trained) == training


def test_a_batch_norm_is_known_by_its_running_mean(model):
    found = [v for _, v in bindings(model.function) if getattr(v, "op", None) is not None]
    layers = [batch_norm_layer(v) for v in found if v.op.name == "relax.nn.batch_norm"]
    assert layers == ["n1", "n2"]


def test_a_name_without_a_dot_is_its_own_layer():
    names = ["scale", "offset", "mean", "variance"]
    parameters = {name: np.ones(4, "float32") for name in names}

    def norm(builder, x, *values):
        return builder.emit(builder.emit(relax.op.nn.batch_norm(x, *values, axis=1))[0])

    model = build_model(norm, parameters=parameters, buffers=frozenset(names[2:]))
    assert training_batch_norms(model, ["scale"]) == {"mean"}
    assert trained_parameters(model) == ("scale", "offset")
