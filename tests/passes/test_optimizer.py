import numpy as np
import pytest
from tvm import IRModule

from tests.passes.single_operator import normal, variables
from tvm_pulp.passes.model import Model
from tvm_pulp.passes.optimizer import accumulator_update, initial_states, optimizer_update
from tvm_pulp.passes.train_config import TrainConfig

MODEL = Model("net", IRModule(), (), {"fc.weight": normal(3, 4), "fc.bias": normal(3)})


@pytest.mark.parametrize(
    ("config", "names"),
    [
        (TrainConfig(), []),
        (TrainConfig(momentum=0.9), ["momentum:fc.weight"]),
        (TrainConfig(batch_size=4, micro_batch=2), ["gradient:fc.weight"]),
        (
            TrainConfig(momentum=0.9, batch_size=4, micro_batch=2),
            ["momentum:fc.weight", "gradient:fc.weight"],
        ),
    ],
)
def test_states(config: TrainConfig, names: list[str]) -> None:
    states = initial_states(MODEL, config, ["fc.weight"])
    assert list(states) == ["learning_rate", *names]
    assert states["learning_rate"].tolist() == [np.float32(0.01)]
    for name in names:
        assert states[name].shape == (3, 4) and states[name].dtype == np.float32 and not states[name].any()


def arguments() -> dict:
    shapes = {name: (3, 4) for name in ("fc.weight", "momentum:fc.weight", "gradient:fc.weight", "g")}
    return variables({**shapes, "learning_rate": (1,)})


def overwritten(update) -> list[str]:
    return [update.arguments[number].name for number in update.overwritten]


def test_update_with_a_gradient_at_hand() -> None:
    known = arguments()
    update = optimizer_update("fc.weight", known, TrainConfig(momentum=0.9), known["g"])
    assert overwritten(update) == ["momentum:fc.weight", "fc.weight"]
    assert str(update.kernel.attrs["global_symbol"]) == "fc_weight_update"
    assert len(update.kernel.params) == len(update.arguments)


def test_update_from_the_accumulator_clears_it() -> None:
    update = optimizer_update("fc.weight", arguments(), TrainConfig(), None)
    assert overwritten(update) == ["fc.weight", "gradient:fc.weight"]
    assert len(update.kernel.params) == len(update.arguments) == 3


def test_accumulation() -> None:
    known = arguments()
    update = accumulator_update("fc.weight", known, known["g"])
    assert overwritten(update) == ["gradient:fc.weight"]
    assert str(update.kernel.attrs["global_symbol"]) == "fc_weight_accumulate"
