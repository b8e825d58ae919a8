"""Kernels that make and read masks, against NumPy."""

from __future__ import annotations

import numpy as np
import pytest

from tests.host_executor import run_kernel
from tvm_pulp.passes.compose_kernels import compose_kernels
from tvm_pulp.passes.operators.elementwise import elementwise
from tvm_pulp.passes.operators.kernel import Scalar, number
from tvm_pulp.passes.operators.pack_mask import pack_mask, unpack_mask
from tvm_pulp.target.errors import UserError
from tvm_pulp.target.tvm_names import PrimFunc, Select, tirx


def masked_gradient(shape: tuple[int, ...], limit: float | None, inside: float = 0.25) -> PrimFunc:
    """Make the gradient of ReLU or of clipping at a limit: gradient, mask, result."""

    def passed(gradient: Scalar, y: Scalar) -> Scalar:
        above = y > number(0.0)
        condition = above if limit is None else tirx.all(above, y < number(limit))
        return Select(condition, gradient, number(0.0))

    unpack = unpack_mask("layer", "unpack", shape, inside)
    gradient = elementwise("layer", "gradient", [("gradient", shape), ("y", shape)], passed)
    kernels = [(unpack, ["mask", "y"]), (gradient, ["gradient", "y", "result"])]
    return compose_kernels(kernels, ["gradient", "mask", "result"], {"pulp.operator": "elementwise"})


def unpacked(mask: np.ndarray) -> np.ndarray:
    """Bits of a mask in the order of the elements, bool."""
    places = np.arange(31, -1, -1, dtype=np.uint32)[None, :, None]
    return ((mask[:, None, :] >> places) & 1).astype(bool).reshape(-1)


@pytest.mark.parametrize("limit", [None, 0.5])
def test_pack(limit: float | None) -> None:
    x = np.random.default_rng(0).standard_normal((5, 32, 4)).astype(np.float32)
    x[0, :3, 0] = (0.0, -0.0, 0.5)
    _, mask = run_kernel(pack_mask("layer", "mask", (5, 4), limit), [x])
    inside = (x > 0) & (x < (np.inf if limit is None else limit))
    np.testing.assert_array_equal(unpacked(mask), inside.reshape(-1))


@pytest.mark.parametrize("limit", [None, 0.5])
@pytest.mark.parametrize("shape", [(640,), (2, 4, 5, 32), (1, 128, 5, 1)])
def test_gradient(shape: tuple[int, ...], limit: float | None) -> None:
    rng = np.random.default_rng(1)
    gradient = rng.standard_normal(shape).astype(np.float32)
    mask = rng.integers(0, 2**32, (gradient.size // 128, 4), dtype=np.uint32)
    *_, result = run_kernel(masked_gradient(shape, limit), [gradient, mask])
    np.testing.assert_array_equal(result, np.where(unpacked(mask).reshape(shape), gradient, np.float32(0)))


def test_a_mask_has_whole_groups() -> None:
    with pytest.raises(UserError, match="whole groups"):
        unpack_mask("layer", "unpack", (100,), 1.0)
