"""Latents to and from the replay store: packed, repacked from bytes, unpacked, chosen and unpacked."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from tvm_pulp.measure.specification import SOURCE, Key, Specification
from tvm_pulp.measure.workloads.workload import FLOATS, Cost, Kind, Workload
from tvm_pulp.oracle import latents as reference
from tvm_pulp.passes.operators.latents import gather_latents, pack_latents, repack_latents, unpack_latents
from tvm_pulp.passes.quantized.uint_q import UintQ, UintQRequantization

_LARGEST = 0.75
"""Of the calibrated range; `random_arguments` draws floats on both sides of it."""

_LARGEST_BYTE = 3
"""Of the bytes that `random_arguments` draws."""


def _shape(s: Specification) -> tuple[int, int]:
    return 1, s.number("elements")


def _latents(s: Specification) -> UintQ:
    return UintQ.from_range(0.0, _LARGEST, int(s.word("bits")))


def _cost(s: Specification, instructions: int, float_operations: int) -> Cost:
    """Return the cost of instructions for each value, loads and stores of whole words of them aside."""
    elements = s.number("elements")
    return Cost(float_operations=float_operations * elements, instructions=instructions * elements)


def _make_pack(s: Specification) -> Workload:
    latents = _latents(s)
    rectified = s.word("relu") == "yes"
    function = pack_latents("kernel", s.kind, _shape(s), latents, rectified)

    def expected(arrays: list[np.ndarray]) -> Mapping[int, np.ndarray]:
        packed = reference.pack(reference.quantize(arrays[0], latents), latents.bits)
        return {1: packed.astype(np.float64)}

    # a load, the rounding product, a comparison with either end of the range
    return Workload(s, function, expected, _cost(s, 3 if rectified else 4, 1), tolerance=0.0)


def _make_repack(s: Specification) -> Workload:
    latents = _latents(s)
    way = UintQRequantization.of(_LARGEST / _LARGEST_BYTE, 0, latents)
    function = repack_latents("kernel", s.kind, _shape(s), way)

    def expected(arrays: list[np.ndarray]) -> Mapping[int, np.ndarray]:
        packed = reference.pack(reference.requantize(arrays[0], way), latents.bits)
        return {1: packed.astype(np.float64)}

    # a load and a look-up
    return Workload(s, function, expected, _cost(s, 2, 0), tolerance=0.0)


def _make_unpack(s: Specification) -> Workload:
    latents = _latents(s)
    function = unpack_latents("kernel", s.kind, _shape(s), latents)

    def expected(arrays: list[np.ndarray]) -> Mapping[int, np.ndarray]:
        integers = reference.unpack(arrays[0], latents.bits, s.number("elements"))
        return {1: reference.dequantize(integers, latents).astype(np.float64)}

    # the field, a product, a store
    return Workload(s, function, expected, _cost(s, 3, 1), tolerance=0.0)


def _make_gather(s: Specification) -> Workload:
    latents, samples, elements = _latents(s), s.number("samples"), s.number("elements")
    function = gather_latents("kernel", s.kind, (samples, elements), samples, latents)

    def expected(arrays: list[np.ndarray]) -> Mapping[int, np.ndarray]:
        integers = reference.unpack(arrays[0][arrays[1]], latents.bits, elements)
        return {2: reference.dequantize(integers, latents).astype(np.float64)}

    # as to unpack
    cost = Cost(float_operations=samples * elements, instructions=3 * samples * elements)
    return Workload(s, function, expected, cost, tolerance=0.0)


_BITS = Key("bits", "8", tuple("87654321"))
_VALUES = Key(FLOATS, "l2", ("l1", "l2"))
"""Where the float32 values are; the packed ones come from L2, or leave to it."""

KINDS = {
    "latents_pack": Kind(
        [Key("elements"), _BITS, Key("relu", "yes", ("no", "yes")), _VALUES, SOURCE], _make_pack
    ),
    "latents_repack": Kind([Key("elements"), _BITS, SOURCE], _make_repack),
    "latents_unpack": Kind([Key("elements"), _BITS, _VALUES, SOURCE], _make_unpack),
    "latents_gather": Kind(
        [Key("elements"), Key("samples", 1), _BITS, _VALUES, Key("source", "l2", ("l2",))], _make_gather
    ),
}
