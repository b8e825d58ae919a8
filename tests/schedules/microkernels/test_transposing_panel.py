"""Products whose workers transpose the weight's columns that they own: every bit, in C and in assembly."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.schedules.host_harness import HostKernel
from tests.schedules.test_quantized_matmul import simulate, workload
from tvm_pulp.schedules.microkernels.transposing_panel import TransposingPanel
from tvm_pulp.schedules.quantized_matmul import QuantizedMatmulTemplate
from tvm_pulp.target import Features
from tvm_pulp.target.tvm_names import PrimFunc

SIZES = [(4, 32, 4), (7, 64, 20), (9, 32, 8), (12, 96, 36), (5, 32, 680), (6, 480, 8)]


def micro_kernels(function: PrimFunc) -> str:
    return "\n".join(map(str, function.attrs["pulp.micro_kernels"]))


def whole(sizes: tuple[int, int, int], block_rows: int = 5) -> dict[str, int]:
    return {"tile_m": sizes[0], "tile_n": sizes[1], "block_rows": block_rows, "order": 0}


@pytest.mark.parametrize("dtype", ["uint8", "int8"])
@pytest.mark.parametrize("layout", ["nn", "tn"])
@pytest.mark.parametrize("sizes", SIZES)
def test_every_bit(
    sizes: tuple[int, int, int], layout: str, dtype: str, chip: Features, kernels: Path, tmp_path: Path
) -> None:
    function, arrays, expected = workload(sizes, "sums", dtype=dtype, layout=layout)
    template = QuantizedMatmulTemplate()
    lowered = template.build(template.match(function), whole(sizes), chip)
    assert "void transposing_panel(" in micro_kernels(lowered)
    HostKernel(lowered, kernels)(arrays)
    np.testing.assert_array_equal(arrays[-1], expected)
    simulate(sizes, "sums", chip, tmp_path, whole(sizes, 4), layout, dtype=dtype)


@pytest.mark.parametrize(
    "sizes,form,knobs",
    [
        ((8, 32, 16), "sums", {"tile_m": 4}),
        ((8, 64, 16), "sums", {"tile_n": 32}),
        ((3, 32, 16), "sums", {}),
        ((8, 40, 16), "sums", {}),
        ((8, 32, 18), "sums", {}),
        ((8, 32, 684), "sums", {}),
        ((8, 32, 16), "halfword", {}),
    ],
    ids=["row tiles", "column tiles", "few rows", "uneven", "part words", "long sums", "bytes"],
)
def test_all_workers_transpose_together(
    sizes: tuple[int, int, int], form: str, knobs: dict[str, int], chip: Features, tmp_path: Path
) -> None:
    template = QuantizedMatmulTemplate()
    found = template.match(workload(sizes, form, layout="nn")[0])
    lowered = template.build(found, whole(sizes) | knobs, chip)
    assert "transposing_panel" not in micro_kernels(lowered)
    simulate(sizes, form, chip, tmp_path, whole(sizes) | knobs, "nn")


@pytest.mark.parametrize(
    "k,n,a_row,a_step,supported",
    [(680, 508, 680, 4, True), (684, 32, 4, 32, False), (4, 512, 4, 4, False), (4, 4, 684, 4, False),
     (4, 4, 4, 2048, False), (6, 4, 6, 4, False)],
)  # fmt: skip
def test_reach_of_the_immediate_operands(k: int, n: int, a_row: int, a_step: int, supported: bool) -> None:
    assert TransposingPanel(k, n, a_row, a_step).is_supported() == supported
