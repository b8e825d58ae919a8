"""Labels of new samples, then of stored ones."""

from __future__ import annotations

import numpy as np
import pytest

from tests.host_executor import run_kernel
from tvm_pulp.passes.operators.gather_labels import gather_labels


@pytest.mark.parametrize(("shape", "dtype"), [((4,), "int32"), ((3, 5), "float32"), ((1, 2, 3), "float32")])
def test_stored_labels_follow_the_new_ones(shape: tuple[int, ...], dtype: str) -> None:
    random = np.random.default_rng(0)
    labels, store = (random.integers(0, 99, (n, *shape[1:])).astype(dtype) for n in (shape[0], 7))
    indices = np.array([6, 0, 6, 2, 5], np.int32)
    kernel = gather_labels("replay", "gather_labels", shape, 7, 5, dtype)
    *_, found = run_kernel(kernel, [labels, store, indices])
    np.testing.assert_array_equal(found, np.concatenate([labels, store[indices]]))
