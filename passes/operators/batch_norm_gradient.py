"""Gradients of batch normalisation in training mode: sums over the batch, then multiply-adds an element.

With x̂ = (x - mean) / σ over M samples a channel and the output's gradient g (Ioffe and Szegedy, 2015,
section 3): offset's gradient = Σ g; scale's = Σ g·x̂; data's = scale/σ · (g - Σg/M - x̂·Σ(g·x̂)/M).
"""

from __future__ import annotations

from tvm import te

from tvm_pulp.passes.operators.batch_norm import other_axes, samples_per_channel
from tvm_pulp.passes.operators.kernel import Scalar, Shape, argument, make_kernel, number
from tvm_pulp.passes.operators.reduction import staged_sum
from tvm_pulp.target.tvm_names import PrimFunc


def batch_norm_parameter_gradients(layer: str, work: str, shape: Shape) -> PrimFunc:
    """Make the kernel of the gradients of scale and offset, which the data gradient needs too.

    Returns
    -------
    PrimFunc
        Operator class ``"batch_norm_parameter_gradients"``: output gradient, data, mean, inverse standard
        deviation; scale gradient and offset gradient, ``[channels]``.
    """
    gradient, data = argument("output_gradient", shape), argument("data", shape)
    mean, inverse = argument("mean", (shape[1],)), argument("inverse_deviation", (shape[1],))

    def product(*indices: Scalar) -> Scalar:
        return gradient(*indices) * (data(*indices) - mean[indices[1]])

    offset = staged_sum(lambda *i: gradient(*i), shape, other_axes(shape), "offset_gradient")
    products = staged_sum(product, shape, other_axes(shape), "products")
    scale = te.compute((shape[1],), lambda c: products[c] * inverse[c], name="scale_gradient")
    return make_kernel(
        [gradient, data, mean, inverse],
        [scale, offset],
        operator="batch_norm_parameter_gradients",
        layer=layer,
        work=work,
    )


def batch_norm_gradient(layer: str, work: str, shape: Shape) -> PrimFunc:
    """Make the kernel of the data gradient.

    Returns
    -------
    PrimFunc
        Operator class ``"batch_norm_gradient"``: output gradient, data, mean, inverse standard deviation,
        scale, scale gradient, offset gradient; data gradient.
    """
    gradient, data = argument("output_gradient", shape), argument("data", shape)
    names = ("mean", "inverse_deviation", "scale", "scale_gradient", "offset_gradient")
    mean, inverse, scale, scale_gradient, offset_gradient = (argument(name, (shape[1],)) for name in names)
    share = number(1.0 / samples_per_channel(shape))
    # data gradient = factor * gradient + slope * (data - mean) + shift, with what depends on the channel only
    # computed once a channel
    factor = te.compute((shape[1],), lambda c: scale[c] * inverse[c], name="factor")
    slope = te.compute(
        (shape[1],), lambda c: factor[c] * inverse[c] * scale_gradient[c] * share, name="slope"
    )
    shift = te.compute((shape[1],), lambda c: factor[c] * offset_gradient[c] * share, name="shift")

    def compute(*indices: Scalar) -> Scalar:
        c = indices[1]
        return factor[c] * gradient(*indices) - (data(*indices) - mean[c]) * slope[c] - shift[c]

    result = te.compute(shape, compute, name="data_gradient")
    return make_kernel(
        [gradient, data, mean, inverse, scale, scale_gradient, offset_gradient],
        [result],
        operator="batch_norm_gradient",
        layer=layer,
        work=work,
    )
