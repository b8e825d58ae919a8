"""Batch normalisation forward: batch statistics, running statistics, and the normalisation by either.

Formulas: Ioffe and Szegedy, "Batch Normalization", 2015, algorithm 1; running statistics by PyTorch's rule
(unbiased variance). Channels are axis 1; statistics are over all other axes.
"""

from __future__ import annotations

import math

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


def batch_norm_statistics(layer: str, work: str, shape: Shape, epsilon: float) -> PrimFunc:
    """Make the kernel of the batch statistics, by two passes over the data: mean, then squared deviations.

    Returns
    -------
    PrimFunc
        Operator class ``"batch_norm_statistics"``: data; mean ``[channels]``, biased variance ``[channels]``,
        inverse standard deviation ``[channels]``, ``1 / sqrt(variance + epsilon)``.
    """
    data = argument("data", shape)
    share = number(1.0 / samples_per_channel(shape))
    total = staged_sum(lambda *i: data(*i), shape, other_axes(shape), "total")
    mean = te.compute((shape[1],), lambda c: total[c] * share, name="mean")

    def squared_deviation(*indices: Scalar) -> Scalar:
        deviation = data(*indices) - mean[indices[1]]
        return deviation * deviation

    deviations = staged_sum(squared_deviation, shape, other_axes(shape), "deviations")
    variance = te.compute((shape[1],), lambda c: deviations[c] * share, name="variance")
    inverse = te.compute(
        (shape[1],),
        lambda c: number(1.0) / tirx.sqrt(variance[c] + number(epsilon)),
        name="inverse_deviation",
    )
    return make_kernel(
        [data], [mean, variance, inverse], operator="batch_norm_statistics", layer=layer, work=work
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


def batch_norm(layer: str, work: str, shape: Shape) -> PrimFunc:
    """Make the kernel that normalises by given statistics.

    Returns
    -------
    PrimFunc
        Operator class ``"batch_norm"``: data, mean, inverse standard deviation, scale, offset; output
        ``(data - mean) * (inverse * scale) + offset``.
    """
    data = argument("data", shape)
    names = ("mean", "inverse_deviation", "scale", "offset")
    mean, inverse, scale, offset = (argument(name, (shape[1],)) for name in names)

    def compute(*indices: Scalar) -> Scalar:
        c = indices[1]
        return (data(*indices) - mean[c]) * (inverse[c] * scale[c]) + offset[c]

    output = te.compute(shape, compute, name="output")
    return make_kernel(
        [data, mean, inverse, scale, offset], [output], operator="batch_norm", layer=layer, work=work
    )


def batch_norm_inference(layer: str, work: str, shape: Shape, epsilon: float) -> PrimFunc:
    """Make the kernel that normalises by running statistics: one multiply-add an element.

    Returns
    -------
    PrimFunc
        Operator class ``"batch_norm_inference"``: data, scale, offset, running mean, running variance;
        output.
    """
    data = argument("data", shape)
    names = ("scale", "offset", "running_mean", "running_variance")
    scale, offset, mean, variance = (argument(name, (shape[1],)) for name in names)
    factor = te.compute(
        (shape[1],), lambda c: scale[c] / tirx.sqrt(variance[c] + number(epsilon)), name="factor"
    )
    shift = te.compute((shape[1],), lambda c: offset[c] - mean[c] * factor[c], name="shift")
    output = te.compute(shape, lambda *i: data(*i) * factor[i[1]] + shift[i[1]], name="output")
    return make_kernel(
        [data, scale, offset, mean, variance],
        [output],
        operator="batch_norm_inference",
        layer=layer,
        work=work,
    )
