"""Products of batches of matrices of bytes: bit by bit against NumPy, and their speed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.schedules.host_harness import HostKernel
from tests.schedules.quantized_operands import operands, requantization_for
from tvm_pulp.measure.kernel import measure_kernel
from tvm_pulp.passes.operators.quantized_matmul import quantized_matmul
from tvm_pulp.schedules.base import lower
from tvm_pulp.schedules.quantized_matmul import QuantizedMatmulTemplate
from tvm_pulp.target import Features
from tvm_pulp.target.tvm_names import PrimFunc

LAYOUTS = ["nn", "tn", "nt", "tt"]


def workload(
    batch: int, sizes: tuple[int, int, int], form: str, layout: str, dtype: str = "uint8"
) -> tuple[PrimFunc, list[np.ndarray], np.ndarray]:
    """Kernel, arguments and expected result."""
    m, n, k = sizes
    pairs = [operands(m, n, k, seed, dtype) for seed in range(batch)]
    data, weight = (np.stack(each) for each in zip(*pairs, strict=True))
    sums = data.astype(np.int32) @ weight.astype(np.int32).transpose(0, 2, 1)
    transposes: dict[str, Any] = {
        "transpose_data": layout[0] == "t", "transpose_weight": layout[1] == "t", "batch": batch,
    }  # fmt: skip
    data, weight = (
        np.ascontiguousarray(array.transpose(0, 2, 1)) if turned else array
        for array, turned in ((data, layout[0] == "t"), (weight, layout[1] == "n"))
    )
    if form == "sums":
        function = quantized_matmul("layer", "product", m, n, k, None, dtype, **transposes)
        return function, [data, weight, np.zeros_like(sums)], sums
    bias, multiplier, requantization = requantization_for(sums, 0, form)
    function = quantized_matmul("layer", "product", m, n, k, requantization, dtype, **transposes)
    arrays = [data, weight, requantization.terms(bias, multiplier), np.zeros(sums.shape, np.uint8)]
    return function, arrays, requantization.reference(sums + bias, multiplier)


@settings(max_examples=30, deadline=None)
@given(
    batch=st.integers(2, 5),
    sizes=st.tuples(st.integers(1, 40), st.integers(1, 40), st.integers(1, 80)),
    form=st.sampled_from(["sums", "halfword", "wide"]),
    dtype=st.sampled_from(["uint8", "int8"]),
    layout=st.sampled_from(LAYOUTS),
    data=st.data(),
)
def test_any_knobs(
    batch: int, sizes: tuple[int, int, int], form: str, dtype: str, layout: str, data: st.DataObject,
    chip: Features, kernels: Path,
) -> None:  # fmt: skip
    function, arrays, expected = workload(batch, sizes, form, layout, dtype)
    template = QuantizedMatmulTemplate()
    found = template.match(function)
    assert found is not None
    choices = template.knobs(found, chip)
    knobs = {name: data.draw(st.sampled_from(values), label=name) for name, values in choices.items()}
    lowered = template.build(found, knobs, chip)
    assert int(lowered.attrs["pulp.l1_bytes"]) == template.l1_bytes(found, knobs) <= chip.kernel_l1_bytes
    HostKernel(lowered, kernels)(arrays)
    np.testing.assert_array_equal(arrays[-1], expected)


@pytest.mark.parametrize("form", ["sums", "halfword"])
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("sizes", [(13, 10, 20), (7, 32, 8), (9, 6, 7)])
def test_assembly(
    sizes: tuple[int, int, int], layout: str, form: str, chip: Features, tmp_path: Path
) -> None:
    """With the simulator's checks on."""
    function, arrays, expected = workload(3, sizes, form, layout)
    lowered = lower(function, chip)
    assert lowered.attrs["pulp.schedule"] == "quantized_matmul"
    measure_kernel(lowered, arrays, chip, tmp_path)
    np.testing.assert_array_equal(arrays[-1], expected)


def test_one_bias_for_all(chip: Features) -> None:
    """What the requantisation reads is loaded once, as it is the same for all matrices."""
    function, _, _ = workload(6, (8, 8, 8), "wide", "nt")
    template = QuantizedMatmulTemplate()
    found = template.match(function)
    assert found is not None
    default = template.default(found, chip)
    assert default is not None
    one = template.match(workload(1, (8, 8, 8), "wide", "nt")[0])
    both = 2 * 8 * 8 + 8 * 8  # a second copy of data and weight, and of the results
    assert template.l1_bytes(found, default) == template.l1_bytes(one, default) + both


@pytest.mark.parametrize("layout,least", [("nt", 18.7), ("nn", 17.6), ("tn", 17.0)])
def test_speed(layout: str, least: float, chip: Features, tmp_path: Path) -> None:
    """MAC/cycle with all transfers from and to L2."""
    function, arrays, expected = workload(4, (64, 64, 64), "sums", layout)
    measured = measure_kernel(lower(function, chip), arrays, chip, tmp_path)
    np.testing.assert_array_equal(arrays[-1], expected)
    assert 4 * 64**3 / measured.cycles[-1] >= least
