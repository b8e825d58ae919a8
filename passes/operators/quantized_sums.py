"""The end of kernels that add up products of bytes: a bias and a requantisation, or the sums themselves."""

from __future__ import annotations

from collections.abc import Sequence

from tvm import te

from tvm_pulp.passes.operators.kernel import Scalar, argument
from tvm_pulp.passes.operators.requantize import Requantization
from tvm_pulp.target.tvm_names import const


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
        With `Requantization.terms`, where they are requantised.
    result : Tensor
    details : dict of str to int
        Attributes of the kernel.
    """
    if requantization is None:
        return list(arguments), total, {"requantize": 0}
    terms = argument("requantization", (requantization.vectors, int(total.shape[-1])), "int32")

    def value(*place: Scalar) -> Scalar:
        channel = place[-1]
        shift = terms(2, channel) if requantization.own_shifts else const(requantization.shift, "int32")
        return requantization.apply_to(total(*place) + terms(0, channel), terms(1, channel), shift)

    result = te.compute(total.shape, value, name="result")
    return [*arguments, terms], result, {"requantize": 1, **requantization.attributes()}
