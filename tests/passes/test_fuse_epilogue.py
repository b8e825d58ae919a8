"""Elementwise kernels move into the product before them, and the training step stays the same."""

from __future__ import annotations

import numpy as np
import pytest

from tests.host_executor import HostExecutor
from tests.passes.torch_training import Residual, batches, run_step, seeded
from tvm_pulp.frontends.load import load_model
from tvm_pulp.passes.fuse_epilogue import fuse_epilogue
from tvm_pulp.passes.rewrite import bindings, operator_name
from tvm_pulp.passes.train_config import TrainConfig
from tvm_pulp.passes.training_graph import TrainingGraph, build_training
from tvm_pulp.target import Features, features, parse

CONFIG = TrainConfig(batch_size=4, learning_rate=0.05, momentum=0.9, weight_decay=1e-2)
SHAPE = (3, 16, 16)


@pytest.fixture(scope="module")
def chip() -> Features:
    return features(parse("pulp"))


def graph_of(config: TrainConfig) -> TrainingGraph:
    return build_training(load_model(seeded(Residual).train(), input_shapes={"x": [1, *SHAPE]}), config)


def fused(graph: TrainingGraph, chip: Features) -> TrainingGraph:
    return TrainingGraph(
        fuse_epilogue(graph.module, chip), graph.model, graph.config, graph.trainable, graph.states
    )


def calls(graph: TrainingGraph, function: str) -> dict[str, list[str]]:
    """Names of the kernels that a function calls, and what follows in each."""
    found = {}
    for _, value in bindings(graph.module[function]):
        if operator_name(value).startswith("call_tir"):
            kernel = graph.module[value.args[0]]
            found[value.args[0].name_hint] = [str(name) for name in kernel.attrs.get("pulp.epilogue", ())]
    return found


@pytest.mark.parametrize("micro_batch", [None, 2])
def test_the_same_training(micro_batch: int | None, chip: Features) -> None:
    """On the host, kernel by kernel: the same operations in the same order give the same bits."""
    config = TrainConfig(
        batch_size=4, micro_batch=micro_batch, learning_rate=0.05, momentum=0.9, weight_decay=1e-2
    )
    graph = graph_of(config)
    changed = fused(graph, chip)
    assert len(calls(changed, "infer")) <= len(calls(graph, "infer"))
    memories = [{**graph.model.parameters, **graph.states} for _ in range(2)]
    for x, labels in batches(2, 4, SHAPE, 5):
        losses = []
        for n, g in enumerate((graph, changed)):
            loss, _, _, memories[n] = run_step(HostExecutor(g.module), g, memories[n], x, labels)
            losses.append(loss)
        assert losses[0] == losses[1]
        for name, value in memories[0].items():
            np.testing.assert_array_equal(memories[1][name], value, err_msg=name)


def test_updates_follow_weight_gradients(chip: Features) -> None:
    graph = graph_of(CONFIG)
    found = calls(fused(graph, chip), "train_step")
    for layer in ("conv1", "pointwise", "shortcut"):
        assert found[f"{layer}_weight_gradient"] == ["sgd"], layer
        assert f"{layer}_weight_update" not in found
    names = {v.name_hint for v in graph.module.get_global_vars()}
    assert "conv1_weight_update" in names, "the graph itself is as it was"


def test_accumulation_follows_weight_gradients(chip: Features) -> None:
    config = TrainConfig(batch_size=4, micro_batch=2, learning_rate=0.05)
    found = calls(fused(graph_of(config), chip), "gradient_step")
    assert found["conv1_weight_gradient"] == ["accumulate"]
    assert "conv1_weight_accumulate" not in found


def test_a_skip_connections_gradient_is_added_to_the_data_gradient(chip: Features) -> None:
    found = calls(fused(graph_of(CONFIG), chip), "train_step")
    assert not [name for name in found if "gradient_sum" in name]


def test_gradients_that_are_kept_are_not_used_up(chip: Features) -> None:
    config = TrainConfig(batch_size=4, keep_gradients=True)
    found = calls(fused(graph_of(config), chip), "train_step")
    assert found["conv1_weight_gradient"] == []
    assert "conv1_weight_update" in found


def test_an_update_waits_for_the_data_gradient(chip: Features) -> None:
    """The data gradient reads the weights before the step: the fused kernel comes after it."""
    order = list(calls(fused(graph_of(CONFIG), chip), "train_step"))
    assert order.index("conv1_data_gradient") < order.index("conv1_weight_gradient")


def test_nothing_is_fused_without_templates(chip: Features, monkeypatch: pytest.MonkeyPatch) -> None:
    """The generic lowering would keep the whole result in L1."""
    monkeypatch.setattr("tvm_pulp.schedules.base.templates", list)
    graph = graph_of(CONFIG)
    assert calls(fused(graph, chip), "train_step") == calls(graph, "train_step")
