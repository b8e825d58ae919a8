"""The template that unpacks weights of 4 bits: bit by bit against NumPy, in L2 and in L1, and its speed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.schedules.host_harness import HostKernel, run_with_sanitizer
from tvm_pulp.measure import measure_kernel
from tvm_pulp.passes.operators.packed_weights import pack_halves, unpack_halves
from tvm_pulp.schedules.base import lower
from tvm_pulp.schedules.unpack_weight import UnpackWeightTemplate
from tvm_pulp.target import Features
from tvm_pulp.target.tvm_names import PrimFunc


def workload(shape: tuple[int, ...]) -> tuple[PrimFunc, list[np.ndarray], np.ndarray]:
    """Kernel, arguments and expected result."""
    weight = np.random.default_rng(0).integers(-8, 8, shape).astype(np.int8)
    function = unpack_halves("layer", "unpack_weight", shape)
    return function, [pack_halves(weight), np.full(shape, 77, np.int8)], weight


@pytest.mark.parametrize("shape", [(1,), (15,), (37, 9), (2, 3, 16), (129, 8), (1001, 3)])
def test_every_bit(shape: tuple[int, ...], chip: Features, tmp_path: Path) -> None:
    function, arguments, expected = workload(shape)
    template = UnpackWeightTemplate()
    found = template.match(function)
    assert found is not None
    for tile in template.knobs(found, chip)["tile_values"]:
        arguments[1][...] = 77
        built = template.build(found, {"tile_values": tile}, chip)
        assert int(built.attrs["pulp.l1_bytes"]) == template.l1_bytes(found, {"tile_values": tile})
        HostKernel(built, tmp_path)(arguments)
        np.testing.assert_array_equal(arguments[1], expected)
    for resident in ((), ("packed", "weight")):
        arguments[1][...] = 77
        lowered = lower(function, chip, resident)
        assert str(lowered.attrs["pulp.schedule"]) == "unpack_weight"
        measure_kernel(lowered, arguments, chip, tmp_path / f"cluster{len(resident)}", resident=resident)
        np.testing.assert_array_equal(arguments[1], expected)


def test_sanitizer(chip: Features, tmp_path: Path) -> None:
    function, _, _ = workload((301, 3))
    template = UnpackWeightTemplate()
    built = template.build(template.match(function), {"tile_values": 512}, chip)
    run_with_sanitizer(built, tmp_path, "address,undefined")


def test_speed(chip: Features, tmp_path: Path) -> None:
    function, arguments, expected = workload((256, 256))
    cycles = measure_kernel(lower(function, chip), arguments, chip, tmp_path).cycles[-1]
    np.testing.assert_array_equal(arguments[1], expected)
    assert expected.size / cycles >= 6
