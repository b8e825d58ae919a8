"""The loss at the end of a training graph; a softmax at the end of the model is taken into cross-entropy."""

from __future__ import annotations

import math

from tvm import relax

from tvm_pulp.passes.kernel_call import emit_alias, emit_kernel
from tvm_pulp.passes.lowerings.lowering import Lowering
from tvm_pulp.passes.model import Model
from tvm_pulp.passes.operators.cross_entropy import cross_entropy_training
from tvm_pulp.passes.operators.mse import mse
from tvm_pulp.passes.rewrite import bindings, operator_name, static_shape
from tvm_pulp.passes.train_config import TrainConfig
from tvm_pulp.target.errors import UserError

SOFTMAXES = ("nn.softmax", "nn.log_softmax")
LABELS = "labels"
"""Name of the argument."""
LAYER = "loss"
"""Of the loss's kernels."""


def labels_type(model: Model, config: TrainConfig, samples: int) -> relax.TensorType:
    """Type of the labels of some samples: int32 ``[samples]`` for cross-entropy, else like the output.

    Raises
    ------
    UserError
        If the model's output does not suit the loss.
    """
    output = _single_output(model)
    if LABELS in model.inputs or LABELS in model.parameters:
        raise UserError(f"{model.name}: an argument is named '{LABELS}' like that of the loss: rename it")
    shape = static_shape(output)
    if config.loss == "mse":
        return relax.TensorType((samples, *shape[1:]), "float32")
    if len(shape) != 2 or shape[1] < 2:
        raise UserError(
            f"{model.name}: the output has shape {list(shape)}; cross-entropy needs [batch, classes] with "
            "two classes at least: flatten the output, or use --loss mse"
        )
    return relax.TensorType((samples,), "int32")


def loss_source(model: Model, config: TrainConfig) -> relax.Var:
    """Find the variable of the forward function that the loss is computed from.

    Returns
    -------
    Var
        The output, or what a (log-)softmax at the end makes it from if the loss is cross-entropy.
    """
    output = _single_output(model)
    values = dict(bindings(model.function))
    source = output
    while isinstance(values.get(source), relax.Var):
        source = values[source]
    value = values.get(source)
    if value is not None and config.loss == "cross-entropy" and operator_name(value) in SOFTMAXES:
        if int(value.attrs["axis"]) % len(static_shape(source)) == len(static_shape(source)) - 1:
            return value.args[0]
    return source


def emit_loss(
    lowering: Lowering, source: relax.Var, labels: relax.Var, model: Model, config: TrainConfig
) -> relax.Var:
    """Emit the loss, scaled so that the losses of all micro-batches sum up to the mean over the mini-batch.

    Parameters
    ----------
    lowering : Lowering
        Of the forward function.
    source : Var
        Of the forward function, see `loss_source`.
    labels : Var
        As `labels_type` says.
    model : Model
        With the batch size of one pass.
    config : TrainConfig
        Which loss.

    Returns
    -------
    Var
        float32 ``[1]``.
    """
    values = lowering.tensor(source)
    shape = static_shape(values)
    if config.loss == "cross-entropy":
        scale = 1.0 / config.trained_per_step
        kernel = cross_entropy_training(LAYER, "and_gradient", shape, scale)
        results = emit_kernel(lowering.builder, kernel, [values, labels], name="loss_results")
        loss, gradient = (
            lowering.builder.emit(relax.TupleGetItem(results, index), name)
            for index, name in enumerate(("loss", "loss_gradient"))
        )
        arguments = [loss, values, gradient]
        needed = [False, values in lowering.trained, False]
        return emit_alias(lowering.builder, kernel, arguments, "cross_entropy", needed=needed, name="loss")
    scale = 1.0 / (math.prod(shape) // model.batch * config.trained_per_step)
    kernel = mse(LAYER, lowering.work, shape, scale)
    return lowering.kernel(kernel, [values, labels], "mse", {"scale": scale}, "loss")


def _single_output(model: Model) -> relax.Var:
    result = model.function.body.body
    if not isinstance(result, relax.Var) or isinstance(result.ty, relax.TupleType):
        raise UserError(
            f"{model.name}: the model has several outputs, a loss is defined for one: export it with one"
        )
    return result
