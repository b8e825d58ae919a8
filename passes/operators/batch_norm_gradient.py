"""Gradients of batch normalisation in training mode: sums over the batch, then multiply-adds an element.

With x̂ = (x - mean) / σ over M samples a channel and the gradient g of the normalised value (Ioffe and
Szegedy, 2015, section 3): offset's gradient = Σ g; scale's = Σ g·x̂; data's =
scale/σ · (g - Σg/M - x̂·Σ(g·x̂)/M). A bias that is added to the data before has the gradient 0, as the mean
takes it away again.
"""

from __future__ import annotations

from tvm import te

from tvm_pulp.passes.operators.batch_norm import (
    Activation,
    other_axes,
    samples_per_channel,
    training_details,
)
from tvm_pulp.passes.operators.kernel import Scalar, Shape, argument, make_kernel, number
from tvm_pulp.passes.operators.reduction import staged_sum
from tvm_pulp.target.tvm_names import PrimFunc


def batch_norm_gradient(
    layer: str, work: str, shape: Shape, activation: Activation, biased: bool, data_gradient: bool
) -> PrimFunc:
    """Make the kernel of all gradients of a batch norm with its activation.

    Where the activation lets the gradient through is computed again from the data.

    Parameters
    ----------
    layer, work
        See `make_kernel`.
    shape
        Of the data.
    activation
        As in the forward pass.
    biased
        Whether to give the gradient of a bias that is added to the data.
    data_gradient
        Whether to give the data's gradient.

    Returns
    -------
    PrimFunc
        Operator class ``"batch_norm_gradient"``: output gradient, data, mean, inverse standard deviation,
        scale, offset; data gradient if it is wanted, scale gradient, offset gradient and, if biased, bias
        gradient.
    """
    gradient, data = argument("output_gradient", shape), argument("data", shape)
    names = ("mean", "inverse_deviation", "scale", "offset")
    mean, inverse, scale, offset = (argument(name, (shape[1],)) for name in names)
    share = number(1.0 / samples_per_channel(shape))
    factor = te.compute((shape[1],), lambda c: inverse[c] * scale[c], name="factor")
    shift = te.compute((shape[1],), lambda c: offset[c] - mean[c] * factor[c], name="shift")

    def opened(*indices: Scalar) -> Scalar:
        c = indices[1]
        return activation.open(data(*indices) * factor[c] + shift[c], gradient(*indices))

    def product(*indices: Scalar) -> Scalar:
        return opened(*indices) * (data(*indices) - mean[indices[1]])

    by_offset = staged_sum(opened, shape, other_axes(shape), "offset_gradient")
    products = staged_sum(product, shape, other_axes(shape), "products")
    by_scale = te.compute((shape[1],), lambda c: products[c] * inverse[c], name="scale_gradient")
    # data gradient = factor * gradient + slope * (data - mean) + move, with what depends on the channel only
    # computed once a channel
    slope = te.compute((shape[1],), lambda c: -(factor[c] * inverse[c] * by_scale[c] * share), name="slope")
    move = te.compute((shape[1],), lambda c: -(factor[c] * by_offset[c] * share), name="move")

    def compute(*indices: Scalar) -> Scalar:
        c = indices[1]
        return factor[c] * opened(*indices) + ((data(*indices) - mean[c]) * slope[c] + move[c])

    outputs = [te.compute(shape, compute, name="data_gradient")] if data_gradient else []
    outputs += [by_scale, by_offset]
    if biased:
        outputs.append(te.compute((shape[1],), lambda c: number(0.0), name="bias_gradient"))
    return make_kernel(
        [gradient, data, mean, inverse, scale, offset],
        outputs,
        operator="batch_norm_gradient",
        layer=layer,
        work=work,
        details=training_details(activation, backward=True),
    )
