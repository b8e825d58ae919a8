"""Weights of 4 bits, two a byte: as kernels read them, and one that unpacks them for those that cannot."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from tvm import te

from tvm_pulp.passes.operators.kernel import Scalar, Shape, argument, make_kernel
from tvm_pulp.schedules.microkernels.unpack_weight import GROUP, packed_bytes
from tvm_pulp.target.tvm_names import PrimFunc, tirx


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


def weight_argument(shape: Shape, bits: int) -> tuple[te.Tensor, Callable[..., Scalar]]:
    """Make the argument of a kernel that is a weight.

    Parameters
    ----------
    shape
        Of the weight.
    bits
        8, or 4: packed as by `pack_halves`.

    Returns
    -------
    argument : Tensor
        Named ``weight``.
    element : callable
        From indices to an int8 expression.
    """
    if bits == 8:
        weight = argument("weight", shape, "int8")
        return weight, lambda *indices: weight(*indices)
    packed = argument("weight", (packed_bytes(math.prod(shape)),), "uint8")
    return packed, _element_of(packed, shape)


def _element_of(packed: te.Tensor, shape: Shape) -> Callable[..., Scalar]:
    """Return the function from indices to an element of a packed weight."""

    def element(*indices: Scalar) -> Scalar:
        at: Scalar = 0
        for index, extent in zip(indices, shape, strict=True):
            at = at * extent + index
        place = tirx.floormod(at, GROUP)
        byte = packed[tirx.floordiv(at, GROUP) * (GROUP // 2) + tirx.floormod(place, GROUP // 2)]
        half = (byte.astype("int32") >> (tirx.floordiv(place, GROUP // 2) * 4)) & 15
        return ((half ^ 8) - 8).astype("int8")  # extends the sign

    return element


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
    weight = te.compute(shape, _element_of(packed, shape), name="weight")
    return make_kernel(
        [packed],
        [weight],
        operator="unpack_weight",
        layer=layer,
        work=work,
        details={"pulp.unpack_weight": {"values": values}},
    )
