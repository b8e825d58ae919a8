"""Properties of UINT-Q: monotone, close, saturating, and lossless to pack; for all bits and sizes."""

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from tvm_pulp.oracle.latents import dequantize, pack, quantize, requantize, unpack
from tvm_pulp.passes.quantized.uint_q import UintQ, UintQRequantization
from tvm_pulp.target.errors import UserError

BITS = st.integers(1, 8)
HIGH = st.floats(1e-6, 1e6)
LOW = st.one_of(st.just(0.0), st.floats(-1e6, -1e-6))


@st.composite
def formats(draw: st.DrawFn) -> UintQ:
    return UintQ.from_range(draw(LOW), draw(HIGH), draw(BITS))


@given(formats(), arrays(np.float32, 40, elements=st.floats(-2e6, 2e6, width=32)))
def test_monotone(latents: UintQ, values: np.ndarray) -> None:
    integers = quantize(np.sort(values), latents).astype(int)
    assert (np.diff(integers) >= 0).all()
    assert (np.diff(dequantize(integers.astype(np.uint8), latents)) >= 0).all()


@given(formats(), arrays(np.float32, 40, elements=st.floats(0, 1, width=32)))
def test_error_is_half_a_step_inside_the_range(latents: UintQ, fractions: np.ndarray) -> None:
    low, high = -latents.zero_point * latents.scale, (latents.largest - latents.zero_point) * latents.scale
    values = (low + fractions * (high - low)).astype(np.float32)
    error = np.abs(dequantize(quantize(values, latents), latents).astype(np.float64) - values)
    # beside half a step: what float32 loses of 1 / S, of the value and of the result, of 2^8 steps each
    assert (error <= latents.scale * (0.5 + 3 * 2.0**8 * 2.0**-24)).all()


@given(formats(), st.floats(0, 1e30))
def test_saturation_is_exact(latents: UintQ, beyond: float) -> None:
    low, high = -latents.zero_point * latents.scale, (latents.largest - latents.zero_point) * latents.scale
    above = np.array([high * (1 + 1e-6) + beyond, math.inf], np.float32)
    below = np.array([low * (1 + 1e-6) - beyond, -math.inf], np.float32)
    assert (quantize(above, latents) == latents.largest).all()
    assert (quantize(below, latents) == 0).all()


@given(formats(), st.data())
def test_rounding_is_that_of_the_exact_product(latents: UintQ, data: st.DataObject) -> None:
    """Halves up, by rational arithmetic; near ties above all."""
    step = data.draw(st.integers(0, latents.largest))
    tie = np.float32((step - latents.zero_point + 0.5) * latents.scale)
    for value in (tie, np.nextafter(tie, np.float32(math.inf)), np.nextafter(tie, np.float32(-math.inf))):
        exact = Fraction(float(value)) * Fraction(latents.reciprocal)
        expected = min(max(math.floor(exact + Fraction(1, 2)) + latents.zero_point, 0), latents.largest)
        assert quantize(np.array([value], np.float32), latents)[0] == expected


@given(BITS)
def test_halves_go_up(bits: int) -> None:
    values = np.arange(0, 2**bits - 1) + np.float32(0.5)
    integers = quantize(values.astype(np.float32), UintQ(bits, 1.0))
    assert (integers == values + 0.5).all()
    just_below = np.nextafter(values.astype(np.float32), np.float32(0))
    assert (quantize(just_below, UintQ(bits, 1.0)) == values - 0.5).all()


@given(formats())
def test_integers_survive(latents: UintQ) -> None:
    integers = np.arange(latents.largest + 1, dtype=np.uint8)
    assert (quantize(dequantize(integers, latents), latents) == integers).all()
    assert dequantize(np.array([latents.zero_point], np.uint8), latents)[0] == 0.0


@given(formats(), st.data())
def test_dequantized_values_are_rounded_once(latents: UintQ, data: st.DataObject) -> None:
    integer = data.draw(st.integers(0, latents.largest))
    exact = Fraction(latents.scale) * (integer - latents.zero_point)
    found = dequantize(np.array([integer], np.uint8), latents)[0]
    for neighbour in (np.nextafter(found, np.float32(math.inf)), np.nextafter(found, np.float32(-math.inf))):
        assert abs(Fraction(float(found)) - exact) <= abs(Fraction(float(neighbour)) - exact)


@settings(max_examples=300)
@given(BITS, st.integers(1, 70), st.integers(1, 3), st.data())
def test_packing_round_trip(bits: int, elements: int, samples: int, data: st.DataObject) -> None:
    integers = data.draw(arrays(np.uint8, (samples, elements), elements=st.integers(0, 2**bits - 1)))
    packed = pack(integers, bits)
    assert packed.shape == (samples, math.ceil(elements * bits / 8))
    assert (unpack(packed, bits, elements) == integers).all()
    for sample, row in zip(integers, packed, strict=True):  # the definition, with Python's integers
        assert row.tolist() == packed_bytes_by_definition(sample.tolist(), bits)


def packed_bytes_by_definition(sample: list[int], bits: int) -> list[int]:
    """Return the bytes of a sample: whole groups, lane by lane, and what is behind them as a stream."""
    lane_values = 8 // math.gcd(8, bits)
    lane_bytes, whole = lane_values * bits // 8, 8 // bits
    found, first = [], 0
    while len(sample) - first >= 4 * lane_values:
        lanes = []
        for lane in range(4):
            values = sample[first + lane : first + 4 * lane_values : 4]
            spread = sum(v << bits * i for i, v in enumerate(values[whole * lane_bytes :]))
            taken = []
            for k in range(lane_bytes):
                byte = sum(v << bits * i for i, v in enumerate(values[whole * k : whole * (k + 1)]))
                rest = 8 - whole * bits
                taken.append(byte | (spread >> rest * k) % 2**rest << whole * bits)
            lanes.append(taken)
        found += [lanes[lane][k] for k in range(lane_bytes) for lane in range(4)]
        first += 4 * lane_values
    stream = sum(value << bits * i for i, value in enumerate(sample[first:]))
    return found + list(stream.to_bytes(math.ceil((len(sample) - first) * bits / 8), "little"))


def test_examples_of_packing() -> None:
    packed = pack(np.array([0b1000001, 0b0000011, 0b1111111], np.uint8), 7)
    assert [f"{byte:08b}" for byte in packed] == ["11000001", "11000001", "00011111"]
    group = np.arange(32, dtype=np.uint8)  # of the first lane 0, 4, 8, ... 24, and 28, which is spread
    lane = [f"{byte:08b}" for byte in pack(group, 7)[::4]]
    assert lane == ["00000000", "00000100", "10001000", "10001100", "10010000", "00010100", "00011000"]


@given(BITS, st.floats(0.01, 100), st.floats(0.3, 3), st.integers(0, 255), st.booleans(), st.data())
def test_requantization(
    bits: int, high: float, ratio: float, zero_point: int, is_signed: bool, data: st.DataObject
) -> None:
    """Straight from integers: within a step's half of the real value, and the same but near ties."""
    latents = UintQ.from_range(data.draw(st.sampled_from([0.0, -high])), high, bits)
    scale = ratio * high / 255
    zero_point -= 128 * is_signed
    found = UintQRequantization.of(scale, zero_point, latents)
    integers = np.arange(256) - 128 * is_signed
    result = requantize(integers.astype(np.int8 if is_signed else np.uint8), found).astype(int)
    assert (np.diff(result) >= 0).all()
    real = (integers - zero_point) * (scale / latents.scale) + latents.zero_point
    inside = np.clip(real, 0, latents.largest)
    assert (np.abs(result - inside) <= 0.5 + 1e-3).all()
    by_way_of_floats = quantize(((integers - zero_point) * scale).astype(np.float32), latents)
    clear = np.abs(real - np.floor(real) - 0.5) > 1e-3
    assert (result == by_way_of_floats)[clear].all()
    assert result[integers == zero_point].tolist() in ([], [latents.zero_point])


def test_bad_input() -> None:
    latents = UintQ.from_range(0.0, 1.0, 7)
    with pytest.raises(UserError, match="the latents have NaN"):
        quantize(np.array([0.5, math.nan], np.float32), latents)
    with pytest.raises(UserError, match="latents reach 128, which needs more than 7 bits"):
        pack(np.array([128], np.uint8), 7)
    with pytest.raises(UserError, match="9 latents of 7 bits take 8 bytes, not 7"):
        unpack(np.zeros(7, np.uint8), 7, 9)
    for bits in (0, 9):
        with pytest.raises(UserError, match="choose 1 to 8 bits"):
            pack(np.zeros(1, np.uint8), bits)
        with pytest.raises(UserError, match="choose 1 to 8 bits"):
            unpack(np.zeros(1, np.uint8), bits, 1)
