"""Rows into a store by DMA: every byte, in any tiles, and nothing but those."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.schedules.host_harness import run_with_sanitizer
from tvm_pulp.measure import measure_kernel
from tvm_pulp.passes.operators.store_rows import store_rows
from tvm_pulp.schedules.base import lower
from tvm_pulp.schedules.store_rows import StoreRowsTemplate
from tvm_pulp.target import Features
from tvm_pulp.target.tvm_names import PrimFunc

SHAPES = [
    (4, 37, 30, "uint8"),
    (1, 40000, 3, "uint8"),
    (8, 1, 100, "int32"),
    (5, 7000, 9, "uint8"),
    (64, 257, 80, "uint8"),
    (3, 9000, 9, "float32"),
]


def arguments_of(rows: int, elements: int, capacity: int, dtype: str) -> list[np.ndarray]:
    """Rows, slots and the store."""
    random = np.random.default_rng(0)
    slots = random.choice(capacity, rows, replace=False).astype(np.int32)
    new, store = (random.integers(0, 255, (n, elements)).astype(dtype) for n in (rows, capacity))
    return [new, slots, store]


def build(function: PrimFunc, tile_bytes: int, chip: Features) -> PrimFunc:
    """The function with tiles of so many bytes."""
    template, knobs = StoreRowsTemplate(), {"tile_bytes": tile_bytes}
    workload = template.match(function)
    assert workload is not None
    built = template.build(workload, knobs, chip)
    assert int(built.attrs["pulp.l1_bytes"]) <= template.l1_bytes(workload, knobs) <= chip.kernel_l1_bytes
    return built


@pytest.mark.parametrize(("rows", "elements", "capacity", "dtype"), SHAPES)
def test_stores_rows(
    rows: int, elements: int, capacity: int, dtype: str, chip: Features, tmp_path: Path
) -> None:
    function = store_rows("replay", "store", (rows, elements), capacity, dtype)
    chosen = lower(function, chip)
    assert chosen.attrs["pulp.schedule"] == "store_rows"
    for number, built in enumerate([chosen, build(function, 2048, chip), build(function, 512, chip)]):
        arguments = arguments_of(rows, elements, capacity, dtype)
        expected = arguments[2].copy()
        expected[arguments[1]] = arguments[0]
        measure_kernel(built, arguments, chip, tmp_path / str(number), runs=1)
        np.testing.assert_array_equal(arguments[2], expected)


def test_moves_at_the_rate_of_the_dma(chip: Features, tmp_path: Path) -> None:
    """Loads and stores side by side: 8 bytes a cycle, one tile of 8 more, and 200 cycles a tile."""
    function = store_rows("replay", "store", (4, 16384), 8, "uint8")
    arguments = arguments_of(4, 16384, 8, "uint8")
    cycles = measure_kernel(lower(function, chip), arguments, chip, tmp_path, runs=2, checks=False).cycles
    assert cycles[-1] <= 1.4 * 4 * 16384 / 8


@pytest.mark.parametrize("sanitizer", ["address,undefined", "thread"])
def test_sanitizers(sanitizer: str, chip: Features, tmp_path: Path) -> None:
    function = store_rows("replay", "store", (3, 700), 5, "uint8")
    run_with_sanitizer(build(function, 512, chip), tmp_path, sanitizer)
