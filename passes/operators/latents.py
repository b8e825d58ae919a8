"""Kernels between latents and the replay store: quantise and pack, repack, unpack and dequantise.

Integers are UINT-Q's and lie densely, see `passes.quantized.uint_q`: the store is uint8, a row a sample.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from tvm import te

from tvm_pulp.passes.operators.kernel import Scalar, Shape, argument, make_kernel
from tvm_pulp.passes.quantized.uint_q import UintQ, UintQRequantization, packed_bytes
from tvm_pulp.schedules.microkernels.latent_layout import LatentLayout
from tvm_pulp.target.tvm_names import PrimFunc, const, tirx


def pack_latents(layer: str, work: str, shape: Shape, latents: UintQ, non_negative: bool = False) -> PrimFunc:
    """Make the kernel that quantises float32 latents and packs them.

    Parameters
    ----------
    layer, work
        See `make_kernel`.
    shape
        Of the latents, samples first.
    latents
        How to keep them.
    non_negative
        The latents come from a ReLU: nothing is to be clipped from below, which saves an instruction a value.

    Returns
    -------
    PrimFunc
        Operator class ``"pack_latents"``: data (float32, `shape`), packed (uint8, ``[samples, bytes]``).
    """
    data = argument("data", shape)

    def integer(*i: Scalar) -> Scalar:
        product = data(*i).astype("float64") * const(latents.reciprocal, "float64")
        return _clipped(tirx.floor(product + 0.5), latents.zero_point, latents.largest)

    details = {
        "zero_point": latents.zero_point,
        "reciprocal": latents.reciprocal,
        "non_negative": int(non_negative),
    }
    return _packing("pack_latents", layer, work, data, integer, latents.bits, details)


def repack_latents(
    layer: str, work: str, shape: Shape, requantization: UintQRequantization, dtype: str = "uint8"
) -> PrimFunc:
    """Make the kernel that takes a frozen stage's integers to the store, without floats.

    Parameters
    ----------
    layer, work
        See `make_kernel`.
    shape
        Of the latents, samples first.
    requantization
        The way from one scale to the other.
    dtype
        Of the frozen stage's tensor, ``"uint8"`` or ``"int8"``.

    Returns
    -------
    PrimFunc
        Operator class ``"repack_latents"``: data (`dtype`, `shape`), packed (uint8, ``[samples, bytes]``).
    """
    r, data = requantization, argument("data", shape, dtype)

    def integer(*i: Scalar) -> Scalar:
        product = (data(*i).astype("int32") - r.source_zero_point) * r.multiplier
        rounded = tirx.shift_right(product + (1 << (r.shift - 1)), const(r.shift, "int32"))
        return tirx.min(tirx.max(rounded + r.zero_point, 0), 2**r.bits - 1)

    details = {
        "multiplier": r.multiplier,
        "shift": r.shift,
        "source_zero_point": r.source_zero_point,
        "zero_point": r.zero_point,
    }
    return _packing("repack_latents", layer, work, data, integer, r.bits, details)


def unpack_latents(layer: str, work: str, shape: Shape, latents: UintQ) -> PrimFunc:
    """Make the kernel that unpacks latents and dequantises them.

    Parameters
    ----------
    layer, work
        See `make_kernel`.
    shape
        Of the latents, samples first.
    latents
        How they are kept.

    Returns
    -------
    PrimFunc
        Operator class ``"unpack_latents"``: packed (uint8, ``[samples, bytes]``), output (float32, `shape`).
    """
    samples, *_ = shape
    packed = argument("packed", (samples, packed_bytes(math.prod(shape[1:]), latents.bits)), "uint8")
    output = te.compute(shape, lambda n, *i: _value(packed, n, i, shape, latents), name="output")
    return make_kernel(
        [packed], [output], operator="unpack_latents", layer=layer, work=work, details=_details(latents)
    )


def gather_latents(layer: str, work: str, shape: Shape, capacity: int, latents: UintQ) -> PrimFunc:
    """Make the kernel that unpacks and dequantises chosen samples of a store: the replays of a mini-batch.

    Parameters
    ----------
    layer, work
        See `make_kernel`.
    shape
        Of the result, samples first.
    capacity
        Samples in the store.
    latents
        How they are kept.

    Returns
    -------
    PrimFunc
        Operator class ``"gather_latents"``: store (uint8, ``[capacity, bytes]``), indices (int32,
        ``[samples]``, each below the capacity), output (float32, `shape`).
    """
    store = argument("store", (capacity, packed_bytes(math.prod(shape[1:]), latents.bits)), "uint8")
    indices = argument("indices", (shape[0],), "int32")
    output = te.compute(shape, lambda n, *i: _value(store, indices[n], i, shape, latents), name="output")
    return make_kernel(
        [store, indices],
        [output],
        operator="gather_latents",
        layer=layer,
        work=work,
        details=_details(latents),
    )


def _details(latents: UintQ) -> dict[str, Any]:
    values = {"bits": latents.bits, "zero_point": latents.zero_point, "scale": latents.scale}
    return {"pulp.latents": values}


def _clipped(rounded: Scalar, zero_point: int, largest: int) -> Scalar:
    """Clip a float64 that is an integer, then convert it: what is clipped need not fit int32."""
    low, high = (const(float(bound - zero_point), "float64") for bound in (0, largest))
    return tirx.max(low, tirx.min(high, rounded)).astype("int32") + zero_point


def _packing(
    operator: str,
    layer: str,
    work: str,
    data: te.Tensor,
    integer: Callable[..., Scalar],
    bits: int,
    details: dict[str, Any],
) -> PrimFunc:
    """Make a kernel that packs `integer` of each element: a byte is made of all fields that reach into it."""
    shape = tuple(int(extent) for extent in data.shape)
    elements = math.prod(shape[1:])
    integers = te.compute(shape, integer, name="integers")

    layout = LatentLayout(bits)
    grouped = elements // layout.values  # whole groups; a stream follows

    def at(n: Scalar, number: Scalar) -> Scalar:
        return integers(n, *_unravel(number, shape[1:]))

    def byte(n: Scalar, k: Scalar) -> Scalar:
        in_stream = _stream_byte(
            at, n, k - grouped * 4 * layout.words, grouped * layout.values, elements, bits
        )
        if grouped == 0:
            return in_stream
        in_group = _group_byte(at, n, k, layout)
        if elements == grouped * layout.values:
            return in_group
        return tirx.if_then_else(k < grouped * 4 * layout.words, in_group, in_stream)

    packed = te.compute((shape[0], packed_bytes(elements, bits)), byte, name="packed")
    attributes = {"pulp.latents": {"bits": bits, **details}}
    return make_kernel([data], [packed], operator=operator, layer=layer, work=work, details=attributes)


def _group_byte(
    integer: Callable[[Scalar, Scalar], Scalar], n: Scalar, k: Scalar, layout: LatentLayout
) -> Scalar:
    """Byte k of a sample's groups, see `LatentLayout`."""
    group, place = tirx.floordiv(k, 4 * layout.words), tirx.floormod(k, 4 * layout.words)
    word = tirx.floordiv(place, 4)
    first = group * layout.values + tirx.floormod(place, 4)
    byte: Scalar = const(0, "int32")
    for i in range(layout.whole):
        value = integer(n, first + 4 * (layout.whole * word + i))
        byte = tirx.bitwise_or(byte, tirx.shift_left(value, const(layout.bits * i, "int32")))
    for i in range(layout.rest):
        bit = word * layout.rest + i
        value = integer(n, first + 4 * (layout.spread.start + tirx.floordiv(bit, layout.bits)))
        of_value = tirx.bitwise_and(tirx.shift_right(value, tirx.floormod(bit, layout.bits)), 1)
        at = const(layout.whole * layout.bits + i, "int32")
        byte = tirx.bitwise_or(byte, tirx.shift_left(of_value, at))
    return byte.astype("uint8")


def _stream_byte(
    integer: Callable[[Scalar, Scalar], Scalar], n: Scalar, k: Scalar, start: int, elements: int, bits: int
) -> Scalar:
    """Byte k of the values from `start` on, of all fields that reach into it."""
    first = tirx.floordiv(8 * k, bits)
    value: Scalar = const(0, "int32")
    for i in range(6 // bits + 2):
        # from the field's start, never negative: up by `bits`, down again
        up = (first + i) * bits - 8 * k + bits
        field = tirx.shift_right(tirx.shift_left(integer(n, start + first + i), up), const(bits, "int32"))
        inside = tirx.all(start + first + i < elements, up < 8 + bits)
        value = tirx.bitwise_or(value, tirx.if_then_else(inside, field, 0))
    return tirx.bitwise_and(value, 255).astype("uint8")


def _value(store: te.Tensor, row: Scalar, position: Sequence[Scalar], shape: Shape, q: UintQ) -> Scalar:
    """Value of an element of a sample."""
    at: Scalar = const(0, "int32")
    for index, extent in zip(position, shape[1:], strict=True):
        at = at * extent + index
    layout, elements = LatentLayout(q.bits), math.prod(shape[1:])
    grouped = elements // layout.values  # whole groups; a stream follows
    field = _stream_field(store, row, at - grouped * layout.values, grouped * 4 * layout.words, q)
    if grouped:
        in_group = _group_field(store, row, at, layout)
        is_all = elements == grouped * layout.values
        field = in_group if is_all else tirx.if_then_else(at < grouped * layout.values, in_group, field)
    return (field - q.zero_point).astype("float32") * const(q.scale, "float32")


def _group_field(store: te.Tensor, row: Scalar, at: Scalar, layout: LatentLayout) -> Scalar:
    """Integer of an element in a group, see `LatentLayout`: whole in a byte, or a bit in each of some."""
    group, place = tirx.floordiv(at, layout.values), tirx.floormod(at, layout.values)
    first = group * 4 * layout.words + tirx.floormod(place, 4)
    number = tirx.floordiv(place, 4)
    byte = store[row, first + 4 * tirx.floordiv(number, layout.whole)].astype("int32")
    start = tirx.floormod(number, layout.whole) * layout.bits
    whole = tirx.bitwise_and(tirx.shift_right(byte, start), 2**layout.bits - 1)
    if not layout.rest:
        return whole
    spread: Scalar = const(0, "int32")
    for i in range(layout.bits):
        bit = (number - layout.spread.start) * layout.bits + i
        byte = store[row, first + 4 * tirx.floordiv(bit, layout.rest)].astype("int32")
        of_byte = tirx.floormod(bit, layout.rest) + layout.whole * layout.bits
        value = tirx.bitwise_and(tirx.shift_right(byte, of_byte), 1)
        spread = tirx.bitwise_or(spread, tirx.shift_left(value, const(i, "int32")))
    return tirx.if_then_else(number < layout.spread.start, whole, spread)


def _stream_field(store: te.Tensor, row: Scalar, at: Scalar, start: int, q: UintQ) -> Scalar:
    """Integer of an element in a stream from byte `start` on: its field may lie in two bytes."""
    first, bit = tirx.floordiv(at * q.bits, 8) + start, tirx.floormod(at * q.bits, 8)
    word = store[row, first].astype("int32")
    if 8 % q.bits:
        following = tirx.if_then_else(bit + q.bits > 8, store[row, first + 1].astype("int32"), 0)
        word = tirx.bitwise_or(word, tirx.shift_left(following, const(8, "int32")))
    return tirx.bitwise_and(tirx.shift_right(word, bit), q.largest)


def _unravel(at: Scalar, shape: Sequence[int]) -> list[Scalar]:
    """Index of the element at a row-major position."""
    indices: list[Scalar] = []
    for extent in reversed(shape):
        indices.insert(0, tirx.floormod(at, extent) if len(indices) < len(shape) - 1 else at)
        at = tirx.floordiv(at, extent)
    return indices
