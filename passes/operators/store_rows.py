"""Rows into chosen places of a store: latents and labels of new samples, to be replayed later."""

from __future__ import annotations

from tvm import te

from tvm_pulp.passes.operators.kernel import Scalar, Shape, argument, make_kernel
from tvm_pulp.target.tvm_names import PrimFunc, const, tirx


def store_rows(layer: str, work: str, shape: Shape, capacity: int, dtype: str) -> PrimFunc:
    """Make the kernel that overwrites rows of a store, in place.

    Parameters
    ----------
    layer, work
        See `make_kernel`.
    shape
        Of the new rows, ``[rows, ...]``.
    capacity
        Rows of the store.
    dtype
        Of an element.

    Returns
    -------
    PrimFunc
        Operator class ``"store_rows"``: rows (`shape`), slots (int32, ``[rows]``: where each goes, all
        different and below the capacity), store (``[capacity, ...]``, overwritten).
    """
    count, *inner = shape
    rows, slots = argument("rows", shape, dtype), argument("slots", (count,), "int32")
    store = argument("store", (capacity, *inner), dtype)
    row = te.reduce_axis((0, count), name="row")
    nowhere = const(-1, "int32")
    source = te.compute(
        (capacity,),
        lambda slot: te.max(tirx.Select(slots[row] == slot, row, nowhere), axis=row),
        name="source",
    )

    def compute(slot: Scalar, *i: Scalar) -> Scalar:
        return tirx.if_then_else(source[slot] >= 0, rows(source[slot], *i), store(slot, *i))

    output = te.compute((capacity, *inner), compute, name="output")
    return make_kernel(
        [rows, slots, store], [output], operator="store_rows", layer=layer, work=work, in_place={0: 2}
    )
