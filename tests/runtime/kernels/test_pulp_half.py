"""Conversions of half precision in integer arithmetic against NumPy, bit by bit."""

from __future__ import annotations

import ctypes
import subprocess
from pathlib import Path

import numpy as np
import pytest

KERNELS = Path(__file__).resolve().parents[3] / "runtime" / "kernels"
_SOURCE = """\
#include "pulp_half.h"
void widen(const pulp_half *x, float *y, int n) {
  for (int i = 0; i < n; ++i) y[i] = pulp_half_to_float(x[i]);
}
void narrow(const float *x, pulp_half *y, int n) {
  for (int i = 0; i < n; ++i) y[i] = pulp_float_to_half(x[i]);
}
"""


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> ctypes.CDLL:
    folder = tmp_path_factory.mktemp("half")
    (folder / "half.c").write_text(_SOURCE)
    flags = ["-std=gnu99", "-O2", "-Wall", "-Wextra", "-Werror", "-fPIC", "-shared", "-I", str(KERNELS)]
    subprocess.run(["gcc", *flags, "half.c", "-o", "half.so", "-lm"], cwd=folder, check=True)
    return ctypes.CDLL(str(folder / "half.so"))


def convert(function: object, values: np.ndarray, to: type) -> np.ndarray:
    result = np.empty(values.shape, to)
    function(  # type: ignore[operator]
        ctypes.c_void_p(values.ctypes.data), ctypes.c_void_p(result.ctypes.data), len(values)
    )
    return result


def test_all_numbers_of_half_precision(library: ctypes.CDLL) -> None:
    halves = np.arange(1 << 16, dtype=np.uint16).view(np.float16)
    got = convert(library.widen, halves, np.float32)
    np.testing.assert_array_equal(got, halves.astype(np.float32))
    assert np.array_equal(np.signbit(got), np.signbit(halves))


def test_rounding_to_half_precision(library: ctypes.CDLL) -> None:
    """All neighbours of half-precision numbers and of the middles between them, and random bits."""
    halves = np.arange(0x7C00, dtype=np.uint16).view(np.float16).astype(np.float32)
    middles = (halves[:-1] + halves[1:]) / 2
    exact = np.concatenate([halves, middles, np.float32([65519.996, 65520, 65536, 1e30, np.inf, 0])])
    near = [np.nextafter(exact, np.float32(limit)) for limit in (-np.inf, np.inf)]
    bits = np.random.default_rng(0).integers(0, 1 << 32, 500_000, dtype=np.uint64).astype(np.uint32)
    values = np.concatenate([exact, *near, -exact, bits.view(np.float32)])
    with np.errstate(all="ignore"):
        want = values.astype(np.float16)
    got = convert(library.narrow, values, np.float16)
    np.testing.assert_array_equal(got, want)
    numbers = ~np.isnan(want)
    assert np.array_equal(got.view(np.uint16)[numbers], want.view(np.uint16)[numbers])
