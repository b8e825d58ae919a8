"""Ranges of sums: a little wider, so that the ratios of their scales are bytes over a power of two."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from examples.digits import digits
from examples.models.residual import residual_digits
from tests.passes.quantized.test_quantize import integer_and_float, signal_to_noise
from tvm_pulp.passes.operators.choose_multipliers import choose_sum_multipliers
from tvm_pulp.passes.operators.linear_sum import BYTES, find_linear_sum
from tvm_pulp.passes.operators.quantized_add import rounded_sums
from tvm_pulp.passes.operators.requantize import Rounding
from tvm_pulp.passes.quantized.align_sums import align_sums
from tvm_pulp.passes.quantized.graph import QuantizedAdd, QuantizedTensor
from tvm_pulp.passes.quantized.parameters import activation

SIZES = st.floats(0.5, 2.0)


def tensors(ranges: dict[str, tuple[float, float]]) -> dict[str, QuantizedTensor]:
    return {name: activation(name, (1, 4), *bounds, name) for name, bounds in ranges.items()}


def total(
    known: dict[str, QuantizedTensor], left: str, right: str, result: str, sign: int = 1
) -> QuantizedAdd:
    ratios = known[left].scale / known[result].scale, known[right].scale / known[result].scale
    multipliers, shift = choose_sum_multipliers(result, ratios, subtracts=sign < 0)
    return QuantizedAdd(result, known[result], known[left], known[right], multipliers, shift)


def has_bytes(operator: QuantizedAdd) -> bool:
    """Tell whether multipliers of 8 bits give the sums."""
    centred = BYTES[:, None] - operator.left.zero_point, BYTES - operator.right.zero_point
    rest = operator.multipliers, operator.shift
    table = rounded_sums(*centred, *rest, operator.output.zero_point, (0, 255), Rounding.HALF_UP)
    first, second = (multiplier / 2**operator.shift for multiplier in operator.multipliers)
    form = find_linear_sum(table, (first, second), (0, 255))
    return form is not None and form.bits == 8


@given(st.lists(SIZES, min_size=5, max_size=5), st.floats(0.0, 1.0))
def test_a_chain_of_sums(sizes: list[float], negative: float) -> None:
    names = ("first", "branch", "second", "further", "last")
    ranges = {name: (-negative * size, size) for name, size in zip(names, sizes, strict=True)}
    chain = (("branch", "first", "second"), ("second", "further", "last"))
    before = tensors(ranges)
    aligned = align_sums([total(before, *which) for which in chain], ranges)
    after = tensors(aligned)
    assert aligned["first"] == ranges["first"]
    for name, (low, high) in ranges.items():
        assert low * (1 + 1 / 32) <= aligned[name][0] <= low
        assert high <= aligned[name][1] <= high * (1 + 1 / 32)
        assert abs(after[name].zero_point + low / before[name].scale) < 0.501  # where it was, rounded
    for left, right, result in chain:
        changed = any(aligned[name] != ranges[name] for name in (left, result))
        ratios = [after[name].scale / after[result].scale for name in (left, right)]
        if changed and max(ratios) < 1.99:
            assert has_bytes(total(after, left, right, result))


def test_a_range_that_would_be_much_wider_stays() -> None:
    ranges = {"left": (0.0, 1.0), "right": (0.0, 0.0113), "result": (0.0, 1.0)}  # 2.9 / 256
    assert align_sums([total(tensors(ranges), "left", "right", "result")], ranges) == ranges


def test_differences_and_sums_with_itself_stay() -> None:
    ranges = {"left": (-1.0, 1.0), "right": (-0.7, 0.7), "result": (-1.3, 1.3)}
    known = tensors(ranges)
    assert align_sums([total(known, "left", "right", "result", -1)], ranges) == ranges
    assert align_sums([total(known, "left", "left", "result")], ranges) == ranges


def test_all_sums_of_a_network_have_bytes() -> None:
    x = digits(32)[0][:64]
    graph, found, exact = integer_and_float(residual_digits(), x)
    sums = [operator for operator in graph.operators if isinstance(operator, QuantizedAdd)]
    assert len(sums) >= 2
    assert all(map(has_bytes, sums))
    assert signal_to_noise(np.asarray(exact), found) > 35
