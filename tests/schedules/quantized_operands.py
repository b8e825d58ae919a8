"""Operands of quantised kernels with sums of every size, and multipliers that spread results over a byte."""

from __future__ import annotations

import numpy as np

from tvm_pulp.passes.operators.choose_multipliers import choose_multipliers
from tvm_pulp.passes.operators.packed_weights import pack_halves
from tvm_pulp.passes.operators.requantize import Requantization, Rounding, twice_multiplier

FORMS = (
    "narrow", "short", "halfword", "wide", "halves to even", "own shifts", "rounded twice",
    "twice, spare bit",
)  # fmt: skip
"""Of a requantisation; the last three have shifts of their own."""


def random_weight(random: np.random.Generator, shape: tuple[int, ...], bits: int = 8) -> np.ndarray:
    """Any int8 values of some bits."""
    return random.integers(-(1 << (bits - 1)), 1 << (bits - 1), shape).astype(np.int8)


def stored(weight: np.ndarray, bits: int) -> np.ndarray:
    """Return a weight as a kernel reads it."""
    return weight if bits == 8 else pack_halves(weight)


def operands(
    m: int, n: int, k: int, seed: int = 0, dtype: str = "uint8", bits: int = 8
) -> tuple[np.ndarray, np.ndarray]:
    """Data [m, k] and weights [n, k] of some bits."""
    random = np.random.default_rng(seed)
    limits = np.iinfo(dtype)
    data = random.integers(limits.min, limits.max + 1, (m, k)).astype(dtype)
    return data, random_weight(random, (n, k), bits)


def requantization_for(
    sums: np.ndarray, seed: int, form: str, zero_point: int = 0, low: int = 0, high: int = 255
) -> tuple[np.ndarray, np.ndarray, Requantization]:
    """Bias and multiplier of each channel (the last axis) and what goes with them, of a form of `FORMS`."""
    random = np.random.default_rng(seed)
    channels = sums.shape[-1]
    bias = random.integers(-5000, 5000, channels).astype(np.int32)
    largest = np.abs(sums.astype(np.int64) + bias).reshape(-1, channels).max(axis=0) + 1.0
    scales = random.uniform(0.2, 1.2, channels) * np.minimum(300 / largest, 0.2)
    if form == "halves to even":
        return bias, *_halves_to_even(scales, largest, zero_point, low, high)
    if form in FORMS[-3:]:
        twice, spare_bit = form in FORMS[-2:], form == FORMS[-1]
        return bias, *_own_shifts(scales, twice, zero_point, low, high, spare_bit)
    multiplier, requantization = choose_multipliers(
        scales, largest, zero_point=zero_point, low=low, high=high, forms=() if form == "wide" else (form,),
        accuracy=0.0 if form == "wide" else np.inf,
    )  # fmt: skip
    for name in ("narrow", "short", "halfword"):
        assert getattr(requantization, name) == (form == name)
    return bias, multiplier, requantization


def _halves_to_even(
    scales: np.ndarray, largest: np.ndarray, zero_point: int, low: int, high: int
) -> tuple[np.ndarray, Requantization]:
    """Multipliers and the form of an ONNX network whose scales are powers of two, so that halves occur."""
    multiplier, requantization = choose_multipliers(
        2.0 ** np.rint(np.log2(scales)), largest, zero_point=zero_point, low=low, high=high,
        accuracy=2.0**-12, rounding=Rounding.HALF_EVEN,
    )  # fmt: skip
    assert requantization.narrow and requantization.rounding is Rounding.HALF_EVEN
    return multiplier, requantization


def _own_shifts(
    scales: np.ndarray, twice: bool, zero_point: int, low: int, high: int, spare_bit: bool
) -> tuple[np.ndarray, Requantization]:
    """Multipliers and shifts; every other scale is a power of two, so that halves occur."""
    pairs = np.array([twice_multiplier(scale) for scale in scales], np.int32).T.copy()
    pairs[0, 1::2] = 2**30
    pairs[1] += 0 if twice else 31
    rounding = Rounding.TWICE if twice else Rounding.HALF_UP
    least = int(pairs[1].min())
    return pairs, Requantization(
        least, zero_point, low, high, rounding=rounding, own_shifts=True, spare_bit=spare_bit
    )
