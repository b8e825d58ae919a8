"""The optimiser's state and its updates of the trained parameters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from tvm import relax

from tvm_pulp.passes.model import Model, layer_of
from tvm_pulp.passes.operators.update import accumulate, sgd
from tvm_pulp.passes.place_updates import Update
from tvm_pulp.passes.rewrite import static_shape
from tvm_pulp.passes.train_config import TrainConfig

LEARNING_RATE = "learning_rate"


def momentum_name(parameter: str) -> str:
    """Name of the state that holds a parameter's momentum."""
    return f"momentum:{parameter}"


def accumulator_name(parameter: str) -> str:
    """Name of the state that holds the sum of a parameter's gradients over the micro-batches."""
    return f"gradient:{parameter}"


def initial_states(model: Model, config: TrainConfig, trainable: Sequence[str]) -> dict[str, np.ndarray]:
    """Give the optimiser's state before the first step.

    Returns
    -------
    dict of str to ndarray
        float32: the learning rate ``[1]``, which a host may change between steps; a momentum for each trained
        parameter unless there is none; an accumulator for each if there are micro-batches.
    """
    states = {LEARNING_RATE: np.array([config.learning_rate], np.float32)}
    names = [momentum_name(parameter) for parameter in trainable] if config.momentum else []
    names += [accumulator_name(parameter) for parameter in trainable] if config.passes_per_step > 1 else []
    for name in names:
        states[name] = np.zeros_like(model.parameters[name.partition(":")[2]], dtype=np.float32)
    return states


def optimizer_update(
    parameter: str, arguments: Mapping[str, relax.Var], config: TrainConfig, gradient: relax.Var | None
) -> Update:
    """Make a trained parameter's update.

    Parameters
    ----------
    parameter : str
        Its name.
    arguments : mapping of str to Var
        Arguments of the function by name: parameters and states.
    config : TrainConfig
        The optimiser.
    gradient : Var or None
        Of the mini-batch; None to take it from the accumulator, which is then set to 0.
    """
    variable = arguments[parameter]
    leaf = parameter.rpartition(".")[2]
    kernel = sgd(
        layer_of(parameter),
        f"{leaf}_update",
        static_shape(variable),
        config.momentum,
        config.weight_decay,
        clear_gradient=gradient is None,
    )
    source = arguments[accumulator_name(parameter)] if gradient is None else gradient
    operands = [variable, source, arguments[LEARNING_RATE]]
    overwritten = [0]
    if config.momentum:
        operands.append(arguments[momentum_name(parameter)])
        overwritten.insert(0, 3)
    if gradient is None:
        overwritten.append(1)
    return Update(kernel, tuple(operands), tuple(overwritten), f"{parameter}_updated")


def accumulator_update(parameter: str, arguments: Mapping[str, relax.Var], gradient: relax.Var) -> Update:
    """Make the update that adds a micro-batch's gradient to a parameter's accumulator."""
    accumulator = arguments[accumulator_name(parameter)]
    leaf = parameter.rpartition(".")[2]
    kernel = accumulate(layer_of(parameter), f"{leaf}_accumulate", static_shape(accumulator))
    return Update(kernel, (accumulator, gradient), (0,), f"{parameter}_accumulated")
