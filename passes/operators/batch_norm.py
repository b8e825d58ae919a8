"""Batch normalisation forward: batch statistics, running statistics, and the normalisation by either.

Formulas: Ioffe and Szegedy, "Batch Normalization", 2015, algorithm 1; running statistics by PyTorch's rule
(unbiased variance). Channels are axis 1; statistics are over all other axes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from tvm import te

from tvm_pulp.passes.operators.kernel import Scalar, Shape, argument, make_kernel, number
from tvm_pulp.passes.operators.reduction import staged_sum
from tvm_pulp.target.tvm_names import PrimFunc, tirx


def other_axes(shape: Shape) -> list[int]:
    """All axes but the channels'."""
    return [axis for axis in range(len(shape)) if axis != 1]


def samples_per_channel(shape: Shape) -> int:
    """Elements that a channel's statistics are over."""
    return math.prod(shape) // shape[1]


@dataclass(frozen=True)
class Activation:
    """What follows a normalisation in the same kernel: nothing, a rectifier, or clipping to 0 … `limit`.

    Attributes
    ----------
    rectifies : bool
        Whether negative results become 0.
    limit : float
        What larger results become; infinite where there is no limit.
    """

    rectifies: bool = False
    limit: float = math.inf

    def apply(self, value: Scalar) -> Scalar:
        """Activate a value."""
        if self.rectifies:
            value = tirx.max(value, number(0.0))
        return tirx.min(value, number(self.limit)) if math.isfinite(self.limit) else value

    def open(self, value: Scalar, gradient: Scalar) -> Scalar:
        """Let a gradient through where the activation's input is strictly inside its range."""
        conditions = [value > number(0.0)] if self.rectifies else []
        conditions += [value < number(self.limit)] if math.isfinite(self.limit) else []
        if not conditions:
            return gradient
        return tirx.Select(tirx.all(*conditions), gradient, number(0.0))


def training_details(activation: Activation, epsilon: float = 0.0, backward: bool = False) -> dict[str, Any]:
    """Attributes of the kernels of a batch norm in training mode."""
    limit = activation.limit if math.isfinite(activation.limit) else 0.0
    return {
        "pulp.batch_norm": {
            "rectifies": int(activation.rectifies),
            "limit": limit,
            "epsilon": epsilon,
            "backward": int(backward),
        }
    }


def batch_norm_training(
    layer: str, work: str, shape: Shape, epsilon: float, activation: Activation, biased: bool
) -> PrimFunc:
    """Make the kernel of a batch norm in training mode, by the statistics of the batch, and its activation.

    The statistics take two passes over the data: mean, then squared deviations.

    Parameters
    ----------
    layer, work
        See `make_kernel`.
    shape
        Of the data.
    epsilon
        Added to the variance.
    activation
        Of the output.
    biased
        Whether a bias a channel is to be added to the data first. It changes nothing but the mean.

    Returns
    -------
    PrimFunc
        Operator class ``"batch_norm_training"``: data, scale, offset and, if biased, bias; output, then
        ``[channels]`` each: mean of the data, biased variance, inverse standard deviation
        ``1 / sqrt(variance + epsilon)`` and, if biased, the mean of the data with the bias.
    """
    data = argument("data", shape)
    names = ("scale", "offset", "bias") if biased else ("scale", "offset")
    scale, offset, *bias = (argument(name, (shape[1],)) for name in names)
    share = number(1.0 / samples_per_channel(shape))
    total = staged_sum(lambda *i: data(*i), shape, other_axes(shape), "total")
    mean = te.compute((shape[1],), lambda c: total[c] * share, name="mean")

    def squared_deviation(*indices: Scalar) -> Scalar:
        deviation = data(*indices) - mean[indices[1]]
        return deviation * deviation

    deviations = staged_sum(squared_deviation, shape, other_axes(shape), "deviations")
    variance = te.compute((shape[1],), lambda c: deviations[c] * share, name="variance")
    inverse = te.compute(
        (shape[1],), lambda c: tirx.rsqrt(variance[c] + number(epsilon)), name="inverse_deviation"
    )
    factor = te.compute((shape[1],), lambda c: inverse[c] * scale[c], name="factor")
    shift = te.compute((shape[1],), lambda c: offset[c] - mean[c] * factor[c], name="shift")
    output = te.compute(
        shape, lambda *i: activation.apply(data(*i) * factor[i[1]] + shift[i[1]]), name="output"
    )
    outputs = [output, mean, variance, inverse]
    if biased:
        outputs.append(te.compute((shape[1],), lambda c: mean[c] + bias[0][c], name="biased_mean"))
    return make_kernel(
        [data, scale, offset, *bias],
        outputs,
        operator="batch_norm_training",
        layer=layer,
        work=work,
        details=training_details(activation, epsilon),
    )


def batch_norm_running(layer: str, work: str, shape: Shape, momentum: float) -> PrimFunc:
    """Make the kernel that moves the running statistics towards those of the batch, in place.

    Parameters
    ----------
    layer, work
        See `make_kernel`.
    shape
        Of the data, with at least two samples a channel.
    momentum
        Share of the batch in the new statistics.

    Returns
    -------
    PrimFunc
        Operator class ``"batch_norm_running"``: mean, biased variance, running mean and running variance, all
        ``[channels]``; the last two are overwritten.
    """
    samples = samples_per_channel(shape)
    names = ("mean", "variance", "running_mean", "running_variance")
    mean, variance, running_mean, running_variance = (argument(name, (shape[1],)) for name in names)
    kept, share = number(1.0 - momentum), number(momentum)
    unbiased = number(momentum * samples / (samples - 1))
    new_mean = te.compute(
        (shape[1],), lambda c: kept * running_mean[c] + share * mean[c], name="new_running_mean"
    )
    new_variance = te.compute(
        (shape[1],),
        lambda c: kept * running_variance[c] + unbiased * variance[c],
        name="new_running_variance",
    )
    return make_kernel(
        [mean, variance, running_mean, running_variance],
        [new_mean, new_variance],
        operator="batch_norm_running",
        layer=layer,
        work=work,
        in_place={0: 2, 1: 3},
    )


def batch_norm_factors(layer: str, work: str, channels: int, epsilon: float) -> PrimFunc:
    """Make the kernel of what a batch norm by running statistics multiplies by and adds.

    Returns
    -------
    PrimFunc
        Operator class ``"batch_norm_factors"``: scale, offset, running mean, running variance; factor and
        shift, ``[channels]`` all.
    """
    names = ("scale", "offset", "running_mean", "running_variance")
    scale, offset, mean, variance = (argument(name, (channels,)) for name in names)
    factor = te.compute(
        (channels,), lambda c: scale[c] / tirx.sqrt(variance[c] + number(epsilon)), name="factor"
    )
    shift = te.compute((channels,), lambda c: offset[c] - mean[c] * factor[c], name="shift")
    return make_kernel(
        [scale, offset, mean, variance],
        [factor, shift],
        operator="batch_norm_factors",
        layer=layer,
        work=work,
    )


def batch_norm_inference(layer: str, work: str, shape: Shape) -> PrimFunc:
    """Make the kernel that normalises by running statistics: one multiply-add an element.

    Returns
    -------
    PrimFunc
        Operator class ``"batch_norm_inference"``: data, factor, shift (see `batch_norm_factors`); output.
    """
    data = argument("data", shape)
    factor, shift = (argument(name, (shape[1],)) for name in ("factor", "shift"))
    output = te.compute(shape, lambda *i: data(*i) * factor[i[1]] + shift[i[1]], name="output")
    return make_kernel(
        [data, factor, shift], [output], operator="batch_norm_inference", layer=layer, work=work
    )
