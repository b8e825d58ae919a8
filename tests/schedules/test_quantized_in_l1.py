"""Quantised kernels on tensors in L1: every bit, no transfer, and image tiles where there is little room."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.schedules import test_quantized_conv2d, test_quantized_depthwise, test_quantized_matmul
from tvm_pulp.measure import measure_kernel
from tvm_pulp.passes.operators.quantized_conv2d import QuantizedConv2d
from tvm_pulp.schedules import lower
from tvm_pulp.schedules.resident import resident_bytes
from tvm_pulp.schedules.tile_loop import tile_count
from tvm_pulp.target import Features
from tvm_pulp.target.print_kernel import print_kernel
from tvm_pulp.target.tvm_names import PrimFunc

Workload = tuple[PrimFunc, list[np.ndarray], np.ndarray]
SAME = (1, 1, 1, 1)


def conv2d(shape: tuple[int, int, int, int], outputs: int, *geometry: object, form: str = "wide") -> Workload:
    return test_quantized_conv2d.workload(shape, outputs, QuantizedConv2d(*geometry, zero_point=9), form)


def depthwise(shape: tuple[int, int, int, int], *geometry: object, form: str = "halfword") -> Workload:
    return test_quantized_depthwise.workload(shape, QuantizedConv2d(*geometry, zero_point=9), form)


WORKLOADS = {
    "matmul": test_quantized_matmul.workload((37, 24, 20), "halfword"),
    "matmul, odd channels": test_quantized_matmul.workload((37, 10, 20), "short"),
    "matmul, own shifts": test_quantized_matmul.workload((16, 7, 12), "own shifts"),
    "matmul, transposed": test_quantized_matmul.workload((36, 24, 20), "wide", layout="tn"),
    "matmul, sums": test_quantized_matmul.workload((9, 6, 16), "sums"),
    "conv2d": conv2d((2, 9, 8, 8), 12, (3, 3), (1, 1), SAME, form="short"),
    "conv2d, windows in registers": conv2d((2, 9, 7, 3), 8, (3, 3), (2, 2), (0, 1, 1, 0), form="short"),
    "conv2d, part words": conv2d((1, 9, 7, 3), 5, (3, 3), (2, 2), (0, 1, 1, 0)),
    "conv2d, strides without a window": conv2d((1, 8, 10, 8), 16, (1, 1), (2, 2)),
    "conv2d, all is padding": conv2d((1, 3, 3, 4), 4, (1, 1), (4, 4), (5, 5, 5, 5)),
    "conv2d, sums": conv2d((1, 6, 6, 4), 3, (3, 3), form="sums"),
    "depthwise": depthwise((2, 9, 8, 8), (3, 3), (1, 1), SAME),
    "depthwise, strides": depthwise((1, 12, 10, 16), (3, 3), (2, 2), (0, 0, 1, 1)),
    "depthwise, own shifts": depthwise((1, 7, 9, 12), (3, 3), (1, 1), SAME, form="own shifts"),
}


def check_in_l1(
    workload: Workload, chip: Features, directory: Path, room: Features | None = None
) -> PrimFunc:
    """Run it on tensors in L1 with the simulator's checks on; return the function, lowered for `room`."""
    function, arrays, expected = workload
    names = [str(parameter.name) for parameter in function.params]
    lowered = lower(function, room or chip, names)
    assert "dma_" not in print_kernel(lowered, "kernel")
    assert lowered.attrs["pulp.schedule"] == lower(function, chip).attrs["pulp.schedule"]
    before = [array.copy() for array in arrays[:-1]]
    measure_kernel(lowered, arrays, chip, directory, resident=names)
    np.testing.assert_array_equal(arrays[-1], expected)
    for array, copy in zip(arrays, before, strict=False):
        np.testing.assert_array_equal(array, copy)
    return lowered


@pytest.mark.parametrize("case", WORKLOADS)
def test_every_bit_without_a_transfer(case: str, chip: Features, tmp_path: Path) -> None:
    check_in_l1(WORKLOADS[case], chip, tmp_path)


@pytest.mark.parametrize(
    "workload",
    [
        conv2d((1, 24, 24, 8), 8, (3, 3), (1, 1), SAME),
        conv2d((2, 20, 20, 8), 8, (3, 3), (1, 1), SAME),
        depthwise((1, 24, 24, 8), (3, 3), (1, 1), SAME),
        depthwise((2, 20, 20, 8), (3, 3), (1, 1), SAME),
    ],
    ids=["conv2d", "conv2d, images", "depthwise", "depthwise, images"],
)
def test_image_tiles_beside_the_tensors(workload: Workload, chip: Features, tmp_path: Path) -> None:
    """The padded or rearranged image does not fit, a tile of rows of it does."""
    function = workload[0]
    tensors = resident_bytes(function, range(len(function.params)))
    small = replace(chip, l1_bytes=chip.l1_bytes - chip.kernel_l1_bytes + tensors + 3000)
    lowered = check_in_l1(workload, chip, tmp_path, small)
    assert tile_count(lowered.body) > len(workload[1][0])
    assert int(lowered.attrs["pulp.l1_bytes"]) <= 3000


def test_only_all_tensors_together(chip: Features) -> None:
    """The image alone in L1 is left to the generic lowering."""
    function, _, _ = WORKLOADS["conv2d"]
    assert lower(function, chip, ["data"]).attrs["pulp.schedule"] == "generic"


def test_no_byte_behind_an_image_is_written(chip: Features) -> None:
    """The rearrangement of 6 channels reaches behind the last pixel: not where the tensor itself lies."""
    function, _, _ = depthwise((1, 5, 5, 6), (3, 3), (1, 1), SAME)
    names = [str(parameter.name) for parameter in function.params]
    assert lower(function, chip).attrs["pulp.schedule"] == "quantized_depthwise"
    assert lower(function, chip, names).attrs["pulp.schedule"] == "generic"
