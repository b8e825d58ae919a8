"""Operators of the integer graph that pick elements."""

from __future__ import annotations

from dataclasses import dataclass

from tvm_pulp.passes.quantized.graph import Operator, QuantizedTensor


@dataclass(frozen=True)
class Slice(Operator):
    """Every so many elements from a start on: element i of an axis is ``source[start + i * stride]``."""

    source: QuantizedTensor
    start: tuple[int, ...]
    strides: tuple[int, ...]


@dataclass(frozen=True)
class ResizeNearest(Operator):
    """An image of another size: row y is row ``(y * a + b) // c`` of the source, columns likewise.

    Attributes
    ----------
    rows, columns : three int
        a, b and c.
    """

    source: QuantizedTensor
    rows: tuple[int, int, int]
    columns: tuple[int, int, int]
