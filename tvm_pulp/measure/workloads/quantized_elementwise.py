"""Sums and products of two tensors of bytes, each with its scale, as integer networks have them."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from tvm_pulp.measure.specification import Key, Specification
from tvm_pulp.measure.workloads.workload import Cost, Workload
from tvm_pulp.passes.operators.choose_multipliers import choose_multipliers, choose_sum_multipliers
from tvm_pulp.passes.operators.quantized_add import quantized_add, rounded_sums
from tvm_pulp.passes.operators.quantized_multiply import quantized_multiply
from tvm_pulp.passes.operators.requantize import Rounding, twice_multiplier
from tvm_pulp.passes.operators.rescaled_add import rescaled_add, rescaled_sums

ROUNDING = Key("rounding", "half-up", ("half-up", "half-even", "tflite"))
"""Of sums in int8: as in networks that are quantised here, ONNX's, TFLite's."""

_SCALES, _ZERO_POINTS = (0.021, 0.033, 0.041), (3, 131, 122)
"""Of left operand, right operand and result."""
_ALIGNED = (131 / 256, 206 / 256, 1.0)
"""Scales as networks get them that are quantised here, see `align_sums`."""
_ALL = (0, 255)
_ROUNDINGS = {"half-up": (Rounding.HALF_UP, 1 / 16), "half-even": (Rounding.HALF_EVEN, 2.0**-12)}
"""Rounding, and what a result may be off by because of its multipliers' bits."""


def make_quantized(s: Specification) -> Workload:
    """Make the workload of ``add`` or ``multiply`` in int8."""
    return _add(s) if s.kind == "add" else _multiply(s)


def _add(s: Specification) -> Workload:
    shape = (s.number("elements"),)
    if s.word("rounding") == "tflite":
        largest = 2 * max(_SCALES[:2])
        scales = _SCALES[0] / largest, _SCALES[1] / largest, largest / (2**20 * _SCALES[2])
        first, second, last = (twice_multiplier(scale) for scale in scales)
        pairs = first, second, last
        function = rescaled_add("kernel", "add", (shape, shape), _ZERO_POINTS, pairs, _ALL, False)

        def compute(left: np.ndarray, right: np.ndarray) -> np.ndarray:
            return rescaled_sums(left, right, pairs, _ZERO_POINTS[2], _ALL, False)
    else:
        rounding, accuracy = _ROUNDINGS[s.word("rounding")]
        left, right, result = _ALIGNED if rounding is Rounding.HALF_UP else _SCALES
        ratios = left / result, right / result
        multipliers, shift = choose_sum_multipliers(s.text, ratios, accuracy=accuracy)
        rest = multipliers, shift
        function = quantized_add("kernel", "add", (shape, shape), _ZERO_POINTS, *rest, _ALL, rounding)

        def compute(left: np.ndarray, right: np.ndarray) -> np.ndarray:
            return rounded_sums(left, right, *rest, _ZERO_POINTS[2], _ALL, rounding)

    def expected(arrays: list[np.ndarray]) -> Mapping[int, np.ndarray]:
        left, right = (arrays[n].astype(np.int64) - _ZERO_POINTS[n] for n in range(2))
        return {2: compute(left, right).astype(np.float64)}

    return Workload(s, function, expected, _cost(shape[0]), tolerance=0.0)


def _multiply(s: Specification) -> Workload:
    shape = (s.number("elements"),)
    ratio = _SCALES[0] * _SCALES[1] / 0.021  # spreads the products over a byte
    multipliers, scaled = choose_multipliers([ratio], [255 * 255], zero_point=_ZERO_POINTS[2])
    function = quantized_multiply(
        "kernel", "multiply", (shape, shape), _ZERO_POINTS[:2], int(multipliers[0]), scaled.shift, scaled
    )

    def expected(arrays: list[np.ndarray]) -> Mapping[int, np.ndarray]:
        left, right = (arrays[n].astype(np.int64) - _ZERO_POINTS[n] for n in range(2))
        return {2: scaled.reference(left * right, multipliers).astype(np.float64)}

    return Workload(s, function, expected, _cost(shape[0]), tolerance=0.0)


def _cost(elements: int) -> Cost:
    """A dot product or a product, an addition with a shift and bounds for each value; loads, a store and two
    instructions that pack for four.
    """
    return Cost(instructions=3 * elements + 5 * elements // 4)
