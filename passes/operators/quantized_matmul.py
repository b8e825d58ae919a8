"""Matrix products of bytes, quantised linear layers and 1x1 convolutions: ``data · weightᵀ``."""

from __future__ import annotations

from tvm import te

from tvm_pulp.passes.operators.kernel import Scalar, argument, make_kernel
from tvm_pulp.passes.operators.quantized_sums import with_requantization
from tvm_pulp.passes.operators.requantize import Requantization
from tvm_pulp.target.tvm_names import PrimFunc, tirx


def quantized_matmul(
    layer: str,
    work: str,
    m: int,
    n: int,
    k: int,
    requantization: Requantization | None,
    data_dtype: str = "uint8",
) -> PrimFunc:
    """Make the kernel of a product of bytes.

    The data's zero point is the caller's: it belongs in the bias, as minus itself times the sum of a
    channel's weights.

    Parameters
    ----------
    layer, work
        See `make_kernel`.
    m, n, k
        ``data`` is [m, k] (pixels by channels, say), ``weight`` int8 [n, k], the result [m, n].
    requantization
        From the sums to bytes; None for the sums themselves, int32.
    data_dtype
        ``"uint8"`` or ``"int8"``.

    Returns
    -------
    PrimFunc
        Operator class ``"quantized_matmul"``: data, weight, bias int32 [n], multiplier int32 [n], result
        uint8; without requantisation data, weight, result int32.
    """
    data, weight = argument("data", (m, k), data_dtype), argument("weight", (n, k), "int8")
    term = te.reduce_axis((0, k), name="k")

    def product(i: Scalar, j: Scalar) -> Scalar:
        return te.sum(tirx.Cast("int32", data(i, term)) * tirx.Cast("int32", weight(j, term)), axis=[term])

    total = te.compute((m, n), product, name="total")
    arguments, result, details = with_requantization([data, weight], total, requantization)
    return make_kernel(
        arguments,
        [result],
        operator="quantized_matmul",
        layer=layer,
        work=work,
        macs=m * n * k,
        details={"pulp.quantized_matmul": {"m": m, "n": n, "k": k, **details}},
    )
