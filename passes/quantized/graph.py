"""The integer graph: tensors of 8 bits with a scale and a zero point, and operators on them.

All tensors between operators are unsigned bytes q that stand for ``scale * (q - zero_point)``; axis 0 is
the batch and the layout that of the model, NCHW. Models with signed bytes are brought to it by adding 128 to
value and zero point, which changes no result. Arithmetic and rounding are those of `tvm_pulp.oracle.integer`.
What a network that comes quantised leaves in float32 stands between `FloatOperator`s of `float_operators.py`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tvm_pulp.passes.operators.conv2d import Conv2d
from tvm_pulp.passes.operators.requantize import Requantization, Rounding

Shape = tuple[int, ...]


@dataclass(frozen=True)
class QuantizedTensor:
    """A tensor of unsigned bytes.

    Attributes
    ----------
    name : str
        Unique in the graph.
    shape : tuple of int
        With the batch.
    scale : float
        Above 0.
    zero_point : int
        0 to 255.
    """

    name: str
    shape: Shape
    scale: float
    zero_point: int

    def values(self, dtype: type[np.floating]) -> np.ndarray:
        """Give the numbers that the bytes 0 to 255 stand for, computed in a type."""
        return (np.arange(256) - self.zero_point).astype(dtype) * dtype(self.scale)


@dataclass(frozen=True)
class FloatTensor:
    """A tensor of float32, in the model's layout; its name is unique in the graph."""

    name: str
    shape: Shape


@dataclass(frozen=True)
class Operator:
    """What all operators have: the layer of the model that they stem from, and their result."""

    layer: str
    output: QuantizedTensor


@dataclass(frozen=True)
class FloatOperator:
    """The same for those whose result is float32."""

    layer: str
    output: FloatTensor


@dataclass(frozen=True)
class Quantize(Operator):
    """``clip(round(x * (1 / scale)) + zero_point, 0, 255)`` of a tensor of float32.

    ``1 / scale`` is rounded to float32, so that the cluster multiplies; see `tvm_pulp.oracle.integer`.

    Attributes
    ----------
    source, source_shape
        The input's name, or a `FloatTensor`'s.
    axes : tuple of int, optional
        Axis i of the output is axis ``axes[i]`` of the input; None where they are the same.
    rounding : Rounding
        `HALF_UP`: ``floor(x + 0.5)``; `HALF_EVEN` or `HALF_AWAY`.
    divides : bool
        ``x / scale`` in place of the product.
    """

    source: str
    source_shape: Shape
    axes: tuple[int, ...] | None = None
    rounding: Rounding = Rounding.HALF_UP
    divides: bool = False


@dataclass(frozen=True)
class QuantizedInput(Operator):
    """An input that is bytes, uint8 or int8; 128 is added to the latter. `axes` as for `Quantize`."""

    source: str
    source_shape: Shape
    dtype: str
    axes: tuple[int, ...] | None = None


@dataclass(frozen=True)
class QuantizedConv2d(Operator):
    """A convolution; padding holds the source's zero point.

    Attributes
    ----------
    weight : ndarray of int8, ``[output channels, channels / groups, kh, kw]``
    bias : ndarray of int32, ``[output channels]``
        In units of the source's scale times the channel's weight scale.
    multipliers : ndarray of int32, ``[output channels]``
    requantization : Requantization
        From the sums to the output.
    weight_bits : int
        8, or 4: weights within +-7.
    """

    source: QuantizedTensor
    attributes: Conv2d
    weight: np.ndarray
    bias: np.ndarray
    multipliers: np.ndarray
    requantization: Requantization
    weight_bits: int = 8


@dataclass(frozen=True)
class QuantizedLinear(Operator):
    """A matrix product with a bias: ``[batch, inputs]`` times ``weight`` of int8, ``[outputs, inputs]``."""

    source: QuantizedTensor
    weight: np.ndarray
    bias: np.ndarray
    multipliers: np.ndarray
    requantization: Requantization
    weight_bits: int = 8


@dataclass(frozen=True)
class QuantizedAdd(Operator):
    """``clip(((ml * (l - zl) + mr * (r - zr) + 2^(shift - 1)) >> shift) + zero_point, minimum, maximum)``.

    The multipliers are at most 2^22, so the sum stays within 32 bits. With `rounding` `HALF_EVEN`, halves go
    to the even integer.
    """

    left: QuantizedTensor
    right: QuantizedTensor
    multipliers: tuple[int, int]
    shift: int
    minimum: int = 0
    maximum: int = 255
    rounding: Rounding = Rounding.HALF_UP


@dataclass(frozen=True)
class RescaledAdd(Operator):
    """A sum, or difference, as TFLite computes it.

    ``clip(scaled(scaled(l - zl << 20) +- scaled(r - zr << 20)) + zero_point, minimum, maximum)`` where
    `scaled` is `round_twice`.

    Attributes
    ----------
    multipliers : three pairs of int
        Multiplier and shift of the left operand, the right one, and the result.
    """

    left: QuantizedTensor
    right: QuantizedTensor
    multipliers: tuple[tuple[int, int], tuple[int, int], tuple[int, int]]
    subtracts: bool = False
    minimum: int = 0
    maximum: int = 255


@dataclass(frozen=True)
class QuantizedAveragePool2d(Operator):
    """A mean over windows: the requantised sum of ``q - zero_point`` of what lies inside the data.

    Attributes
    ----------
    multipliers : ndarray of int32
        ``[output height, output width]`` where windows at the border count fewer elements, else ``[1, 1]``.
    requantization : Requantization
        From the sums to the output.
    """

    source: QuantizedTensor
    window: tuple[int, int]
    strides: tuple[int, int]
    padding: tuple[int, int, int, int]
    multipliers: np.ndarray
    requantization: Requantization


@dataclass(frozen=True)
class QuantizedMaxPool2d(Operator):
    """A maximum over windows; padding does not count. The result has the source's scale."""

    source: QuantizedTensor
    window: tuple[int, int]
    strides: tuple[int, int]
    padding: tuple[int, int, int, int]
    dilation: tuple[int, int]


@dataclass(frozen=True)
class Lookup(Operator):
    """Any function of one byte: ``table[q]``, uint8 ``[256]``: a change of scale, a bound, a sigmoid."""

    source: QuantizedTensor
    table: np.ndarray


@dataclass(frozen=True)
class QuantizedSoftmax(Operator):
    """A softmax along the last axis of a tensor that is no image, in float32 by a table.

    ``clip(round(e * (1 / (sum(e) * scale))) + zero_point, 0, 255)`` with ``e = table[255 - largest + q]``,
    float32 ``[256]``; the sum runs from the first to the last, halves go away from zero; `scale` and
    `zero_point` are the output's.
    """

    source: QuantizedTensor
    table: np.ndarray


@dataclass(frozen=True)
class Concatenate(Operator):
    """Tensors of one scale and zero point, joined along an axis."""

    sources: tuple[QuantizedTensor, ...]
    axis: int


@dataclass(frozen=True)
class View(Operator):
    """The same elements with another shape, in row-major order, or that with channels innermost (NHWC)."""

    source: QuantizedTensor
    channels_last: bool = False


@dataclass(frozen=True)
class Pad(Operator):
    """Elements of the source's zero point around the data, numbers of them for each axis."""

    source: QuantizedTensor
    before: tuple[int, ...]
    after: tuple[int, ...]


@dataclass(frozen=True)
class Transpose(Operator):
    """Axis i of the result is axis ``axes[i]`` of the source."""

    source: QuantizedTensor
    axes: tuple[int, ...]


@dataclass(frozen=True)
class QuantizedGraph:
    """A network, or the frozen stage of one, in integers.

    Attributes
    ----------
    name : str
        Of the model.
    inputs : tuple of str
        Names of the inputs, each read by `Quantize` or `FloatLayers` (float32) or a `QuantizedInput`.
    operators : tuple of Operator or FloatOperator
        In execution order.
    output : QuantizedTensor or FloatTensor
        What it yields.
    output_dtype : str
        "float32": the numbers that the bytes stand for; "uint8": the bytes; "int8": the bytes less 128.
    """

    name: str
    inputs: tuple[str, ...]
    operators: tuple[Operator | FloatOperator, ...]
    output: QuantizedTensor | FloatTensor
    output_dtype: str = "float32"
