"""Weights of 4 bits, packed two a byte: NumPy's packing, and the kernel that unpacks it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.schedules.host_harness import HostKernel, run_reference
from tvm_pulp.passes.operators.packed_weights import pack_halves, packed_bytes, unpack_halves
from tvm_pulp.schedules.generic import lower_generic
from tvm_pulp.target import features, parse

SHAPES = [(1,), (7,), (8,), (3, 5), (4, 3, 12), (5, 2, 3, 4)]


def test_order_of_the_halves() -> None:
    values = np.array([1, 2, 3, 4, -1, -2, -3, -8, 7], np.int8)
    assert pack_halves(values).tolist() == [0xF1, 0xE2, 0xD3, 0x84, 0x07, 0, 0, 0]


@pytest.mark.parametrize("shape", SHAPES)
def test_unpacking_gives_back_what_was_packed(shape: tuple[int, ...], tmp_path: Path) -> None:
    weight = np.random.default_rng(0).integers(-8, 8, shape).astype(np.int8)
    packed = pack_halves(weight)
    assert packed.shape == (packed_bytes(weight.size),) and len(packed) <= weight.size / 2 + 3.5
    function = unpack_halves("layer", "unpack_weight", shape)
    assert (run_reference(function, [packed, np.zeros(shape, np.int8)])[-1] == weight).all()
    found = np.zeros(shape, np.int8)
    HostKernel(lower_generic(function, features(parse("pulp"))), tmp_path)([packed, found])
    np.testing.assert_array_equal(found, weight)


@pytest.mark.parametrize("value", [-9, 8])
def test_values_beyond_4_bits(value: int) -> None:
    with pytest.raises(ValueError, match="do not fit 4 bits"):
        pack_halves(np.array([0, value], np.int8))
