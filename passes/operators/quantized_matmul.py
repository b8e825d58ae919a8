"""Matrix products of bytes, quantised linear layers and 1x1 convolutions: mostly ``data · weightᵀ``."""

from __future__ import annotations

from tvm import te

from tvm_pulp.passes.operators.kernel import Scalar, argument, make_kernel
from tvm_pulp.passes.operators.packed_weights import weight_argument
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
    *,
    transpose_data: bool = False,
    transpose_weight: bool = True,
    weight_bits: int = 8,
    batch: int = 1,
) -> PrimFunc:
    """Make the kernel of a product of bytes.

    The data's zero point is the caller's: it belongs in the bias, as minus itself times the sum of a
    channel's weights.

    Parameters
    ----------
    layer, work
        See `make_kernel`.
    m, n, k
        ``data`` is [m, k] (pixels by channels, say), ``weight`` int8 [n, k], as layers store it, the result
        [m, n].
    requantization
        From the sums to bytes; None for the sums themselves, int32.
    data_dtype
        ``"uint8"`` or ``"int8"``.
    transpose_data, transpose_weight
        Whether ``data`` is [k, m], and ``weight`` [n, k] rather than [k, n].
    weight_bits
        8, or 4 for a weight of `pack_halves`.
    batch
        Products of as many matrices each: data, weight and result have one axis more in front, where it is
        not 1. The requantisation is the same for all.

    Returns
    -------
    PrimFunc
        Operator class ``"quantized_matmul"``: data, weight, requantization int32 [vectors, n] (see
        `Requantization.terms`), result uint8; without requantisation data, weight, result int32.
    """
    lead = (batch,) if batch > 1 else ()
    data = argument("data", (*lead, k, m) if transpose_data else (*lead, m, k), data_dtype)
    weight_shape = (*lead, n, k) if transpose_weight else (*lead, k, n)
    weight, weight_element = weight_argument(weight_shape, weight_bits)
    term = te.reduce_axis((0, k), name="k")

    def product(*place: Scalar) -> Scalar:
        *matrix, i, j = place
        factors = (
            data(*matrix, term, i) if transpose_data else data(*matrix, i, term),
            weight_element(*matrix, j, term) if transpose_weight else weight_element(*matrix, term, j),
        )
        return te.sum(tirx.Cast("int32", factors[0]) * tirx.Cast("int32", factors[1]), axis=[term])

    total = te.compute((*lead, m, n), product, name="total")
    arguments, result, details = with_requantization([data, weight], total, requantization)
    details |= {"transpose_data": int(transpose_data), "transpose_weight": int(transpose_weight)}
    details |= {"weight_bits": weight_bits, "batch": batch}
    return make_kernel(
        arguments,
        [result],
        operator="quantized_matmul",
        layer=layer,
        work=work,
        macs=batch * m * n * k,
        details={"pulp.quantized_matmul": {"m": m, "n": n, "k": k, **details}},
    )
