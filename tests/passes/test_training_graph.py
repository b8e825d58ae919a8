"""One training step and a few more of whole nets on the host, against PyTorch in float64."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from tvm import relax

from tests.passes.torch_training import (
    Perceptron,
    Residual,
    SmallConvolutional,
    check_against_pytorch,
    seeded,
)
from tvm_pulp.frontends.load import load_model
from tvm_pulp.passes.model import Model
from tvm_pulp.passes.rewrite import bindings, operator_name
from tvm_pulp.passes.train_config import TrainConfig
from tvm_pulp.passes.training_graph import TrainingGraph, build_training
from tvm_pulp.target.errors import UserError
from tvm_pulp.target.tvm_names import PrimFunc

FULL = TrainConfig(batch_size=4, learning_rate=0.05, momentum=0.9, weight_decay=1e-2, keep_gradients=True)


def test_residual_net_is_trained_whole() -> None:
    check_against_pytorch(seeded(Residual), FULL)


def test_several_steps_agree() -> None:
    check_against_pytorch(seeded(Residual), FULL, steps=5)


def test_micro_batches_accumulate() -> None:
    config = TrainConfig(
        batch_size=6, micro_batch=2, momentum=0.5, weight_decay=1e-3, learning_rate=0.1, keep_gradients=True
    )
    graph = check_against_pytorch(seeded(Residual), config, steps=2)
    assert {v.name_hint for v, f in graph.module.functions.items() if isinstance(f, relax.Function)} == {
        "gradient_step",
        "update_step",
        "infer",
    }


def test_without_momentum_and_decay_there_is_no_state_but_the_rate() -> None:
    graph = check_against_pytorch(seeded(Residual), TrainConfig(batch_size=4, learning_rate=0.1))
    assert list(graph.states) == ["learning_rate"]


def test_frozen_part_costs_no_gradient() -> None:
    config = TrainConfig(batch_size=4, momentum=0.9, freeze_until="norm1", keep_gradients=True)
    frozen = ("stem", "conv1", "norm1")
    graph = check_against_pytorch(seeded(Residual), config, frozen, evaluated=frozen)
    called = kernel_calls(graph)
    assert not [name for name in called if name.startswith(frozen) and not name.endswith("_forward")]
    assert sum("gradient" in name for name in called) == sum(
        (
            1,  # loss
            3,  # classifier: data, weight, bias
            1,  # pooling, and the rectifier after the sum
            1,  # norm2: all gradients
            2,  # pointwise: data, weight
            1,  # ReLU6
            2,  # depthwise: bias, weight; what is before it is frozen
            2,  # shortcut: bias, weight
        )
    )


def kernel_calls(graph: TrainingGraph, name: str = "train_step") -> list[str]:
    values = (value for _, value in bindings(graph.module[name]))
    return [v.args[0].name_hint for v in values if operator_name(v).startswith("call_tir")]


def test_a_single_bias_is_trained() -> None:
    config = TrainConfig(batch_size=4, trainable=("classifier.bias",), keep_gradients=True)
    frozen = ("stem", "conv1", "norm", "depthwise", "pointwise", "shortcut", "classifier.weight")
    graph = check_against_pytorch(seeded(Residual), config, frozen, evaluated=("stem_norm", "norm"))
    assert [name for name in kernel_calls(graph) if "gradient" in name or "update" in name] == [
        "loss_and_gradient",
        "classifier_bias_gradient",
        "classifier_bias_update",
    ]


def test_batch_norm_between_frozen_and_trained_layers() -> None:
    """Its own parameters are frozen, but gradients flow through it: it runs in training mode."""
    config = TrainConfig(batch_size=4, trainable=("conv1.*", "classifier.*"), keep_gradients=True)
    frozen = ("stem", "norm", "depthwise", "pointwise", "shortcut")
    check_against_pytorch(seeded(Residual), config, frozen, evaluated=("stem_norm",))


def test_mean_squared_error() -> None:
    config = TrainConfig(loss="mse", batch_size=6, micro_batch=3, momentum=0.9, keep_gradients=True)
    check_against_pytorch(seeded(Perceptron), config, shape=(3, 2, 2), loss_name="mse")


@pytest.mark.parametrize("softmax", ["softmax", "log_softmax"])
def test_softmax_at_the_end_is_taken_into_the_loss(softmax: str) -> None:
    net = seeded(SmallConvolutional, softmax)
    graph = check_against_pytorch(net, FULL, from_probabilities=softmax == "softmax")
    kernels = {v.name_hint: f for v, f in graph.module.functions.items() if isinstance(f, PrimFunc)}
    assert not any("softmax_gradient" in str(f.attrs["pulp.operator"]) for f in kernels.values())


def test_large_logits_stay_finite() -> None:
    net = seeded(SmallConvolutional, "log_softmax")
    net.fc.weight.data *= 300
    check_against_pytorch(net, TrainConfig(batch_size=4, keep_gradients=True))


def test_function_arguments_bear_the_models_names() -> None:
    graph = build_training(load_model(seeded(Residual), input_shapes={"x": [1, 3, 8, 8]}), FULL)
    names = [argument.name for argument in graph.module["train_step"].params]
    momenta = [f"momentum:{name}" for name in graph.trainable]
    assert names == ["x", "labels", *graph.model.parameters, "learning_rate", *momenta]
    assert str(graph.module["train_step"].params[1].ty.dtype) == "int32"


def test_bodies_hold_kernels_and_views_only() -> None:
    graph = build_training(load_model(seeded(Residual), input_shapes={"x": [1, 3, 8, 8]}), FULL)
    allowed = {"call_tir", "call_tir_inplace", "reshape"}
    for name in ("train_step", "infer"):
        for variable, value in bindings(graph.module[name]):
            assert isinstance(value, relax.TupleGetItem) or operator_name(value) in allowed, variable.name


def test_kernels_say_what_they_are() -> None:
    graph = build_training(load_model(seeded(Residual), input_shapes={"x": [1, 3, 8, 8]}), FULL)
    for variable, function in graph.module.functions.items():
        if isinstance(function, PrimFunc):
            assert str(function.attrs["global_symbol"]) == variable.name_hint
            assert {"pulp.operator", "pulp.layer", "pulp.macs"} <= set(function.attrs.keys())
    names = {v.name_hint for v in graph.module.get_global_vars()}
    assert {
        "conv1_weight_gradient",
        "conv1_data_gradient",
        "norm1_gradient",
        "classifier_bias_update",
    } <= names


def model_of(net: nn.Module, shape: tuple[int, ...] = (3, 8, 8)) -> Model:
    class Named(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = net

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.net(x)

    return load_model(Named().eval(), input_shapes={"x": [1, *shape]})


def test_output_that_is_no_row_of_logits_is_refused() -> None:
    with pytest.raises(UserError, match=r"cross-entropy needs \[batch, classes\]"):
        build_training(model_of(nn.Sequential(nn.Conv2d(3, 4, 3))), TrainConfig())


def test_several_outputs_are_refused() -> None:
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a = nn.Linear(4, 3)

        def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            y = self.a(torch.flatten(x, 1))
            return y, torch.relu(y)

    with pytest.raises(UserError, match="several outputs"):
        build_training(model_of(Two(), (1, 2, 2)), TrainConfig())


def test_one_sample_a_channel_is_refused() -> None:
    net = nn.Sequential(nn.Flatten(), nn.Linear(4, 3), nn.BatchNorm1d(3), nn.Linear(3, 2))
    with pytest.raises(UserError, match="batch norm has one sample a channel"):
        build_training(model_of(net, (1, 2, 2)), TrainConfig(batch_size=4, micro_batch=1))
