"""Matrices of bytes rearranged to words of their sums: every bit, in C and in assembly."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.schedules.host_harness import HostKernel
from tests.schedules.test_quantized_matmul import simulate, workload
from tvm_pulp.schedules.quantized_matmul import QuantizedMatmulTemplate
from tvm_pulp.target import Features


@pytest.mark.parametrize("layout", ["nn", "tn"])
@pytest.mark.parametrize("k", [4, 12, 15])
@pytest.mark.parametrize("sizes", [(4, 4), (9, 6), (3, 7), (30, 5), (7, 3)])
def test_columns(
    sizes: tuple[int, int], k: int, layout: str, chip: Features, kernels: Path, tmp_path: Path
) -> None:
    """Groups of four, and what they leave over in whole and in edge tiles."""
    knobs = {"tile_m": min(13, sizes[0]), "tile_n": sizes[1], "block_rows": 4, "order": 0}
    function, arrays, expected = workload((*sizes, k), "sums", layout=layout)
    template = QuantizedMatmulTemplate()
    HostKernel(template.build(template.match(function), knobs, chip), kernels)(arrays)
    np.testing.assert_array_equal(arrays[-1], expected)
    simulate((*sizes, k), "sums", chip, tmp_path, knobs, layout)


@pytest.mark.parametrize("k", [1, 2, 3, 5, 6, 7, 9, 14, 31])
def test_rows_of_part_words(k: int, chip: Features, kernels: Path, tmp_path: Path) -> None:
    function, arrays, expected = workload((11, 9, k), "sums")
    template = QuantizedMatmulTemplate()
    found = template.match(function)
    HostKernel(template.build(found, template.default(found, chip), chip), kernels)(arrays)
    np.testing.assert_array_equal(arrays[-1], expected)
    simulate((11, 9, k), "sums", chip, tmp_path)


@pytest.mark.parametrize("layout,least", [("nt", 11.7), ("nn", 11.3), ("tn", 10.8)])
def test_speed_of_part_words(layout: str, least: float, chip: Features, tmp_path: Path) -> None:
    """MAC/cycle with all transfers from and to L2."""
    sizes = (50, 37, 61)
    assert np.prod(sizes) / simulate(sizes, "sums", chip, tmp_path, layout=layout).cycles[-1] >= least
