"""Products of two tensors of bytes, element by element, and functions of one by a table for each channel."""

from __future__ import annotations

import numpy as np
from tvm import te

from tvm_pulp.passes.operators.kernel import Scalar, Shape, argument, broadcast_element, make_kernel
from tvm_pulp.passes.operators.requantize import Requantization
from tvm_pulp.target.tvm_names import PrimFunc, const, tirx


def quantized_multiply(
    layer: str,
    work: str,
    shapes: tuple[Shape, Shape],
    zero_points: tuple[int, int],
    multiplier: int,
    shift: int,
    requantization: Requantization,
) -> PrimFunc:
    """Make the kernel of ``(l - zl) * (r - zr)``, requantised.

    Parameters
    ----------
    layer, work
        See `make_kernel`.
    shapes
        Of left and right operand, of one rank; they broadcast.
    zero_points
        Of left and right operand.
    multiplier, shift
        Of the products.
    requantization
        From the products to bytes.

    Returns
    -------
    PrimFunc
        Operator class ``"quantized_multiply"``: left, right, result, all uint8.
    """
    tensors = [argument(name, shape, "uint8") for name, shape in zip(("left", "right"), shapes, strict=True)]

    def compute(*indices: Scalar) -> Scalar:
        left, right = (
            tirx.Cast("int32", broadcast_element(tensor, indices)) - const(zero_point, "int32")
            for tensor, zero_point in zip(tensors, zero_points, strict=True)
        )
        return requantization.apply_to(left * right, const(multiplier, "int32"), const(shift, "int32"))

    result = te.compute(np.broadcast_shapes(*shapes), compute, name="result")
    return make_kernel(tensors, [result], operator="quantized_multiply", layer=layer, work=work)


def channel_lookup(layer: str, work: str, shape: Shape) -> PrimFunc:
    """Make the kernel of ``tables[channel][q]``, the channels innermost.

    Returns
    -------
    PrimFunc
        Operator class ``"channel_lookup"``: data uint8, tables uint8 [channels, 256], result uint8.
    """
    data, tables = argument("data", shape, "uint8"), argument("tables", (shape[-1], 256), "uint8")

    def compute(*indices: Scalar) -> Scalar:
        q = tirx.Cast("int32", data(*indices))
        return tables(indices[-1], tirx.min(tirx.max(q, const(0, "int32")), const(255, "int32")))

    result = te.compute(shape, compute, name="result")
    return make_kernel([data, tables], [result], operator="channel_lookup", layer=layer, work=work)
