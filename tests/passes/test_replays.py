"""Replays in a training step, on the host: beside PyTorch on the joined latents."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from tests.host_executor import HostExecutor
from tests.passes.replay_training import built, samples
from tests.passes.single_operator import assert_close
from tvm_pulp.oracle import Oracle
from tvm_pulp.oracle.integer import integer_output
from tvm_pulp.passes.replays import plan_replays
from tvm_pulp.passes.train_config import TrainConfig
from tvm_pulp.target.errors import UserError

CONFIG = TrainConfig(
    learning_rate=0.05,
    momentum=0.9,
    batch_size=3,
    latent_layer="any",
    replays=7,
    replay_batch=5,
    keep_gradients=True,
)


@pytest.mark.parametrize(
    ("bits", "loss", "zero_point", "level"),
    [
        (8, "cross-entropy", 0, "L2"),
        (7, "mse", 100, "L3"),
        (6, "cross-entropy", 100, "L3"),
        (2, "mse", 0, "L2"),
    ],
)
def test_a_step_learns_from_new_and_stored_samples(bits: int, loss: str, zero_point: int, level: str) -> None:
    config = dataclasses.replace(CONFIG, replay_bits=bits, loss=loss, replay_memory=level)
    graph, stage, store = built(config, zero_point=zero_point)
    old, slots = samples(5, loss), np.array([6, 0, 3, 2, 4])
    store.store({"x": old["x"]}, old["labels"], slots)
    new = {name: array[:3] for name, array in samples(8, loss).items()}
    indices = np.array([0, 6, 6, 2, 3], np.int32)
    memory = {
        **graph.initial_values,
        **new,
        "replay_latents": store.latents,
        "replay_labels": store.labels,
        "replay_indices": indices,
        "replay_rows": store.latents[indices],  # what the program fetches out of L3
    }
    (value, output, *gradients), after = HostExecutor(graph.module).run("train_step", memory)
    replayed, labels = store.replay(indices)
    latents = integer_output(stage.graph(1), {"x": new["x"]})
    oracle = Oracle(graph.model, config, graph.trainable)
    name = graph.model.inputs[0]
    expected = oracle.step(
        {name: np.concatenate([latents, replayed])}, np.concatenate([new["labels"], labels])
    )
    assert output.shape[0] == 8
    assert abs(value[0] - expected.loss) <= 1e-6 * expected.loss
    assert_close(output, expected.output, "output", 1e-5)
    for parameter, gradient in zip(graph.trainable, gradients, strict=True):
        assert_close(gradient, expected.gradients[parameter], f"gradient of {parameter}", 1e-5)
    for tensor, expectation in oracle.tensors().items():
        assert_close(after[tensor], expectation, tensor, 1e-5)
    for tensor in ("replay_latents", "replay_labels", "replay_rows"):
        np.testing.assert_array_equal(after[tensor], memory[tensor])


def test_an_argument_that_is_named_like_the_store_is_refused() -> None:
    graph, stage, _ = built(CONFIG)
    parameters = {**graph.model.parameters, "replay_labels": np.zeros(1, np.float32)}
    model = dataclasses.replace(graph.model, parameters=parameters)
    with pytest.raises(UserError, match=r"an argument is named 'replay_labels' .* rename it"):
        plan_replays(model, CONFIG, stage)


def test_without_replays_there_is_no_store() -> None:
    config = dataclasses.replace(CONFIG, replays=None, replay_batch=None)
    graph, stage, _ = built(CONFIG)
    assert plan_replays(graph.model, config, stage) is None
