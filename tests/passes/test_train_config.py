import dataclasses
from typing import Any

import pytest

from tvm_pulp.passes.train_config import TrainConfig
from tvm_pulp.target.errors import UserError


def test_defaults_hold_together() -> None:
    config = TrainConfig(batch_size=8)
    assert (config.samples_per_pass, config.passes_per_step) == (8, 1)


def test_micro_batches_are_counted() -> None:
    config = TrainConfig(batch_size=8, micro_batch=2)
    assert (config.samples_per_pass, config.passes_per_step) == (2, 4)


def test_a_step_replays_as_many_samples_as_are_new() -> None:
    config = TrainConfig(batch_size=4, latent_layer="2", replays=9)
    assert (config.replay_batch, config.trained_per_step, config.trained_per_pass) == (4, 8, 8)


def test_micro_batches_share_the_replays() -> None:
    config = TrainConfig(batch_size=4, micro_batch=2, latent_layer="2", replays=9, replay_batch=6)
    assert (config.replays_per_pass, config.trained_per_pass, config.trained_per_step) == (3, 5, 10)


def test_is_frozen() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        TrainConfig().loss = "mse"  # type: ignore[misc]


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"loss": "hinge"}, "unknown loss 'hinge'"),
        ({"optimizer": "adam"}, "unknown optimizer 'adam'"),
        ({"learning_rate": 0.0}, "learning_rate is 0.0"),
        ({"learning_rate": float("nan")}, "learning_rate is nan"),
        ({"learning_rate": "fast"}, "learning_rate is 'fast'"),
        ({"momentum": 1.0}, "momentum is 1.0"),
        ({"weight_decay": -1e-4}, "weight_decay is -0.0001"),
        ({"batch_size": 0}, "batch_size is 0"),
        ({"batch_size": 2.5}, "batch_size is 2.5"),
        ({"batch_size": 8, "micro_batch": 3}, "micro_batch 3 does not divide batch_size 8"),
        ({"micro_batch": -1}, "micro_batch is -1"),
        ({"trainable": "conv*"}, "trainable is 'conv\\*'"),
        ({"trainable": ()}, "trainable is empty"),
        ({"replays": 8}, "no latent_layer says whose output is stored"),
        ({"replay_batch": 8}, "there is no replay store: give replays"),
        ({"replays": 0, "latent_layer": "2"}, "replays is 0"),
        ({"replays": 8, "replay_bits": 9, "latent_layer": "2"}, "latents of 9 bits: choose 1 to 8 bits"),
        ({"replay_memory": "L4"}, "unknown replay_memory 'L4': choose one of L2, L3"),
        ({"replays": 8, "replay_bits": 0, "latent_layer": "2"}, "replay_bits is 0"),
        ({"replays": 8, "replay_batch": 9, "latent_layer": "2"}, "replay_batch 9 is more than the 8 replays"),
        ({"replays": 8, "batch_size": 9, "latent_layer": "2"}, "must hold the 9 new samples of a pass"),
        (
            {"replays": 8, "batch_size": 4, "micro_batch": 2, "replay_batch": 3, "latent_layer": "2"},
            "replay_batch 3 is not shared evenly by 2 micro-batches",
        ),
    ],
)
def test_bad_options_are_named(options: dict[str, Any], named: str) -> None:
    with pytest.raises(UserError, match=named):
        TrainConfig(**options)
