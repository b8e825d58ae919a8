"""The C math of kernels against NumPy in double precision, in units of the last place."""

from __future__ import annotations

import ctypes
import math
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

KERNELS = Path(__file__).resolve().parents[3] / "runtime" / "kernels"
ERF = np.vectorize(math.erf)

# function, NumPy's, range of the arguments, largest error in ulp
ONE_ARGUMENT: list[tuple[str, Callable[..., np.ndarray], tuple[float, float], float]] = [
    ("exp", np.exp, (-87.0, 88.7), 1.2),
    ("exp_negative", np.exp, (-87.0, 0.0), 1.2),
    ("exp2", np.exp2, (-125.0, 127.9), 1.2),
    ("log", np.log, (1e-30, 1e30), 1.2),
    ("log", np.log, (0.5, 2.0), 1.2),
    ("log1p", np.log1p, (-0.9, 10.0), 2.5),
    ("tanh", np.tanh, (-10.0, 10.0), 2.5),
    ("sigmoid", lambda x: 1 / (1 + np.exp(-x)), (-30.0, 30.0), 2.5),
    ("sigmoid", lambda x: 1 / (1 + np.exp(-x)), (-86.0, 86.0), 2.5),
    ("sqrt", np.sqrt, (0.0, 1e9), 0.5),
    ("reciprocal", lambda x: 1 / x, (1e-30, 1e30), 1.5),
    ("rsqrt", lambda x: 1 / np.sqrt(x), (1e-6, 1e6), 1.5),
    ("floor", np.floor, (-1e7, 1e7), 0.0),
    ("ceil", np.ceil, (-100.0, 100.0), 0.0),
    ("trunc", np.trunc, (-100.0, 100.0), 0.0),
    ("nearbyint", np.rint, (-100.0, 100.0), 0.0),
]


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> ctypes.CDLL:
    folder = tmp_path_factory.mktemp("math")
    names = sorted({name for name, *_ in ONE_ARGUMENT} | {"erf", "round"})
    text = '#include "pulp_math.h"\n'
    for name in names:
        text += (
            f"void run_{name}(const float *x, float *y, int n) "
            f"{{ for (int i = 0; i < n; ++i) y[i] = pulp_{name}f(x[i]); }}\n"
        )
    for name in ("pow", "quotient"):
        text += (
            f"void run_{name}(const float *x, const float *e, float *y, int n) "
            f"{{ for (int i = 0; i < n; ++i) y[i] = pulp_{name}f(x[i], e[i]); }}\n"
        )
    (folder / "math.c").write_text(text)
    flags = ["-std=gnu99", "-O2", "-Wall", "-Werror", "-fPIC", "-shared", "-I", str(KERNELS)]
    subprocess.run(["gcc", *flags, "math.c", "-o", "math.so", "-lm"], cwd=folder, check=True)
    return ctypes.CDLL(str(folder / "math.so"))


def run(library: ctypes.CDLL, name: str, *arguments: np.ndarray) -> np.ndarray:
    result = np.empty_like(arguments[0])
    pointers = [ctypes.c_void_p(a.ctypes.data) for a in (*arguments, result)]
    getattr(library, f"run_{name}")(*pointers, len(result))
    return result


def error_in_ulp(got: np.ndarray, want: np.ndarray) -> float:
    """Distance in units of the last place of the right float32."""
    unit = np.spacing(np.maximum(np.abs(want), np.finfo(np.float32).tiny).astype(np.float32)).astype(
        np.float64
    )
    return float((np.abs(got.astype(np.float64) - want) / unit).max())


@pytest.mark.parametrize("name,reference,limits,allowed", ONE_ARGUMENT)
def test_error(
    library: ctypes.CDLL,
    name: str,
    reference: Callable[..., np.ndarray],
    limits: tuple[float, float],
    allowed: float,
) -> None:
    random = np.random.default_rng(0)
    low, high = limits
    x = random.uniform(low, high, 200_000)
    if low > 0:
        x = np.exp(random.uniform(np.log(low), np.log(high), 200_000))
    x = x.astype(np.float32)
    assert error_in_ulp(run(library, name, x), reference(x.astype(np.float64))) <= allowed + 1e-6


def test_erf_is_near(library: ctypes.CDLL) -> None:
    x = np.linspace(-4, 4, 50_001, dtype=np.float32)
    got, want = run(library, "erf", x), ERF(x.astype(np.float64))
    assert np.abs(got - want).max() <= 3.1e-7
    near = np.abs(x) < 0.4
    assert error_in_ulp(got[near], want[near]) <= 4.0


def test_round_goes_away_from_zero(library: ctypes.CDLL) -> None:
    x = np.array([-2.5, -1.5, -0.5, 0.49, 0.5, 1.5, 2.5], np.float32)
    np.testing.assert_array_equal(run(library, "round", x), [-3, -2, -1, 0, 1, 2, 3])


def test_pow(library: ctypes.CDLL) -> None:
    random = np.random.default_rng(1)
    x = np.exp(random.uniform(-20, 20, 200_000)).astype(np.float32)
    limit = 80 / np.maximum(np.abs(np.log(x.astype(np.float64))), 0.05)
    y = (random.uniform(-1, 1, 200_000) * limit).astype(np.float32)
    want = x.astype(np.float64) ** y
    got = run(library, "pow", x, y)
    assert error_in_ulp(got, want) <= 4.0
    usual = np.abs(y * np.log(x.astype(np.float64))) < 10
    assert error_in_ulp(got[usual], want[usual]) <= 1.5


def test_quotient(library: ctypes.CDLL) -> None:
    random = np.random.default_rng(2)
    a, b = (np.exp(random.uniform(-30, 30, 200_000)).astype(np.float32) for _ in range(2))
    assert error_in_ulp(run(library, "quotient", a, b), a.astype(np.float64) / b) <= 1.0


def test_values_at_the_edges(library: ctypes.CDLL) -> None:
    infinity, nan = np.inf, np.nan
    with np.errstate(all="ignore"):
        x = np.array([0.0, -0.0, infinity, -infinity, nan, 1e-40, 200.0, -200.0], np.float32)
        np.testing.assert_allclose(run(library, "exp", x), np.exp(x), rtol=1e-6)
        np.testing.assert_allclose(run(library, "log", x), np.log(x), rtol=1e-6)
        np.testing.assert_allclose(run(library, "tanh", x), np.tanh(x), rtol=1e-6)
        np.testing.assert_allclose(
            run(library, "sigmoid", x), 1 / (1 + np.exp(-x.astype(np.float64))), rtol=1e-6, atol=2e-38
        )
        base = np.array([-2, -2, -2, 0, 0, 2, 2, -0.5, 1, 0, -infinity, 0.5], np.float32)
        power = np.array([3, 2, 0.5, 2, -1, infinity, -infinity, infinity, nan, 0, 3, 200], np.float32)
        np.testing.assert_allclose(run(library, "pow", base, power), np.power(base, power), rtol=1e-6)
