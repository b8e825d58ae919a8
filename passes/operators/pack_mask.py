"""Kernels of masks of one bit an element, see `schedules.bit_mask` for the order of the bits."""

from __future__ import annotations

from tvm import te

from tvm_pulp.passes.operators.kernel import Scalar, Shape, argument, make_kernel, number
from tvm_pulp.schedules.bit_mask import WORD_BITS, bit_is_set, flat_element, mask_shape, word_bit
from tvm_pulp.target.errors import UserError
from tvm_pulp.target.tvm_names import PrimFunc, Select, const, tirx


def pack_mask(layer: str, work: str, shape: Shape, limit: float | None = None) -> PrimFunc:
    """Make the kernel of ``mask = 0 < x`` or ``0 < x < limit``, one bit an element.

    Parameters
    ----------
    layer, work
        See `make_kernel`.
    shape
        Of the mask, ``[groups, 4]``.
    limit
        Above 0; None for none.

    Returns
    -------
    PrimFunc
        Operator class ``"pack_mask"``: x, float32 ``[groups, 32, 4]``, and the mask, uint32 ``[groups, 4]``.
    """
    groups, lanes = shape
    x = argument("x", (groups, WORD_BITS, lanes))
    bit = te.reduce_axis((0, WORD_BITS), "bit")

    def inside(value: Scalar) -> Scalar:
        above = value > number(0.0)
        return above if limit is None else tirx.all(above, value < number(limit))

    mask = te.compute(
        shape,
        lambda group, lane: te.sum(
            Select(inside(x(group, bit, lane)), word_bit(bit.var), const(0, "uint32")), axis=bit
        ),
        name="mask",
    )
    return make_kernel([x], [mask], operator="pack_mask", layer=layer, work=work)


def unpack_mask(layer: str, work: str, shape: Shape, inside: float) -> PrimFunc:
    """Make the kernel of ``y = inside`` where the mask's bit is set, else 0.

    Parameters
    ----------
    layer, work
        See `make_kernel`.
    shape
        Of y.
    inside
        A value in the range that the mask was made for.

    Returns
    -------
    PrimFunc
        Operator class ``"elementwise"``: the mask, uint32 ``[groups, 4]``, and y, float32.

    Raises
    ------
    UserError
        If y's elements are not a multiple of 128.
    """
    words = mask_shape(shape)
    if words is None:
        raise UserError(f"a mask of shape {shape} has no whole groups: keep the tensor itself")
    mask = argument("mask", words, "uint32")
    y = te.compute(
        shape,
        lambda *indices: Select(
            bit_is_set(mask, flat_element(list(indices), list(shape))), number(inside), number(0.0)
        ),
        name="y",
    )
    return make_kernel([mask], [y], operator="elementwise", layer=layer, work=work)
