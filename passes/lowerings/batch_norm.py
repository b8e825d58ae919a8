"""Lowering of batch normalisation, by the statistics of the batch or by the running ones."""

from __future__ import annotations

import math

from tvm import relax

from tvm_pulp.passes.kernel_call import emit_alias, emit_kernel
from tvm_pulp.passes.lowerings.lowering import Lowering, RunningStatistics
from tvm_pulp.passes.operators.batch_norm import (
    batch_norm_factors,
    batch_norm_inference,
    batch_norm_training,
    samples_per_channel,
)
from tvm_pulp.passes.rewrite import static_shape
from tvm_pulp.passes.trained_part import batch_norm_layer
from tvm_pulp.target.errors import UserError


def lower_batch_norm(lowering: Lowering, variable: relax.Var, call: relax.Call) -> tuple[relax.Var]:
    """Emit a batch norm; what it yields is a tuple of which only element 0 can be read."""
    layer = batch_norm_layer(call)
    shape = static_shape(call.args[0])
    if int(call.attrs["axis"]) % len(shape) != 1:
        raise UserError(f"layer {layer}: batch norm over axis {call.attrs['axis']} has no kernel; use axis 1")
    epsilon = float(call.attrs["epsilon"])
    if layer not in lowering.training_batch_norms:
        data, *running = (lowering.tensor(argument) for argument in call.args)
        kernel = batch_norm_factors(layer, f"factors_{lowering.work}", shape[1], epsilon)
        factors = emit_kernel(lowering.builder, kernel, running, name=f"{layer}_factors")
        factor, shift = (
            lowering.builder.emit(relax.TupleGetItem(factors, index), f"{layer}_{name}")
            for index, name in enumerate(("factor", "shift"))
        )
        kernel = batch_norm_inference(layer, lowering.work, shape)
        return (lowering.kernel(kernel, [data, factor, shift], name=variable.name),)
    if samples_per_channel(shape) < 2:
        raise UserError(
            f"layer {layer}: batch norm has one sample a channel, which has no variance; use a larger batch "
            "or micro-batch, or freeze the layer"
        )
    chain = lowering.batch_norm_chains[variable]
    data, scale, offset = (lowering.tensor(v) for v in (chain.data, call.args[1], call.args[2]))
    bias = [] if chain.bias is None else [lowering.tensor(chain.bias)]
    kernel = batch_norm_training(layer, lowering.work, shape, epsilon, chain.activation, bool(bias))
    results = emit_kernel(lowering.builder, kernel, [data, scale, offset, *bias], name=f"{layer}_results")
    fields = ("output", "mean", "variance", "inverse_deviation", *(["biased_mean"] if bias else []))
    output, mean, variance, inverse, *biased_mean = (
        lowering.builder.emit(relax.TupleGetItem(results, index), f"{layer}_{name}")
        for index, name in enumerate(fields)
    )
    lowering.running_statistics.append(
        RunningStatistics(
            layer,
            shape,
            float(call.attrs["momentum"]),
            (biased_mean[0] if bias else mean, variance),
            (call.args[3].name, call.args[4].name),
        )
    )
    activation = chain.activation
    arguments = [output, data, mean, inverse, scale, offset, *bias]
    needed = [False, *(argument in lowering.trained for argument in arguments[1:])]
    if not any(needed):
        return (output,)
    limit = activation.limit if math.isfinite(activation.limit) else None
    parameters = {"rectifies": activation.rectifies, "limit": limit}
    name = variable.name if chain.activated is None else chain.activated.name
    normal = emit_alias(lowering.builder, kernel, arguments, "batch_norm", parameters, needed, name)
    lowering.trained.add(normal)
    return (normal,)
