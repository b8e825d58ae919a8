import math

import pytest
from torch import nn
from tvm import relax

from examples.models import mobilenet_digits, mobilenet_v1, residual_digits
from tests.passes.small_models import operators
from tvm_pulp.frontends import load_model
from tvm_pulp.frontends.clean_up import clean_up
from tvm_pulp.passes.model import with_batch
from tvm_pulp.passes.rewrite import bindings, operator_name, static_shape


def macs(model):
    """Multiply-accumulates of a sample, in convolutions and matmuls."""
    total = 0
    for variable, value in bindings(model.function):
        if operator_name(value) == "nn.conv2d":
            total += math.prod(static_shape(variable)[2:]) * math.prod(static_shape(value.args[1]))
        elif operator_name(value) == "matmul":
            total += math.prod(static_shape(value.args[1]))
    return total


@pytest.mark.parametrize(
    "make,operations,convolutions",
    [(mobilenet_digits, 269_952, 11), (residual_digits, 772_416, 9), (mobilenet_v1, 7_491_712, 27)],
)
def test_the_nets_of_the_examples(make, operations, convolutions):
    net = make()
    model = load_model(net, input_shapes={"x": [1, *net.input_shape]}, batch=8)
    assert macs(model) == operations
    found = operators(model)
    assert found.count("nn.conv2d") == found.count("nn.batch_norm") == convolutions
    assert found[-5:] == ["mean", "reshape", "permute_dims", "matmul", "add"]
    assert [name for name in model.parameters if name not in model.buffers] == [
        name for name, _ in net.named_parameters()
    ]
    relax.analysis.well_formed(model.module)  # raises if it is not
    assert operators(with_batch(model, 1)) == found


def test_nets_are_the_same_each_time_and_of_spread_offsets():
    first, second = mobilenet_digits(), mobilenet_digits()
    for (name, a), b in zip(first.state_dict().items(), second.state_dict().values(), strict=True):
        assert a.equal(b), name
    offsets = [m.bias for m in first.modules() if isinstance(m, nn.BatchNorm2d)]
    assert all(0.1 < offset.abs().max() <= 0.5 for offset in offsets)
    assert not first.stem.conv.weight.equal(mobilenet_digits(seed=1).stem.conv.weight)


def test_cleaning_up_again_changes_nothing():
    net = residual_digits()
    model = load_model(net, input_shapes={"x": [1, *net.input_shape]})
    again = clean_up(model, model.batch)
    assert again.module.script() == model.module.script()
    assert again.buffers == model.buffers
