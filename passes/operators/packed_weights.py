"""Weights of 4 bits, two a byte, and the kernel that unpacks them to the bytes that layers read."""

from __future__ import annotations

import math

import numpy as np
from tvm import te

from tvm_pulp.passes.operators.kernel import Scalar, Shape, argument, make_kernel
from tvm_pulp.target.tvm_names import PrimFunc, tirx

GROUP = 8
"""Values in a word. Byte i has value i in its low half and value 4 + i in the high one: so each half of the
bytes unpacks to a word of four values in order."""


def packed_bytes(values: int) -> int:
    """Return the bytes of some packed values: whole words."""
    return -(-values // GROUP) * GROUP // 2


def pack_halves(weight: np.ndarray) -> np.ndarray:
    """Pack integers from -8 to 7 two a byte.

    Parameters
    ----------
    weight : ndarray of int8
        In any shape; its values are taken in row-major order.

    Returns
    -------
    ndarray of uint8, ``[packed_bytes(values)]``
        With zeros behind the last value, see `GROUP`.

    Raises
    ------
    ValueError
        If a value does not fit 4 bits.
    """
    if weight.size and (weight.min() < -8 or weight.max() > 7):
        raise ValueError(f"weights from {weight.min()} to {weight.max()} do not fit 4 bits")
    groups = np.zeros((packed_bytes(weight.size) * 2 // GROUP, 2, GROUP // 2), np.uint8)
    groups.reshape(-1)[: weight.size] = weight.reshape(-1).view(np.uint8) & 15
    return (groups[:, 0] | groups[:, 1] << 4).reshape(-1)


def unpack_halves(layer: str, work: str, shape: Shape) -> PrimFunc:
    """Make the kernel that unpacks a weight.

    Parameters
    ----------
    layer, work
        See `make_kernel`.
    shape
        Of the weight.

    Returns
    -------
    PrimFunc
        Operator class ``"unpack_weight"``: packed uint8 as by `pack_halves`, weight int8 of the shape.
        ``"pulp.unpack_weight"`` has the number of values.
    """
    values = math.prod(shape)
    packed = argument("packed", (packed_bytes(values),), "uint8")

    def value(*indices: Scalar) -> Scalar:
        at: Scalar = 0
        for index, extent in zip(indices, shape, strict=True):
            at = at * extent + index
        place = tirx.floormod(at, GROUP)
        byte = packed[tirx.floordiv(at, GROUP) * (GROUP // 2) + tirx.floormod(place, GROUP // 2)]
        half = (byte.astype("int32") >> (tirx.floordiv(place, GROUP // 2) * 4)) & 15
        return ((half ^ 8) - 8).astype("int8")  # extends the sign

    weight = te.compute(shape, value, name="weight")
    return make_kernel(
        [packed],
        [weight],
        operator="unpack_weight",
        layer=layer,
        work=work,
        details={"pulp.unpack_weight": {"values": values}},
    )
