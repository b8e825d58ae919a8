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
    ],
)
def test_bad_options_are_named(options: dict[str, Any], named: str) -> None:
    with pytest.raises(UserError, match=named):
        TrainConfig(**options)
