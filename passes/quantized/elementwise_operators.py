"""Operators of the integer graph that broadcast: products of tensors, functions a channel, constants."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tvm_pulp.passes.operators.requantize import Requantization
from tvm_pulp.passes.quantized.graph import Operator, QuantizedTensor


@dataclass(frozen=True)
class Constant(Operator):
    """Bytes that depend on nothing: uint8 of the output's shape."""

    value: np.ndarray


@dataclass(frozen=True)
class QuantizedMultiply(Operator):
    """``(l - zl) * (r - zr)``, requantised; the operands have one rank and broadcast.

    Attributes
    ----------
    multiplier : int
    shift : int
        That of `requantization`, or its own one, see `Requantization.own_shifts`.
    requantization : Requantization
        From the products to the output.
    """

    left: QuantizedTensor
    right: QuantizedTensor
    multiplier: int
    shift: int
    requantization: Requantization


@dataclass(frozen=True)
class ChannelLookup(Operator):
    """A function of one byte for each channel: ``tables[channel][q]``, uint8 ``[channels, 256]``."""

    source: QuantizedTensor
    tables: np.ndarray
