"""The end of kernels that add up products of bytes: a bias and a requantisation, or the sums themselves."""

from __future__ import annotations

from collections.abc import Sequence

from tvm import te

from tvm_pulp.passes.operators.kernel import argument
from tvm_pulp.passes.operators.requantize import Requantization


def with_requantization(
    arguments: Sequence[te.Tensor], total: te.Tensor, requantization: Requantization | None
) -> tuple[list[te.Tensor], te.Tensor, dict[str, int]]:
    """Add a bias to int32 sums, whose last axis is the channel, and requantise them.

    Parameters
    ----------
    arguments
        What the sums are computed from.
    total
        The sums.
    requantization
        None leaves them as they are.

    Returns
    -------
    arguments : list of Tensor
        With bias and multiplier, where they are requantised.
    result : Tensor
    details : dict of str to int
        Attributes of the kernel.
    """
    if requantization is None:
        return list(arguments), total, {"requantize": 0}
    channels = (int(total.shape[-1]),)
    bias = argument("bias", channels, "int32")
    multiplier = argument("multiplier", requantization.multiplier_shape(channels), "int32")
    result = te.compute(
        total.shape,
        lambda *place: requantization.apply(total(*place) + bias(place[-1]), multiplier, place[-1]),
        name="result",
    )
    return [*arguments, bias, multiplier], result, {"requantize": 1, **requantization.attributes()}
