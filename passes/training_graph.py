"""From an imported model to its training graph: forward pass, loss, backward pass and update in kernels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from tvm import IRModule, relax

from tvm_pulp.passes.differentiate import differentiate
from tvm_pulp.passes.finish_graph import finish_function, name_kernels, resolve
from tvm_pulp.passes.frozen_stage import FrozenStage
from tvm_pulp.passes.fuse_elementwise import fuse_elementwise
from tvm_pulp.passes.layer_names import layer_names
from tvm_pulp.passes.loss import LABELS, emit_loss, labels_type, loss_source
from tvm_pulp.passes.lower_forward import lower_forward
from tvm_pulp.passes.lowerings.lowering import Lowering, RunningStatistics
from tvm_pulp.passes.model import Model, with_batch
from tvm_pulp.passes.operators.batch_norm import batch_norm_running
from tvm_pulp.passes.optimizer import accumulator_update, initial_states, optimizer_update
from tvm_pulp.passes.place_updates import Update
from tvm_pulp.passes.replays import Replays, emit_replays, plan_replays
from tvm_pulp.passes.rewrite import closed_on_error
from tvm_pulp.passes.store_replays import add_store_replays
from tvm_pulp.passes.train_config import TrainConfig
from tvm_pulp.passes.trained_part import trained_parameters, training_batch_norms


@dataclass(frozen=True)
class TrainingGraph:
    """A model's training step, see docs/architecture.md, section 2.

    Attributes
    ----------
    module : IRModule
        Relax functions ``train_step``, or ``gradient_step`` and ``update_step``, and ``infer``; PrimFuncs.
    model : Model
        As imported, with the batch size of one forward pass; behind a frozen stage only what is trained.
    config : TrainConfig or None
        What it was made with; None for an inference graph.
    trainable : tuple of str
        Names of the parameters that are updated.
    states : mapping of str to ndarray
        Initial optimiser state and gradient accumulators by name.
    frozen : FrozenStage or None
        What the model's input is computed by, within the functions.
    replays : mapping of str to ndarray
        Initial values of the replay store's labels by name; empty where there is no store.
    """

    module: IRModule
    model: Model
    config: TrainConfig | None
    trainable: tuple[str, ...]
    states: Mapping[str, np.ndarray]
    frozen: FrozenStage | None = None
    replays: Mapping[str, np.ndarray] = field(default_factory=dict)

    @property
    def inputs(self) -> tuple[str, ...]:
        """Names of the functions' inputs."""
        return self.model.inputs if self.frozen is None else self.frozen.inputs

    @property
    def parameters(self) -> Mapping[str, np.ndarray]:
        """Initial values of all parameters by name, those of the frozen stage first."""
        frozen = {} if self.frozen is None else self.frozen.parameters
        return {**frozen, **self.model.parameters}

    @property
    def initial_values(self) -> dict[str, np.ndarray]:
        """Initial values of all tensors that have some, by name."""
        return {**self.parameters, **self.states, **self.replays}


def build_training(model: Model, config: TrainConfig, frozen: FrozenStage | None = None) -> TrainingGraph:
    """Build the training graph of a model.

    Parameters
    ----------
    model : Model
        In canonical form, any batch size.
    config : TrainConfig
        What to train and how.
    frozen : FrozenStage or None
        What computes the model's only input, the latents; None: the model's inputs are the network's.

    Returns
    -------
    TrainingGraph
        ``train_step`` returns the loss ``[1]`` and the model's output (with a softmax at the end if the model
        has one), then the gradients in the order of `trainable` if they are to be kept. ``gradient_step``
        returns the same of one micro-batch: its share of the mini-batch's loss and gradients. With replays
        the output is that of the new samples, then of those replayed, and ``store_replays`` stores samples.

    Raises
    ------
    UserError
        If the model's output does not suit the loss, nothing is left to train, or an operator on the backward
        path has no gradient.
    """
    trainable = trained_parameters(model, config.trainable, config.freeze_until)
    model = with_batch(model, config.trained_per_pass)
    states = initial_states(model, config, trainable)
    replays = plan_replays(model, config, frozen)
    builder = relax.BlockBuilder()
    _add_step(builder, model, config, trainable, states, frozen, replays)
    if config.passes_per_step > 1:
        _add_update_step(builder, model, config, trainable, states)
    add_inference(builder, with_batch(model, 1), frozen)
    if frozen is not None and replays is not None:
        add_store_replays(builder, frozen, replays)
    module = name_kernels(fuse_elementwise(builder.get()))
    empty = {} if replays is None else replays.initial_values()
    return TrainingGraph(module, model, config, trainable, states, frozen, empty)


def _copy(variable: relax.Var) -> relax.Var:
    return relax.Var(variable.name, variable.ty)


def _state_variables(states: Mapping[str, np.ndarray]) -> list[relax.Var]:
    return [relax.Var(name, relax.TensorType(value.shape, "float32")) for name, value in states.items()]


def _add_step(
    builder: relax.BlockBuilder,
    model: Model,
    config: TrainConfig,
    trainable: tuple[str, ...],
    states: Mapping[str, np.ndarray],
    frozen: FrozenStage | None,
    replays: Replays | None,
) -> None:
    """Add ``train_step``, or ``gradient_step`` if gradients are accumulated."""
    forward, running = _forward_with_loss(model, config, trainable, frozen, replays)
    by_name = {argument.name: argument for argument in forward["forward"].params}
    module, name = differentiate(forward, "forward", [by_name[parameter] for parameter in trainable])
    function = module[name]
    bound, results = resolve(function)
    _, loss, output, *rest = results
    statistics, gradients = rest[: 2 * len(running)], rest[2 * len(running) :]
    arguments = [*function.params, *_state_variables(states)]
    by_name = {argument.name: argument for argument in arguments}
    updates = [
        _running_update(batch_norm, tuple(statistics[2 * index : 2 * index + 2]), by_name)
        for index, batch_norm in enumerate(running)
    ]
    accumulates = config.passes_per_step > 1
    updates += [
        accumulator_update(parameter, by_name, gradient)
        if accumulates
        else optimizer_update(parameter, by_name, config, gradient)
        for parameter, gradient in zip(trainable, gradients, strict=True)
    ]
    returned = [loss, output, *(gradients if config.keep_gradients else [])]
    step = "gradient_step" if accumulates else "train_step"
    finish_function(builder, step, arguments, bound, module, returned, updates)


def _forward_with_loss(
    model: Model,
    config: TrainConfig,
    trainable: tuple[str, ...],
    frozen: FrozenStage | None,
    replays: Replays | None,
) -> tuple[IRModule, list[RunningStatistics]]:
    """Build ``forward(inputs..., labels, replays..., parameters...)``.

    It returns the loss as a scalar, the loss ``[1]``, the output, and mean and variance of each batch norm in
    training mode.
    """
    inputs, frozen_parameters = _input_variables(model, frozen, config.samples_per_pass)
    labels = relax.Var(LABELS, labels_type(model, config, config.samples_per_pass))
    stored = [] if replays is None else replays.step_variables()
    parameters = {name: _copy(variable) for name, variable in model.parameter_variables.items()}
    builder = relax.BlockBuilder()
    lowering = Lowering(
        builder,
        layer_names(model),
        "forward",
        training_batch_norms(model, trainable),
        {parameters[name] for name in trainable},
    )
    arguments = [*inputs, labels, *stored, *frozen_parameters.values(), *parameters.values()]
    with closed_on_error(lambda: builder), builder.function("forward", arguments):
        with builder.dataflow():
            if frozen is not None:
                inputs = [frozen.emit(builder, inputs, frozen_parameters, config.samples_per_pass)]
            if replays is not None:
                indices, *store = stored
                joined = emit_replays(builder, (inputs[0], labels), store, indices, replays)
                inputs, labels = [joined[0]], joined[1]
            (output,) = lower_forward(lowering, model.function, [*inputs, *parameters.values()])
            loss = emit_loss(lowering, loss_source(model, config), labels, model, config)
            statistics = [variable for bn in lowering.running_statistics for variable in bn.statistics]
            scalar = builder.emit(relax.op.reshape(loss, ()))
            results = [builder.emit_output(result) for result in (scalar, loss, output, *statistics)]
        builder.emit_func_output(results)
    return builder.get(), lowering.running_statistics


def _input_variables(
    model: Model, frozen: FrozenStage | None, batch: int
) -> tuple[list[relax.Var], dict[str, relax.Var]]:
    """Make variables for a function's inputs, of so many samples, and for the frozen stage's parameters."""
    if frozen is None:
        return [_copy(variable) for variable in model.input_variables], {}
    return frozen.input_variables(batch), frozen.parameter_variables()


def _running_update(
    batch_norm: RunningStatistics, statistics: tuple[relax.Var, ...], arguments: Mapping[str, relax.Var]
) -> Update:
    kernel = batch_norm_running(batch_norm.layer, "running_update", batch_norm.shape, batch_norm.momentum)
    running = tuple(arguments[name] for name in batch_norm.running)
    return Update(kernel, (*statistics, *running), (2, 3), f"{batch_norm.layer}_running_updated")


def _add_update_step(
    builder: relax.BlockBuilder,
    model: Model,
    config: TrainConfig,
    trainable: tuple[str, ...],
    states: Mapping[str, np.ndarray],
) -> None:
    arguments = [_copy(v) for v in model.parameter_variables.values()] + _state_variables(states)
    by_name = {argument.name: argument for argument in arguments}
    updates = [optimizer_update(parameter, by_name, config, None) for parameter in trainable]
    finish_function(builder, "update_step", arguments, [], IRModule(), [], updates)


def add_inference(builder: relax.BlockBuilder, model: Model, frozen: FrozenStage | None = None) -> None:
    """Add the function ``infer`` to the module that is built."""
    source = relax.BlockBuilder()
    inputs, frozen_parameters = _input_variables(model, frozen, model.batch)
    parameters = [_copy(variable) for variable in model.parameter_variables.values()]
    arguments = [*inputs, *frozen_parameters.values(), *parameters]
    with closed_on_error(lambda: source), source.function("infer", arguments):
        with source.dataflow():
            if frozen is not None:
                inputs = [frozen.emit(source, inputs, frozen_parameters, model.batch)]
            lowering = Lowering(source, layer_names(model), "infer")
            outputs = lower_forward(lowering, model.function, [*inputs, *parameters])
            results = [source.emit_output(output) for output in outputs]
        source.emit_func_output(results)
    module = source.get()
    bound, found = resolve(module["infer"])
    returned = found[0] if len(found) == 1 else found
    finish_function(builder, "infer", arguments, bound, module, returned)
