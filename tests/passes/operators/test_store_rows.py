"""Rows of a store that new ones overwrite, and rows that stay."""

from __future__ import annotations

import numpy as np
import pytest

from tests.host_executor import run_kernel
from tvm_pulp.passes.operators.store_rows import store_rows


@pytest.mark.parametrize(("shape", "dtype"), [((3, 10), "uint8"), ((4,), "int32"), ((2, 5, 2), "float32")])
def test_named_rows_are_overwritten_and_the_others_stay(shape: tuple[int, ...], dtype: str) -> None:
    random = np.random.default_rng(0)
    rows, store = (random.integers(0, 99, (n, *shape[1:])).astype(dtype) for n in (shape[0], 6))
    slots = np.array([5, 0, 3, 2], np.int32)[: shape[0]]
    kernel = store_rows("replay", "store", shape, 6, dtype)
    assert len(kernel.params) == 3
    *_, found = run_kernel(kernel, [rows, slots, store])
    expected = store.copy()
    expected[slots] = rows
    np.testing.assert_array_equal(found, expected)
