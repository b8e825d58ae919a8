import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tvm_pulp.passes.quantized.uint_q import UintQ, UintQRequantization, packed_bytes
from tvm_pulp.target.errors import UserError


@given(st.integers(1, 8), st.integers(0, 200))
def test_packed_bytes(bits: int, elements: int) -> None:
    assert packed_bytes(elements, bits) == math.ceil(elements * bits / 8)
    assert UintQ(bits, 1.0).packed_bytes(elements) == packed_bytes(elements, bits)


def test_range_after_relu_and_with_negatives() -> None:
    relu = UintQ.from_range(0.0, 6.0, 8)
    assert (relu.scale, relu.zero_point) == (float(np.float32(6 / 255)), 0)
    assert relu.reciprocal == float(np.float32(1 / relu.scale))
    assert UintQ.from_range(0.25, 6.0, 8) == relu  # the range holds 0
    assert UintQ.from_range(-2.0, 1.0, 2) == UintQ(2, 1.0, 2)
    assert UintQ.from_range(-4.0, -1.0, 3) == UintQ(3, 4 / 7, 7)


@pytest.mark.parametrize("bits", [0, 9, -1, 32])
def test_bits_out_of_range(bits: int) -> None:
    for make in (lambda: UintQ(bits, 1.0), lambda: UintQ.from_range(0.0, 1.0, bits)):
        with pytest.raises(UserError, match=f"latents of {bits} bits: choose 1 to 8"):
            make()


@pytest.mark.parametrize(
    "low,high,message",
    [
        (0.0, 0.0, "0 in all calibration samples"),
        (0.0, math.inf, "must be finite"),
        (math.nan, 1.0, "must be finite"),
        (0.0, math.nan, "must be finite"),
        (2.0, 1.0, "must be finite"),
        (0.0, 1e-40, "scale of"),
    ],
)
def test_bad_ranges(low: float, high: float, message: str) -> None:
    with pytest.raises(UserError, match=message) as error:
        UintQ.from_range(low, high, 7)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("scale", [0.0, -1.0, math.inf, math.nan])
def test_bad_scales(scale: float) -> None:
    with pytest.raises(UserError, match="scale of"):
        UintQ(8, scale)
    with pytest.raises(UserError, match="scale of"):
        UintQRequantization.of(scale, 0, UintQ(8, 1.0))


def test_zero_point_out_of_range() -> None:
    with pytest.raises(UserError, match="zero point of 4: it must be 0 to 3"):
        UintQ(2, 1.0, 4)
    with pytest.raises(UserError, match="zero point of 256"):
        UintQRequantization.of(1.0, 256, UintQ(8, 1.0))


@pytest.mark.parametrize("scale", [2.0**30, 2.0**-40])
def test_scales_too_far_apart(scale: float) -> None:
    with pytest.raises(UserError, match="calibrate both with the same samples"):
        UintQRequantization.of(scale, 0, UintQ(8, 1.0))


@given(ratio=st.floats(2.0**-12, 2.0**10), bits=st.integers(1, 8), zero_point=st.integers(-128, 255))
def test_multiplier_and_shift(ratio: float, bits: int, zero_point: int) -> None:
    target = UintQ(bits, 0.75)
    found = UintQRequantization.of(ratio * target.scale, zero_point, target)
    assert 1 <= found.shift <= 30 and 0 < found.multiplier <= 2**22
    assert found.multiplier / 2**found.shift == pytest.approx(ratio, rel=2.0**-18)
    assert 383 * found.multiplier + 2 ** (found.shift - 1) < 2**31  # no product leaves int32
