"""Scales of sums' operands and results that are ratios of bytes, so that byte multipliers are exact.

A range that was calibrated may be a little wider: the scale of a sum's result is made ``2^shift / right``
times that of its right operand, the left operand's ``left / 2^shift`` times that of the result, by integers
up to 255.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from tvm_pulp.passes.quantized.graph import FloatOperator, Operator, QuantizedAdd

Ranges = Mapping[str, tuple[float, float]]

_MOST = 255
_WIDER = 1 / 32
"""How much wider a range may become, as a share: a quarter of a decibel, or 0.04 bits, at most."""


def align_sums(
    operators: Sequence[Operator | FloatOperator], ranges: Ranges
) -> dict[str, tuple[float, float]]:
    """Widen the ranges of tensors that are added, or come of it, where that makes ratios of scales exact.

    Parameters
    ----------
    operators
        Of the graph that the ranges give.
    ranges
        Least and greatest value by a tensor's name.

    Returns
    -------
    dict of str to (float, float)
        All ranges. Those of differences are as before, and so are those of sums of which two tensors are
        bound by others, or that would become more than 1/32 wider.
    """
    found, bound = dict(ranges), set[str]()
    wider: dict[str, float] = {}
    for operator in operators:
        if not isinstance(operator, QuantizedAdd) or min(operator.multipliers) < 0:
            continue
        left, right, result = operator.left, operator.right, operator.output
        if right.name not in bound and left.name in bound:
            left, right = right, left
        names = left.name, right.name, result.name
        if (
            len(set(names)) < 3
            or bound & {left.name, result.name}
            or not {left.name, result.name} <= set(found)
        ):
            continue
        scales = left.scale, right.scale * wider.get(right.name, 1.0), result.scale
        factors = _factors(*scales)
        bound |= set(names)
        if factors is None:
            continue
        for name, factor in zip((left.name, result.name), factors, strict=True):
            wider[name] = factor
            low, high = found[name]
            found[name] = low * factor, high * factor
    return found


def _factors(left: float, right: float, result: float) -> tuple[float, float] | None:
    """Return by what factors the scales of a left operand and a result must grow; None for too much."""
    for shift in range(math.floor(math.log2(_MOST * result / max(left, right))), 0, -1):
        multiplier = math.floor(right / result * 2**shift)
        if multiplier < 1:
            return None
        wider = right * 2**shift / multiplier
        other = math.ceil(left / wider * 2**shift)
        if max(multiplier, other) <= _MOST:
            factors = max(other * wider / 2**shift / left, 1.0), max(wider / result, 1.0)
            return factors if max(factors) <= 1 + _WIDER else None
    return None
