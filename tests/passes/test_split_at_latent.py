import numpy as np
import pytest
import torch
from torch import nn

from examples.models.mobilenet import mobilenet_digits, mobilenet_v1
from tests.passes.small_models import operators, run
from tests.passes.torch_training import Residual
from tvm_pulp.frontends import load_model
from tvm_pulp.passes.split_at_latent import split_at_latent
from tvm_pulp.target.errors import UserError


def exported(network: nn.Module, *shape: int):
    return load_model(torch.export.export(network.eval(), (torch.zeros(1, *shape),)))


@pytest.fixture(scope="module")
def mobilenet():
    return exported(mobilenet_digits(), 1, 32, 32)


@pytest.fixture(scope="module")
def full_mobilenet():
    return exported(mobilenet_v1(), 3, 96, 96)


@pytest.fixture(scope="module")
def residual():
    return exported(Residual(), 3, 8, 8)


@pytest.mark.parametrize("layer", ["blocks.1", "blocks.1.pointwise", "stem", "0", "3", "4"])
def test_the_two_parts_are_the_network(mobilenet, layer):
    split = split_at_latent(mobilenet, layer)
    x = np.random.default_rng(0).standard_normal((1, 1, 32, 32)).astype(np.float32)
    latents = run(split.frozen, x)
    np.testing.assert_allclose(run(split.trained, latents), run(mobilenet, x), rtol=1e-5, atol=1e-5)
    assert split.trained.inputs == (split.latent,) and split.frozen.inputs == mobilenet.inputs
    assert operators(split.frozen)[-1] == "clip", "the activation function belongs to the latent layer"
    assert latents.min() >= 0
    assert set(split.frozen.parameters) | set(split.trained.parameters) == set(mobilenet.parameters)
    assert not set(split.frozen.parameters) & set(split.trained.parameters)


@pytest.mark.parametrize(
    ("number", "shape"),
    [
        (0, (8, 48, 48)),
        (1, (8, 48, 48)),
        (2, (16, 48, 48)),
        (22, (128, 6, 6)),
        (23, (128, 3, 3)),
        (26, (256, 3, 3)),
    ],
)
def test_numbers_of_mobilenet(full_mobilenet, number, shape):
    split = split_at_latent(full_mobilenet, str(number))
    assert tuple(int(e) for e in split.frozen.function.ret_ty.shape)[1:] == shape
    assert operators(split.frozen).count("nn.conv2d") == number + 1


def test_the_last_number_of_mobilenet_is_the_pooling(full_mobilenet):
    split = split_at_latent(full_mobilenet, "27")
    assert np.prod([int(e) for e in split.frozen.function.ret_ty.shape]) == 256
    assert "nn.conv2d" not in operators(split.trained)


def test_a_residual_network_is_cut_where_its_branches_meet(residual):
    split = split_at_latent(residual, "stem")
    assert operators(split.frozen) == ["nn.conv2d", "nn.batch_norm", "nn.relu"]
    with pytest.raises(
        UserError, match=r"layer 'conv1' does not cut the network in two: besides its output, \w+"
    ):
        split_at_latent(residual, "conv1")


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        ("nowhere", "there is no layer 'nowhere'; near names: "),
        ("classifier", "behind layer 'classifier' nothing is left to train"),
        ("3", "layer numbers are those of MobileNetV1"),
    ],
)
def test_what_is_no_cut(residual, layer, message):
    with pytest.raises(UserError, match=message):
        split_at_latent(residual, layer)


def test_a_number_beyond_the_pooling(mobilenet):
    with pytest.raises(UserError, match="there is no layer 40: 0 is the first convolution, "):
        split_at_latent(mobilenet, "40")
