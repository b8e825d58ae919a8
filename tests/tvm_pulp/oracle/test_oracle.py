import copy

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from examples.models import mobilenet_digits, residual_digits
from tests.passes.small_models import random_input
from tests.tvm_pulp.frontends.torch_nets import conv_net
from tvm_pulp.frontends import load_model
from tvm_pulp.oracle import Oracle
from tvm_pulp.passes.train_config import TrainConfig
from tvm_pulp.passes.trained_part import trained_parameters
from tvm_pulp.target.errors import UserError

CONFIG = TrainConfig(learning_rate=0.05, momentum=0.9, weight_decay=5e-4, batch_size=4)


def imported(net):
    model = load_model(net, input_shapes={"x": [2, *getattr(net, "shape", getattr(net, "input_shape", ()))]})
    return model, [name for name, _ in net.named_parameters()]


def batch(net, count, seed=0):
    shape = getattr(net, "shape", getattr(net, "input_shape", ()))
    classes = list(net.parameters())[-1].numel()
    labels = np.random.default_rng(seed).integers(0, classes, count)
    return random_input(count, *shape, seed=seed), labels


def without_dropout(net):
    for module in net.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    return net.train()


@pytest.mark.parametrize("make", [conv_net, mobilenet_digits, residual_digits])
def test_it_trains_as_the_module_itself_does(make):
    net = without_dropout(make())
    model, trained = imported(net)
    oracle = Oracle(model, CONFIG, trained)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.05, momentum=0.9, weight_decay=5e-4)
    for step in range(3):
        x, labels = batch(net, 4, step)
        optimizer.zero_grad()
        output = net(torch.from_numpy(x))
        loss = functional.cross_entropy(output, torch.from_numpy(labels))
        loss.backward()
        gradients = {name: p.grad.numpy().copy() for name, p in net.named_parameters()}
        optimizer.step()
        result = oracle.step({"x": x}, labels)
        assert result.loss == pytest.approx(loss.item(), rel=1e-6)
        np.testing.assert_allclose(result.output, output.detach().numpy(), rtol=1e-5, atol=1e-6)
        for name, gradient in gradients.items():
            np.testing.assert_allclose(result.gradients[name], gradient, atol=2e-6 * np.abs(gradient).max())
    state = net.state_dict()
    tensors = oracle.tensors()
    for name in model.parameters:
        np.testing.assert_allclose(tensors[name], state[name].numpy(), rtol=1e-5, atol=1e-6)
    for name, parameter in net.named_parameters():
        momentum = optimizer.state[parameter]["momentum_buffer"].numpy()
        np.testing.assert_allclose(tensors[f"momentum:{name}"], momentum, atol=2e-6 * np.abs(momentum).max())
    x, _ = batch(net, 5)
    expected = net.eval()(torch.from_numpy(x)).detach().numpy()
    np.testing.assert_allclose(oracle.infer({"x": x}), expected, rtol=1e-4, atol=1e-5)


def test_a_frozen_part_runs_with_running_statistics_which_stay():
    net = without_dropout(conv_net())
    model, _ = imported(net)
    trained = trained_parameters(model, ("*",), "depthwise")
    assert trained[0] == "block.0.weight"
    oracle = Oracle(model, CONFIG, trained)
    for module in (net.conv1, net.norm1, net.depthwise):
        module.requires_grad_(False)
    net.norm1.eval()
    optimizer = torch.optim.SGD(
        [p for p in net.parameters() if p.requires_grad], 0.05, 0.9, weight_decay=5e-4
    )
    for step in range(2):
        x, labels = batch(net, 4, step)
        optimizer.zero_grad()
        loss = functional.cross_entropy(net(torch.from_numpy(x)), torch.from_numpy(labels))
        loss.backward()
        optimizer.step()
        result = oracle.step({"x": x}, labels)
        assert result.loss == pytest.approx(loss.item(), rel=1e-6)
        assert set(result.gradients) == set(trained)
    state, tensors = net.state_dict(), oracle.tensors()
    for name in model.parameters:
        np.testing.assert_allclose(tensors[name], state[name].numpy(), rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(tensors["norm1.running_mean"], model.parameters["norm1.running_mean"])
    assert not np.array_equal(tensors["block.1.running_mean"], model.parameters["block.1.running_mean"])
    momenta = {name for name in tensors if name.startswith("momentum:")}
    assert momenta == {f"momentum:{name}" for name in trained}


def test_micro_batches_sum_gradients_and_normalise_one_by_one():
    net = without_dropout(conv_net())
    model, trained = imported(net)
    config = TrainConfig(learning_rate=0.1, batch_size=6, micro_batch=2)
    oracle = Oracle(model, config, trained)
    x, labels = batch(net, 6)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    outputs, total = [], 0.0
    for part in range(0, 6, 2):
        output = net(torch.from_numpy(x[part : part + 2]))
        loss = functional.cross_entropy(output, torch.from_numpy(labels[part : part + 2])) / 3
        loss.backward()
        outputs.append(output.detach().numpy())
        total += loss.item()
    gradient = net.conv1.weight.grad.numpy().copy()
    optimizer.step()
    result = oracle.step({"x": x}, labels)
    assert result.loss == pytest.approx(total, rel=1e-6)
    np.testing.assert_allclose(result.output, np.concatenate(outputs), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(result.gradients["conv1.weight"], gradient, rtol=1e-4, atol=1e-6)
    state, tensors = net.state_dict(), oracle.tensors()
    for name in model.parameters:
        np.testing.assert_allclose(tensors[name], state[name].numpy(), rtol=1e-5, atol=1e-6)
    assert not any(name.startswith("momentum:") for name in tensors)


class Softmax(nn.Module):
    shape = (6,)

    def __init__(self, logarithmic=False):
        super().__init__()
        self.fc = nn.Linear(6, 5)
        self.function = torch.log_softmax if logarithmic else torch.softmax

    def forward(self, x):
        return self.function(self.fc(x), -1)


@pytest.mark.parametrize("logarithmic", [False, True])
def test_a_softmax_at_the_end_goes_into_the_loss(logarithmic):
    net = Softmax(logarithmic)
    model, trained = imported(net)
    x, labels = batch(net, 4)
    result = Oracle(model, CONFIG, trained).step({"x": x}, labels)
    logits = net.fc(torch.from_numpy(x))
    loss = functional.cross_entropy(logits, torch.from_numpy(labels))
    loss.backward()
    assert result.loss == pytest.approx(loss.item(), rel=1e-6)
    np.testing.assert_allclose(result.logits, logits.detach().numpy(), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(result.output, net.function(logits, -1).detach().numpy(), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(
        result.gradients["fc.weight"], net.fc.weight.grad.numpy(), rtol=1e-4, atol=1e-7
    )


def test_mean_squared_error_keeps_the_softmax():
    net = Softmax()
    model, trained = imported(net)
    x, target = random_input(4, 6), random_input(4, 5, seed=1)
    config = TrainConfig(loss="mse", batch_size=4)
    result = Oracle(model, config, trained).step({"x": x}, target)
    loss = functional.mse_loss(net(torch.from_numpy(x)), torch.from_numpy(target))
    loss.backward()
    assert result.loss == pytest.approx(loss.item(), rel=1e-6)
    np.testing.assert_allclose(
        result.gradients["fc.weight"], net.fc.weight.grad.numpy(), rtol=1e-4, atol=1e-7
    )


def test_float64_is_closer_to_the_truth_than_float32():
    net = without_dropout(conv_net())
    model, trained = imported(net)
    exact = Oracle(model, CONFIG, trained, torch.float64)
    rounded = Oracle(model, CONFIG, trained)
    reference = copy.deepcopy(net).double()
    x, labels = batch(net, 4)
    loss = functional.cross_entropy(reference(torch.from_numpy(x).double()), torch.from_numpy(labels))
    assert exact.step({"x": x}, labels).loss == pytest.approx(loss.item(), rel=1e-12)
    assert rounded.step({"x": x}, labels).loss == pytest.approx(loss.item(), rel=1e-5)
    assert exact.tensors()["conv1.weight"].dtype == np.float64


def test_state_that_is_loaded_goes_on_where_it_was_taken():
    net = without_dropout(conv_net())
    model, trained = imported(net)
    first, second = Oracle(model, CONFIG, trained), Oracle(model, CONFIG, trained)
    x, labels = batch(net, 4)
    first.step({"x": x}, labels)
    second.load({**first.tensors(), "gradient:conv1.weight": np.zeros(1), "unknown": np.zeros(1)})
    for name, value in first.tensors().items():
        np.testing.assert_array_equal(second.tensors()[name], value)
    a, b = first.step({"x": x}, labels), second.step({"x": x}, labels)
    assert a.loss == b.loss
    for name, value in first.tensors().items():
        np.testing.assert_array_equal(second.tensors()[name], value)


def test_a_learning_rate_that_is_loaded_counts():
    net = Softmax()
    model, trained = imported(net)
    oracle = Oracle(model, TrainConfig(learning_rate=1.0, batch_size=4), trained)
    oracle.load({"learning_rate": np.array([0.25], np.float32)})
    x, labels = batch(net, 4)
    before = oracle.tensors()["fc.weight"]
    result = oracle.step({"x": x}, labels)
    np.testing.assert_allclose(
        oracle.tensors()["fc.weight"], before - 0.25 * result.gradients["fc.weight"], rtol=1e-6
    )


def test_values_that_are_given_away_are_copies():
    net = Softmax()
    model, trained = imported(net)
    original = model.parameters["fc.weight"].copy()
    oracle = Oracle(model, CONFIG, trained)
    x, labels = batch(net, 4)
    before = oracle.tensors()
    kept = before["fc.weight"].copy()
    result = oracle.step({"x": x}, labels)
    gradient = result.gradients["fc.weight"].copy()
    oracle.step({"x": x}, labels)
    np.testing.assert_array_equal(before["fc.weight"], kept)
    np.testing.assert_array_equal(result.gradients["fc.weight"], gradient)
    np.testing.assert_array_equal(model.parameters["fc.weight"], original)
    assert set(result.gradients_by_name()) == {"gradient:fc.weight", "gradient:fc.bias"}


@pytest.mark.parametrize(
    "change,message",
    [
        (lambda x, y: ({}, y), "input 'x' is missing"),
        (lambda x, y: ({"x": x[:3]}, y), "input 'x' has shape (3, 6): (4, 6) is needed"),
        (lambda x, y: ({"x": x}, y[:3]), "labels are int64 of shape (3,)"),
        (lambda x, y: ({"x": x}, y.astype(np.float32)), "labels are float32"),
        (lambda x, y: ({"x": x}, y * 0 + 5), "label 5 is not in 0..4"),
        (lambda x, y: ({"x": x}, y * 0 - 1), "label -1 is not in 0..4"),
    ],
)
def test_what_does_not_fit_is_refused(change, message):
    net = Softmax()
    model, trained = imported(net)
    with pytest.raises(UserError) as caught:
        Oracle(model, CONFIG, trained).step(*change(*batch(net, 4)))
    assert message in str(caught.value)


def test_targets_of_another_shape_are_refused():
    model, trained = imported(Softmax())
    oracle = Oracle(model, TrainConfig(loss="mse", batch_size=4), trained)
    with pytest.raises(UserError, match=r"labels have shape \(4, 6\): \(4, 5\) is needed"):
        oracle.step({"x": random_input(4, 6)}, random_input(4, 6))


def test_unknown_parameters_and_nothing_to_train_are_refused():
    net = Softmax()
    model, _ = imported(net)
    with pytest.raises(UserError, match=r"no parameter 'fc\.scale' to train"):
        Oracle(model, CONFIG, ["fc.scale"])
    with pytest.raises(UserError, match="nothing to train"):
        Oracle(model, CONFIG, ()).step({"x": batch(net, 4)[0]}, batch(net, 4)[1])


def test_a_batch_norm_of_one_value_a_channel_is_refused():
    net = nn.Sequential(nn.Linear(6, 4), nn.BatchNorm1d(4))
    model = load_model(net, input_shapes={"input": [2, 6]})
    oracle = Oracle(model, TrainConfig(batch_size=1), [name for name, _ in net.named_parameters()])
    with pytest.raises(UserError, match="PyTorch refuses the step: Expected more than 1 value"):
        oracle.step({"input": random_input(1, 6)}, np.zeros(1, np.int64))


def test_it_imports_nothing_of_the_gradient_passes():
    import tvm_pulp.oracle.forward
    import tvm_pulp.oracle.operators
    import tvm_pulp.oracle.oracle as main

    for module in (main, tvm_pulp.oracle.forward, tvm_pulp.oracle.operators):
        origins = {getattr(value, "__module__", "") or "" for value in vars(module).values()}
        assert not any("gradients" in origin or "differentiate" in origin for origin in origins)
