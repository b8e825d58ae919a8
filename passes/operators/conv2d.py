"""Two-dimensional convolution of any stride, padding, dilation and number of groups: the forward kernel.

Activations are NCHW, weights OIHW. What the gradients share is here too.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

from tvm import te

from tvm_pulp.passes.operators.kernel import (
    Scalar,
    Shape,
    argument,
    make_kernel,
    rounded,
    value_if,
    widened,
    within,
)
from tvm_pulp.target.tvm_names import PrimFunc


@dataclass(frozen=True)
class Conv2d:
    """Attributes of a convolution.

    Attributes
    ----------
    strides : (int, int)
        Of height and width, as all pairs here.
    padding : (int, int, int, int)
        Zeros at the top, left, bottom and right.
    dilation : (int, int)
        Distance of the weights' taps.
    groups : int
        Groups of input and output channels that have nothing to do with each other.
    """

    strides: tuple[int, int] = (1, 1)
    padding: tuple[int, int, int, int] = (0, 0, 0, 0)
    dilation: tuple[int, int] = (1, 1)
    groups: int = 1

    def output_shape(self, data: Shape, weight: Shape) -> Shape:
        """Shape of the result."""
        top, left, bottom, right = self.padding
        height, width = (
            (extent + before + after - step * (taps - 1) - 1) // stride + 1
            for extent, before, after, step, taps, stride in zip(
                data[2:], (top, left), (bottom, right), self.dilation, weight[2:], self.strides, strict=True
            )
        )
        return (data[0], weight[0], height, width)

    def macs(self, data: Shape, weight: Shape) -> int:
        """Multiply-accumulates of the forward computation; each gradient has as many."""
        batch, _, height, width = self.output_shape(data, weight)
        return batch * height * width * math.prod(weight)

    def details(self) -> dict[str, Any]:
        """Attributes of a PrimFunc of the conv2d classes."""
        return {"pulp.conv2d": asdict(self)}

    def input_channel(self, output_channel: Scalar, channel: Scalar, weight: Shape) -> Scalar:
        """Input channel that weight [output_channel, channel] multiplies."""
        if self.groups == 1:
            return channel
        per_group = weight[0] // self.groups
        group = output_channel if per_group == 1 else output_channel // per_group
        return group if weight[1] == 1 else group * weight[1] + channel

    def padded(
        self, tensor: te.Tensor, leading: tuple[Scalar, Scalar], out: Any, tap: Any, extents: Any
    ) -> Scalar:
        """Element of the data that an output position and a tap of the weights meet at, 0 in the padding.

        Parameters
        ----------
        tensor
            Data, NCHW.
        leading
            Sample and channel.
        out, tap
            Pairs of index expressions: output position, position in the weights.
        extents
            Pairs of what `out` and `tap` are below of: ``((height, width) of the output, (kh, kw))``.
        """
        position, conditions = [], []
        for axis in range(2):
            stride, before, step = self.strides[axis], self.padding[axis], self.dilation[axis]
            at = out[axis] * stride + tap[axis] * step - before
            highest = (extents[0][axis] - 1) * stride + (extents[1][axis] - 1) * step - before
            conditions += within(at, -before, highest, int(tensor.shape[2 + axis]))
            position.append(at)
        return value_if(conditions, widened(tensor(*leading, *position)))


def conv2d(
    layer: str,
    work: str,
    attributes: Conv2d,
    data_shape: Shape,
    weight_shape: Shape,
    dtype: str = "float32",
) -> PrimFunc:
    """Make the forward kernel.

    Parameters
    ----------
    layer, work
        See `make_kernel`.
    attributes
        Strides and so on.
    data_shape, weight_shape
        ``[batch, channels, height, width]`` and ``[output channels, channels / groups, kh, kw]``.
    dtype
        Of all tensors, ``"float32"`` or ``"float16"``; sums are of float32, rounded once.

    Returns
    -------
    PrimFunc
        Operator class ``"conv2d"``: data, weight, output.
    """
    data, weight = (
        argument(name, shape, dtype) for name, shape in (("data", data_shape), ("weight", weight_shape))
    )
    shape = attributes.output_shape(data_shape, weight_shape)
    _, channels, *taps = weight_shape
    channel = te.reduce_axis((0, channels), name="channel")
    row, column = te.reduce_axis((0, taps[0]), name="kh"), te.reduce_axis((0, taps[1]), name="kw")

    def compute(n: Scalar, o: Scalar, h: Scalar, w: Scalar) -> Scalar:
        source = (n, attributes.input_channel(o, channel, weight_shape))
        element = attributes.padded(data, source, (h, w), (row, column), (shape[2:], taps))
        return te.sum(element * widened(weight(o, channel, row, column)), axis=[channel, row, column])

    output = te.compute(shape, compute, name="output")
    return make_kernel(
        [data, weight],
        [rounded(output, dtype)],
        operator="conv2d",
        layer=layer,
        work=work,
        macs=attributes.macs(data_shape, weight_shape),
        details=attributes.details(),
    )
