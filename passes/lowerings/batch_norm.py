"""Lowering of batch normalisation, by the statistics of the batch or by the running ones."""

from __future__ import annotations

from tvm import relax

from tvm_pulp.passes.kernel_call import emit_kernel
from tvm_pulp.passes.lowerings.lowering import Lowering, RunningStatistics
from tvm_pulp.passes.operators.batch_norm import (
    batch_norm,
    batch_norm_inference,
    batch_norm_statistics,
    samples_per_channel,
)
from tvm_pulp.passes.rewrite import static_shape
from tvm_pulp.passes.trained_part import batch_norm_layer
from tvm_pulp.target.errors import UserError


def lower_batch_norm(lowering: Lowering, variable: relax.Var, call: relax.Call) -> tuple[relax.Var]:
    """Emit a batch norm; what it yields is a tuple of which only element 0 can be read."""
    layer = batch_norm_layer(call)
    data, scale, offset, mean, variance = (lowering.tensor(argument) for argument in call.args)
    shape = static_shape(data)
    if int(call.attrs["axis"]) % len(shape) != 1:
        raise UserError(f"layer {layer}: batch norm over axis {call.attrs['axis']} has no kernel; use axis 1")
    epsilon = float(call.attrs["epsilon"])
    if layer not in lowering.training_batch_norms:
        kernel = batch_norm_inference(layer, lowering.work, shape, epsilon)
        return (lowering.kernel(kernel, [data, scale, offset, mean, variance], name=variable.name),)
    if samples_per_channel(shape) < 2:
        raise UserError(
            f"layer {layer}: batch norm has one sample a channel, which has no variance; use a larger batch "
            "or micro-batch, or freeze the layer"
        )
    # Not differentiated: the gradient rule of the normalisation accounts for the statistics
    kernel = batch_norm_statistics(layer, "statistics", shape, epsilon)
    statistics = emit_kernel(lowering.builder, kernel, [data], name=f"{layer}_statistics")
    fields = ("mean", "variance", "inverse_deviation")
    batch_mean, batch_variance, inverse = (
        lowering.builder.emit(relax.TupleGetItem(statistics, index), f"{layer}_{name}")
        for index, name in enumerate(fields)
    )
    lowering.running_statistics.append(
        RunningStatistics(
            layer,
            shape,
            float(call.attrs["momentum"]),
            (batch_mean, batch_variance),
            (call.args[3].name, call.args[4].name),
        )
    )
    kernel = batch_norm(layer, lowering.work, shape)
    arguments = [data, batch_mean, inverse, scale, offset]
    return (lowering.kernel(kernel, arguments, "batch_norm", name=variable.name),)
