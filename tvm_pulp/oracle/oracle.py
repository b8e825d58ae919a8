"""Training steps in PyTorch of the network that the cluster trains."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch.nn import functional
from tvm import relax

from tvm_pulp.oracle.forward import forward
from tvm_pulp.passes.model import Model, with_batch
from tvm_pulp.passes.rewrite import static_shape
from tvm_pulp.passes.train_config import TrainConfig
from tvm_pulp.passes.trained_part import training_batch_norms
from tvm_pulp.target.errors import UserError

MOMENTUM = "momentum:"
GRADIENT = "gradient:"


@dataclass(frozen=True)
class StepResult:
    """What one training step gave.

    Attributes
    ----------
    loss : float
        Mean over the mini-batch, before the update.
    output : ndarray
        The model's output for the step's samples, ``[samples, ...]``, before the update.
    logits : ndarray
        What goes into the softmax at the end of the model; `output` itself where there is none.
    gradients : mapping of str to ndarray
        Of the mean loss, by parameter name, for the trained parameters; without weight decay.
    """

    loss: float
    output: np.ndarray
    logits: np.ndarray
    gradients: Mapping[str, np.ndarray]

    def gradients_by_name(self) -> dict[str, np.ndarray]:
        """Gradients under the names that training graphs give them, `gradient:NAME`."""
        return {GRADIENT + name: value for name, value in self.gradients.items()}


class Oracle:
    """Train a model in PyTorch: operators and autograd of torch, update by `torch.optim.SGD`.

    It shares no code with the gradient passes. Batch norms train as `training_batch_norms` says; a mini-batch
    of several micro-batches sums their gradients, and batch norms see a micro-batch at a time.

    Parameters
    ----------
    model : Model
        In canonical form, of any batch size.
    config : TrainConfig
        Loss, optimiser, batch and micro-batch size.
    trainable : sequence of str
        Names of the parameters to update (`trained_parameters`); empty for inference only.
    dtype : torch.dtype
        `torch.float32`, or `torch.float64` to tell rounding from error.

    Raises
    ------
    UserError
        If the model has several outputs, or for a `trainable` name that it lacks.
    """

    def __init__(
        self, model: Model, config: TrainConfig, trainable: Sequence[str], dtype: torch.dtype = torch.float32
    ) -> None:
        unknown = [name for name in trainable if name not in model.parameters]
        if unknown:
            raise UserError(f"{model.name}: there is no parameter '{unknown[0]}' to train")
        if not isinstance(model.function.body.body.ty, relax.TensorType):
            raise UserError(f"{model.name}: it has several outputs: a model to train has one")
        self.config = config
        self.dtype = dtype
        self.training_layers = training_batch_norms(model, trainable)
        self._models = {model.batch: model}
        self._model = model
        self._parameters: dict[str, torch.Tensor] = {
            name: torch.from_numpy(np.array(value)).to(dtype) for name, value in model.parameters.items()
        }
        self._trained = {name: self._parameters[name].requires_grad_() for name in trainable}
        self._optimizer = torch.optim.SGD(
            list(self._trained.values()) or [torch.zeros(0)],  # inference only: SGD refuses an empty list
            lr=config.learning_rate,
            momentum=config.momentum,
            weight_decay=config.weight_decay,
        )

    def step(self, inputs: Mapping[str, np.ndarray], labels: np.ndarray) -> StepResult:
        """Train on one mini-batch.

        Parameters
        ----------
        inputs : mapping of str to ndarray
            ``[samples, ...]`` by input name; samples are those of a step, new and replayed, the replayed ones
            of a micro-batch behind its new ones.
        labels : ndarray
            Class numbers ``[samples]`` (cross-entropy), or targets of the output's shape (mse).

        Raises
        ------
        UserError
            For names, shapes or labels that do not fit.
        """
        if not self._trained:
            raise UserError(f"{self._model.name}: there is nothing to train: name trainable parameters")
        size, passes = self.config.trained_per_pass, self.config.passes_per_step
        tensors = self._inputs(inputs, self.config.trained_per_step)
        target = self._labels(labels)
        self._optimizer.zero_grad()
        losses, outputs, all_logits = [], [], []
        for index in range(passes):
            part = slice(index * size, (index + 1) * size)
            output, logits = self._forward({k: v[part] for k, v in tensors.items()}, self.training_layers)
            loss = self._loss(output, logits, target[part]) / passes
            loss.backward()
            losses.append(loss.detach())
            outputs.append(output.detach())
            all_logits.append(logits.detach())
        gradients = {}
        for name, parameter in self._trained.items():
            gradient = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
            gradients[name] = gradient.detach().numpy().copy()
            parameter.grad = gradient
        self._optimizer.step()
        return StepResult(
            float(torch.stack(losses).sum()),
            torch.cat(outputs).numpy(),
            torch.cat(all_logits).numpy(),
            gradients,
        )

    def infer(self, inputs: Mapping[str, np.ndarray]) -> np.ndarray:
        """Output of the model, every batch norm with its running statistics, a softmax at the end kept."""
        count = len(next(iter(inputs.values())))
        with torch.no_grad():
            return self._forward(self._inputs(inputs, count), ())[0].numpy()

    def tensors(self) -> dict[str, np.ndarray]:
        """Copies of all parameters, running statistics among them, and of momenta as `momentum:NAME`."""
        result = {name: value.detach().numpy().copy() for name, value in self._parameters.items()}
        if self.config.momentum:
            for name, parameter in self._trained.items():
                buffer = self._optimizer.state[parameter].get("momentum_buffer")
                value = torch.zeros_like(parameter) if buffer is None else buffer
                result[MOMENTUM + name] = value.detach().numpy().copy()
        return result

    def load(self, tensors: Mapping[str, np.ndarray]) -> None:
        """Take over parameters, momenta (`momentum:NAME`) and `learning_rate`; ignore other names."""
        with torch.no_grad():
            for name, value in tensors.items():
                tensor = torch.from_numpy(np.array(value)).to(self.dtype)
                if name in self._parameters:
                    self._parameters[name].copy_(tensor.reshape(self._parameters[name].shape))
                elif name.startswith(MOMENTUM) and name.removeprefix(MOMENTUM) in self._trained:
                    parameter = self._trained[name.removeprefix(MOMENTUM)]
                    self._optimizer.state[parameter]["momentum_buffer"] = tensor.reshape(parameter.shape)
                elif name == "learning_rate":
                    for group in self._optimizer.param_groups:
                        group["lr"] = float(tensor)

    def _forward(
        self, inputs: Mapping[str, torch.Tensor], training_layers: set[str] | tuple[()]
    ) -> tuple[torch.Tensor, torch.Tensor]:
        batch = len(next(iter(inputs.values())))
        if batch not in self._models:
            self._models[batch] = with_batch(self._model, batch)
        try:
            return forward(self._models[batch], inputs, self._parameters, training_layers)
        except ValueError as error:  # a batch norm in training mode with one value a channel
            raise UserError(f"{self._model.name}: PyTorch refuses the step: {error}") from error

    def _loss(self, output: torch.Tensor, logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        if self.config.loss == "cross-entropy":
            return functional.cross_entropy(logits, target)
        return functional.mse_loss(output, target)

    def _inputs(self, inputs: Mapping[str, np.ndarray], count: int) -> dict[str, torch.Tensor]:
        tensors = {}
        for variable in self._model.input_variables:
            if variable.name not in inputs:
                raise UserError(f"input '{variable.name}' is missing: give {', '.join(self._model.inputs)}")
            expected = (count, *static_shape(variable)[1:])
            value = np.asarray(inputs[variable.name])
            if value.shape != expected:
                raise UserError(f"input '{variable.name}' has shape {value.shape}: {expected} is needed")
            tensors[variable.name] = torch.from_numpy(np.ascontiguousarray(value)).to(self.dtype)
        return tensors

    def _labels(self, labels: np.ndarray) -> torch.Tensor:
        batch = self.config.trained_per_step
        shape = (batch, *static_shape(self._model.function.body.body)[1:])
        labels = np.asarray(labels)
        if self.config.loss == "mse":
            if labels.shape != shape:
                raise UserError(f"labels have shape {labels.shape}: {shape} is needed, like the output")
            return torch.from_numpy(np.ascontiguousarray(labels)).to(self.dtype)
        if labels.shape != (batch,) or not np.issubdtype(labels.dtype, np.integer):
            raise UserError(
                f"labels are {labels.dtype} of shape {labels.shape}: integers of shape ({batch},) are needed"
            )
        if labels.min() < 0 or labels.max() >= shape[1]:
            raise UserError(
                f"label {labels.min() if labels.min() < 0 else labels.max()} is not in 0..{shape[1] - 1}"
            )
        return torch.from_numpy(labels.astype(np.int64))
