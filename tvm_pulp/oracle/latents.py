"""UINT-Q latents in NumPy: bit-exact reference of the cluster's kernels, see `passes.quantized.uint_q`."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tvm_pulp.passes.quantized.uint_q import UintQ, UintQRequantization, check_bits, packed_bytes
from tvm_pulp.schedules.microkernels.latent_layout import LatentLayout
from tvm_pulp.target.errors import UserError

Bytes = NDArray[np.uint8]


def quantize(values: NDArray[np.float32], latents: UintQ) -> Bytes:
    """Turn float32 values of any shape into integers, uint8 of the same shape.

    Raises
    ------
    UserError
        Where a value is NaN.
    """
    if np.isnan(values).any():
        raise UserError("the latents have NaN: the frozen layers' parameters or the samples are not finite")
    # a product of two float32 is exact in float64
    product = values.astype(np.float64) * latents.reciprocal
    # half more than one of at least half a step is exact, too; what is smaller stays below a step
    return np.clip(np.floor(product + 0.5) + latents.zero_point, 0, latents.largest).astype(np.uint8)


def dequantize(integers: Bytes, latents: UintQ) -> NDArray[np.float32]:
    """Turn integers into the float32 values that they stand for."""
    return ((integers.astype(np.float64) - latents.zero_point) * latents.scale).astype(np.float32)


def requantize(integers: NDArray[Any], requantization: UintQRequantization) -> Bytes:
    """Turn a frozen stage's integers, uint8 or int8, into UINT-Q integers, uint8 of the same shape."""
    r = requantization
    product = (integers.astype(np.int32) - r.source_zero_point) * np.int32(r.multiplier)
    rounded = (product + np.int32(1 << (r.shift - 1))) >> r.shift
    return np.clip(rounded + r.zero_point, 0, 2**r.bits - 1).astype(np.uint8)


def pack(integers: Bytes, bits: int) -> Bytes:
    """Pack integers densely.

    Parameters
    ----------
    integers
        ``[..., elements]``, each below ``2^bits``.
    bits
        Q, 1 to 8.

    Returns
    -------
    uint8 array
        ``[..., ceil(elements * bits / 8)]``.

    Raises
    ------
    UserError
        Where an integer needs more bits.
    """
    check_bits(bits)
    if integers.size and int(integers.max()) >= 2**bits:
        raise UserError(f"latents reach {int(integers.max())}, which needs more than {bits} bits")
    stream = np.unpackbits(integers[..., np.newaxis], axis=-1, bitorder="little")[..., :bits]
    return np.packbits(_reordered(stream.reshape(*integers.shape[:-1], -1), bits), axis=-1, bitorder="little")


def unpack(packed: Bytes, bits: int, elements: int) -> Bytes:
    """Unpack integers.

    Parameters
    ----------
    packed
        ``[..., ceil(elements * bits / 8)]``.
    bits
        Q, 1 to 8.
    elements
        Integers of a sample.

    Returns
    -------
    uint8 array
        ``[..., elements]``.

    Raises
    ------
    UserError
        Where the number of bytes is another.
    """
    check_bits(bits)
    if packed.shape[-1] != packed_bytes(elements, bits):
        raise UserError(
            f"{elements} latents of {bits} bits take {packed_bytes(elements, bits)} bytes, not "
            f"{packed.shape[-1]}"
        )
    lying = np.unpackbits(packed, axis=-1, bitorder="little")[..., : elements * bits]
    fields = _reordered(lying, bits, back=True).reshape(*packed.shape[:-1], elements, bits)
    return np.packbits(fields, axis=-1, bitorder="little")[..., 0]


def _reordered(stream: Bytes, bits: int, *, back: bool = False) -> Bytes:
    """Bring the bits of all integers, one integer after the other, into the order of the store, or back."""
    order = _bits_of_a_group(LatentLayout(bits))
    order = np.argsort(order) if back else order
    grouped = stream.shape[-1] // len(order) * len(order)
    groups = stream[..., :grouped].reshape(*stream.shape[:-1], -1, len(order))[..., order]
    return np.concatenate([groups.reshape(*stream.shape[:-1], -1), stream[..., grouped:]], axis=-1)


def _bits_of_a_group(layout: LatentLayout) -> NDArray[np.intp]:
    """Return for each bit of a packed group its place in the stream of the group's integers."""
    whole = layout.whole * layout.bits
    order = []
    for word, lane, bit in np.ndindex(layout.words, 4, 8):
        if bit < whole:
            value, of_value = layout.whole * word + bit // layout.bits, bit % layout.bits
        else:
            left, of_value = divmod(layout.rest * word + bit - whole, layout.bits)
            value = layout.spread[left]
        order.append((4 * value + lane) * layout.bits + of_value)
    return np.array(order)
