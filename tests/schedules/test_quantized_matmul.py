"""The template of products of bytes: bit by bit against NumPy, and its speed on the simulator."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.schedules.host_harness import HostKernel
from tests.schedules.quantized_operands import operands, requantization_for, stored
from tvm_pulp.measure.kernel import Measurement, measure_kernel
from tvm_pulp.passes.operators.quantized_matmul import quantized_matmul
from tvm_pulp.passes.operators.requantize import Requantization
from tvm_pulp.schedules.base import lower
from tvm_pulp.schedules.quantized_matmul import QuantizedMatmulTemplate
from tvm_pulp.schedules.quantized_matmul_model import STATIONARY, QuantizedMatmulBlocking
from tvm_pulp.target import Features
from tvm_pulp.target.tvm_names import PrimFunc

LAYOUTS = ["nn", "tn", "nt", "tt"]
FORMS = ["sums", "narrow", "short", "halfword", "wide", "halves to even", "own shifts"]


def workload(
    sizes: tuple[int, int, int],
    form: str,
    seed: int = 0,
    dtype: str = "uint8",
    bounds: tuple[int, ...] = (0, 0, 255),
    layout: str = "nt",
    bits: int = 8,
) -> tuple[PrimFunc, list[np.ndarray], np.ndarray]:
    """Kernel, arguments and expected result."""
    m, n, k = sizes
    data, weight = operands(m, n, k, seed, dtype, bits)
    sums = data.astype(np.int32) @ weight.astype(np.int32).T
    transposes: dict[str, int] = {"transpose_data": layout[0] == "t", "transpose_weight": layout[1] == "t"}
    data = np.ascontiguousarray(data.T) if transposes["transpose_data"] else data
    weight = weight if transposes["transpose_weight"] else np.ascontiguousarray(weight.T)
    transposes["weight_bits"] = bits
    weight = stored(weight, bits)
    if form == "sums":
        function = quantized_matmul("layer", "product", m, n, k, None, dtype, **transposes)
        return function, [data, weight, np.zeros((m, n), np.int32)], sums
    bias, multiplier, requantization = requantization_for(sums, seed, form, *bounds)
    function = quantized_matmul("layer", "product", m, n, k, requantization, dtype, **transposes)
    expected = requantization.reference(sums + bias, multiplier)
    return (
        function,
        [data, weight, requantization.terms(bias, multiplier), np.zeros((m, n), np.uint8)],
        expected,
    )


def simulate(
    sizes: tuple[int, int, int],
    form: str,
    chip: Features,
    directory: Path,
    knobs: dict[str, int] | None = None,
    layout: str = "nt",
    **how: Any,
) -> Measurement:
    function, arrays, expected = workload(sizes, form, layout=layout, **how)
    template = QuantizedMatmulTemplate()
    found = template.match(function)
    assert found is not None
    lowered = template.build(found, knobs or template.default(found, chip), chip)
    measured = measure_kernel(lowered, arrays, chip, directory)
    np.testing.assert_array_equal(arrays[-1], expected)
    return measured


@settings(max_examples=40, deadline=None)
@given(
    sizes=st.tuples(st.integers(1, 60), st.integers(1, 40), st.integers(1, 120)),
    form=st.sampled_from(FORMS),
    dtype=st.sampled_from(["uint8", "int8"]),
    bounds=st.tuples(st.integers(0, 255), st.integers(0, 100), st.integers(100, 255)),
    layout=st.sampled_from(LAYOUTS),
    data=st.data(),
)
def test_any_knobs(
    sizes: tuple[int, int, int], form: str, dtype: str, bounds: tuple[int, int, int], layout: str,
    data: st.DataObject, chip: Features, kernels: Path,
) -> None:  # fmt: skip
    function, arrays, expected = workload(sizes, form, sizes[0], dtype, bounds, layout)
    template = QuantizedMatmulTemplate()
    found = template.match(function)
    assert found is not None
    choices = template.knobs(found, chip)
    knobs = {name: data.draw(st.sampled_from(values), label=name) for name, values in choices.items()}
    lowered = template.build(found, knobs, chip)
    assert int(lowered.attrs["pulp.l1_bytes"]) == template.l1_bytes(found, knobs) <= chip.kernel_l1_bytes
    HostKernel(lowered, kernels)(arrays)
    np.testing.assert_array_equal(arrays[-1], expected)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("sizes", [(37, 10, 20), (5, 23, 4), (3, 17, 2064), (1, 3, 8), (16, 9, 1032)])
def test_assembly(sizes: tuple[int, int, int], form: str, chip: Features, tmp_path: Path) -> None:
    simulate(sizes, form, chip, tmp_path)


@pytest.mark.parametrize("sizes", [(3, 4, 4), (3, 9, 40), (6, 8, 12), (2, 16, 20), (1, 4, 8)])
def test_few_rows(sizes: tuple[int, int, int], chip: Features, tmp_path: Path) -> None:
    """Panels of few rows have registers to spare, which they use for something else."""
    for block_rows in (3, 4):
        knobs = {"tile_m": sizes[0], "tile_n": min(sizes[1], 8), "block_rows": block_rows, "order": 0}
        simulate(sizes, "halfword", chip, tmp_path, knobs)


@pytest.mark.parametrize("layout", ["nn", "tn", "tt"])
@pytest.mark.parametrize("sizes", [(37, 10, 20), (5, 23, 4), (3, 17, 2064), (16, 9, 1032)])
def test_assembly_of_layouts(
    sizes: tuple[int, int, int], layout: str, chip: Features, tmp_path: Path
) -> None:
    simulate(sizes, "wide", chip, tmp_path, layout=layout)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("sizes", [(9, 14, 7), (12, 8, 2), (33, 3, 1), (6, 9, 1028)])
def test_sums_of_part_words(sizes: tuple[int, int, int], layout: str, chip: Features, tmp_path: Path) -> None:
    """Both operands are rearranged, and zeros fill the last word."""
    simulate(sizes, "sums", chip, tmp_path, layout=layout)


@pytest.mark.parametrize("layout", ["nn", "tn"])
def test_layouts_in_tiles(layout: str, chip: Features, tmp_path: Path) -> None:
    knobs = {"tile_m": 13, "tile_n": 12, "block_rows": 5, "order": 1}
    simulate((43, 26, 36), "wide", chip, tmp_path, knobs, layout)


@pytest.mark.parametrize("block_rows", [4, 5])
@pytest.mark.parametrize("tile_m,tile_n,order", [(13, 8, 0), (40, 12, 1), (7, 24, 1)])
def test_assembly_in_tiles(
    block_rows: int, tile_m: int, tile_n: int, order: int, chip: Features, tmp_path: Path
) -> None:
    knobs = {"tile_m": tile_m, "tile_n": tile_n, "block_rows": block_rows, "order": order}
    simulate((43, 26, 36), "wide", chip, tmp_path, knobs)


@settings(max_examples=25, deadline=None)
@given(
    m=st.integers(1, 70), groups=st.integers(1, 6), words=st.integers(1, 10), tile=st.integers(1, 70),
    form=st.sampled_from(["halfword", "short"]), order=st.integers(0, 1),
    dtype=st.sampled_from(["uint8", "int8"]),
    bounds=st.tuples(st.integers(0, 255), st.integers(0, 100), st.integers(100, 255)),
)  # fmt: skip
def test_weights_in_registers(
    m: int, groups: int, words: int, tile: int, form: str, dtype: str, order: int,
    bounds: tuple[int, int, int], chip: Features,
) -> None:  # fmt: skip
    """Short sums, with the simulator's checks on."""
    sizes = (m, 4 * groups, 4 * words)
    tile_n = 4 if groups % 2 else 2 * groups
    knobs = {"tile_m": tile, "tile_n": tile_n, "block_rows": STATIONARY, "order": order}
    with tempfile.TemporaryDirectory() as folder:
        simulate(sizes, form, chip, Path(folder), knobs, seed=m, dtype=dtype, bounds=bounds)


@pytest.mark.parametrize(
    "sizes,form", [((64, 16, 44), "halfword"), ((64, 18, 8), "halfword"), ((64, 16, 8), "wide")]
)
def test_other_products_take_register_blocks(sizes: tuple[int, int, int], form: str) -> None:
    template = QuantizedMatmulTemplate()
    found = template.match(workload(sizes, form)[0])
    assert found is not None
    knobs = {"tile_m": 64, "tile_n": sizes[1], "block_rows": STATIONARY, "order": 0}
    assert QuantizedMatmulBlocking.of(found, knobs).block_rows == 4


@pytest.mark.parametrize("sizes,least", [((2304, 16, 8), 9.0), ((576, 32, 16), 11.8)])
def test_speed_of_short_sums(
    sizes: tuple[int, int, int], least: float, chip: Features, tmp_path: Path
) -> None:
    """The first pointwise layers of a MobileNet."""
    assert np.prod(sizes) / simulate(sizes, "halfword", chip, tmp_path).cycles[-1] >= least


@pytest.mark.parametrize(
    "sizes,form,least",
    [((256, 256, 256), "sums", 20.0), ((256, 256, 256), "wide", 18.0), ((64, 64, 64), "wide", 11.0)],
)
def test_speed(sizes: tuple[int, int, int], form: str, least: float, chip: Features, tmp_path: Path) -> None:
    """MAC/cycle with all transfers from and to L2."""
    assert np.prod(sizes) / simulate(sizes, form, chip, tmp_path).cycles[-1] >= least


@pytest.mark.parametrize("layout", ["nn", "tn", "tt"])
def test_estimate_of_rearranged_operands(layout: str, chip: Features, tmp_path: Path) -> None:
    """With row tiles that leave columns of the data over, and where workers transpose their own columns."""
    template = QuantizedMatmulTemplate()
    found = template.match(workload((64, 64, 64), "sums", layout=layout)[0])
    assert found is not None
    for tile in (35, 64):
        knobs = {"tile_m": tile, "tile_n": 64, "block_rows": 5, "order": 0}
        folder = tmp_path / str(tile)
        folder.mkdir()
        measured = simulate((64, 64, 64), "sums", chip, folder, knobs, layout)
        assert 0.93 <= template.estimate_cycles(found, knobs, chip) / measured.cycles[-1] <= 1.07


def test_estimate_is_near_the_simulator(chip: Features, tmp_path: Path) -> None:
    function, _, _ = workload((160, 96, 128), "wide")
    template = QuantizedMatmulTemplate()
    found = template.match(function)
    assert found is not None
    measured = simulate((160, 96, 128), "wide", chip, tmp_path)
    estimate = template.estimate_cycles(found, template.default(found, chip), chip)
    assert 0.85 <= estimate / measured.cycles[-1] <= 1.15


@pytest.mark.parametrize("layout", LAYOUTS)
def test_speed_of_layouts(layout: str, chip: Features, tmp_path: Path) -> None:
    assert 256**3 / simulate((256, 256, 256), "sums", chip, tmp_path, layout=layout).cycles[-1] >= 18.0


@pytest.mark.parametrize(
    "size,layout,least", [(64, "nt", 20.1), (32, "nt", 17.2), (64, "nn", 19.3), (64, "tn", 18.0)]
)
def test_speed_in_l1(size: int, layout: str, least: float, chip: Features, tmp_path: Path) -> None:
    """MAC/cycle of a cube whose sums are the result."""
    function, arrays, expected = workload((size, size, size), "sums", layout=layout)
    names = [str(parameter.name) for parameter in function.params]
    measured = measure_kernel(lower(function, chip, names), arrays, chip, tmp_path, resident=names)
    np.testing.assert_array_equal(arrays[-1], expected)
    assert size**3 / measured.cycles[-1] >= least


@pytest.mark.parametrize("shift", [32, 55])
def test_what_the_panels_cannot_do_is_left_to_others(shift: int) -> None:
    function = quantized_matmul("layer", "product", 5, 6, 8, Requantization(shift))
    assert QuantizedMatmulTemplate().match(function) is None
