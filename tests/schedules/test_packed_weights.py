"""Weights of 4 bits that kernels unpack tile by tile: every bit, in L2 and in L1; what is left to others."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from tests.schedules import test_quantized_conv2d, test_quantized_depthwise, test_quantized_matmul
from tests.schedules.host_harness import HostKernel, run_with_sanitizer
from tvm_pulp.measure import measure_kernel
from tvm_pulp.passes.operators.quantized_conv2d import QuantizedConv2d
from tvm_pulp.schedules import lower
from tvm_pulp.schedules.base import Template
from tvm_pulp.schedules.generic import lower_generic
from tvm_pulp.schedules.quantized_conv2d import QuantizedConv2dTemplate
from tvm_pulp.schedules.quantized_depthwise import QuantizedDepthwiseTemplate
from tvm_pulp.schedules.quantized_matmul import QuantizedMatmulTemplate
from tvm_pulp.target import Features
from tvm_pulp.target.print_kernel import print_kernel
from tvm_pulp.target.tvm_names import PrimFunc

Workload = tuple[PrimFunc, list[np.ndarray], np.ndarray]
Shape = tuple[int, int, int, int]
SAME = (1, 1, 1, 1)


def matmul(m: int, n: int, k: int, form: str = "halfword", layout: str = "nt") -> Workload:
    return test_quantized_matmul.workload((m, n, k), form, layout=layout, bits=4)


def conv2d(shape: Shape, outputs: int, form: str = "short", stride: int = 1) -> Workload:
    g = QuantizedConv2d((3, 3), (stride, stride), SAME, zero_point=9)
    return test_quantized_conv2d.workload(shape, outputs, g, form, bits=4)


def depthwise(shape: Shape, form: str = "halfword", stride: int = 1) -> Workload:
    g = QuantizedConv2d((3, 3), (stride, stride), SAME, zero_point=9)
    return test_quantized_depthwise.workload(shape, g, form, bits=4)


CASES: dict[str, tuple[Template, Workload]] = {
    "matmul": (QuantizedMatmulTemplate(), matmul(37, 24, 20)),
    "matmul, one row": (QuantizedMatmulTemplate(), matmul(1, 10, 36, "sums")),
    "matmul, odd rows": (QuantizedMatmulTemplate(), matmul(9, 7, 12, "own shifts")),
    "matmul, transposed data": (QuantizedMatmulTemplate(), matmul(24, 16, 20, layout="tt")),
    "conv2d": (QuantizedConv2dTemplate(), conv2d((2, 9, 8, 8), 12)),
    "conv2d, part words": (QuantizedConv2dTemplate(), conv2d((1, 9, 7, 3), 6, "wide", 2)),
    "conv2d, sums": (QuantizedConv2dTemplate(), conv2d((1, 6, 6, 4), 3, "sums")),
    "depthwise": (QuantizedDepthwiseTemplate(), depthwise((2, 9, 8, 24))),
    "depthwise, odd channels": (QuantizedDepthwiseTemplate(), depthwise((1, 7, 9, 5), "own shifts", 2)),
}


@pytest.mark.parametrize("case", CASES)
def test_on_the_cluster(case: str, chip: Features, tmp_path: Path) -> None:
    template, (function, arrays, expected) = CASES[case]
    lowered = lower(function, chip)
    assert lowered.attrs["pulp.schedule"] == template.name
    assert arrays[1].dtype == np.uint8 and "unpack_weight_tile(worker" in print_kernel(lowered, "kernel")
    measure_kernel(lowered, arrays, chip, tmp_path)
    np.testing.assert_array_equal(arrays[-1], expected)


@pytest.mark.parametrize("case", ["matmul", "matmul, odd rows", "conv2d", "depthwise"])
def test_on_tensors_in_l1(case: str, chip: Features, tmp_path: Path) -> None:
    template, (function, arrays, expected) = CASES[case]
    names = [str(parameter.name) for parameter in function.params]
    lowered = lower(function, chip, names)
    assert lowered.attrs["pulp.schedule"] == template.name and "dma_" not in print_kernel(lowered, "kernel")
    arrays = [*arrays[:-1], np.zeros(expected.shape, arrays[-1].dtype)]
    measure_kernel(lowered, arrays, chip, tmp_path, resident=names)
    np.testing.assert_array_equal(arrays[-1], expected)


@pytest.mark.parametrize("case", CASES)
def test_generic_lowering(case: str, chip: Features, tmp_path: Path) -> None:
    _, (function, arrays, expected) = CASES[case]
    arrays = [*arrays[:-1], np.zeros(expected.shape, arrays[-1].dtype)]
    HostKernel(lower_generic(function, chip), tmp_path)(arrays)
    np.testing.assert_array_equal(arrays[-1], expected)


@settings(max_examples=25, deadline=None)
@given(kind=st.sampled_from(["matmul", "conv2d", "depthwise"]), data=st.data())
def test_any_sizes_and_knobs(kind: str, data: st.DataObject, chip: Features, kernels: Path) -> None:
    rows, columns, outputs = (data.draw(st.integers(1, 24)) for _ in range(3))
    channels = data.draw(st.integers(1, 6)) * (4 if kind == "matmul" else 1)
    if kind == "matmul":
        function, arrays, expected = matmul(rows, outputs, channels)
    elif kind == "conv2d":
        function, arrays, expected = conv2d((1, rows, columns, channels), outputs)
    else:
        function, arrays, expected = depthwise((1, rows, columns, outputs))
    template = next(t for t, (f, *_) in CASES.values() if t.match(function) is not None)
    found = template.match(function)
    knobs = {
        name: data.draw(st.sampled_from(values), label=name)
        for name, values in template.knobs(found, chip).items()
    }
    assume(template.l1_bytes(found, knobs) <= chip.kernel_l1_bytes)
    lowered = template.build(found, knobs, chip)
    assert int(lowered.attrs["pulp.l1_bytes"]) == template.l1_bytes(found, knobs)
    HostKernel(lowered, kernels)(arrays)
    np.testing.assert_array_equal(arrays[-1], expected)


def test_sanitizer(chip: Features, tmp_path: Path) -> None:
    template, (function, _, _) = CASES["matmul"]
    knobs = {"tile_m": 20, "tile_n": 8, "block_rows": 5, "order": 0}
    run_with_sanitizer(template.build(template.match(function), knobs, chip), tmp_path, "address,undefined")


@pytest.mark.parametrize(
    ("template", "workload"),
    [
        (QuantizedMatmulTemplate(), matmul(3, 8, 2064, "wide")),
        (QuantizedMatmulTemplate(), matmul(8, 8, 16, layout="nn")),
        (QuantizedMatmulTemplate(), matmul(8, 8, 18)),
        (QuantizedConv2dTemplate(), conv2d((1, 4, 4, 132), 4)),
    ],
    ids=["segments", "columns", "part words", "segments of a window"],
)
def test_weights_that_lie_otherwise_in_l1_are_left_to_others(template: Template, workload: Workload) -> None:
    assert template.match(workload[0]) is None


def test_on_the_fly_is_cheaper_than_a_kernel_before(chip: Features, tmp_path: Path) -> None:
    """Beside the product of bytes only the unpacking itself takes time: under a cycle a value and worker."""
    cycles = []
    for bits in (8, 4):
        function, arrays, expected = test_quantized_matmul.workload((160, 64, 64), "halfword", bits=bits)
        measured = measure_kernel(lower(function, chip), arrays, chip, tmp_path / str(bits))
        np.testing.assert_array_equal(arrays[-1], expected)
        cycles.append(measured.cycles[-1])
    assert cycles[1] - cycles[0] <= 64 * 64 / chip.cores + 150
