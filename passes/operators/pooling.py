"""What maximum and average pooling share: the windows of a pooling operator."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tvm import te

from tvm_pulp.passes.operators.conv2d_data_gradient import WindowAxis
from tvm_pulp.passes.operators.kernel import Scalar, Shape, within


@dataclass(frozen=True)
class Pool2d:
    """Attributes of a pooling operator over height and width of NCHW data.

    Attributes
    ----------
    window, strides, dilation : (int, int)
        Of height and width.
    padding : (int, int, int, int)
        At the top, left, bottom and right.
    ceil_mode : bool
        Round the output's extents up: a window may then reach beyond the padding.
    count_include_pad : bool
        Average pooling: padding counts as elements.
    """

    window: tuple[int, int]
    strides: tuple[int, int] = (1, 1)
    padding: tuple[int, int, int, int] = (0, 0, 0, 0)
    dilation: tuple[int, int] = (1, 1)
    ceil_mode: bool = False
    count_include_pad: bool = False

    def output_shape(self, data: Shape) -> Shape:
        """Shape of the result; as in PyTorch no window starts in the padding at the end."""
        extents = []
        for axis in range(2):
            before, after = self.padding[axis], self.padding[axis + 2]
            span = data[2 + axis] + before + after - self.dilation[axis] * (self.window[axis] - 1) - 1
            count = (-(-span // self.strides[axis]) if self.ceil_mode else span // self.strides[axis]) + 1
            if self.ceil_mode and (count - 1) * self.strides[axis] >= data[2 + axis] + before:
                count -= 1
            extents.append(count)
        return (data[0], data[1], extents[0], extents[1])

    def axes(self, data: Shape) -> tuple[WindowAxis, WindowAxis]:
        """Windows of height and width, for a gather from the data's side."""
        output = self.output_shape(data)
        row, column = (
            WindowAxis(
                extent=data[2 + axis],
                windows=output[2 + axis],
                taps=self.window[axis],
                stride=self.strides[axis],
                dilation=self.dilation[axis],
                before=self.padding[axis],
            )
            for axis in range(2)
        )
        return row, column

    def element(
        self, data: te.Tensor, leading: Sequence[Scalar], out: Sequence[Scalar], tap: Sequence[Scalar]
    ) -> tuple[Scalar, list[Scalar]]:
        """Element of the data that a window's tap lies on, and the conditions that it is not padding."""
        position, conditions = [], []
        output = self.output_shape(tuple(int(extent) for extent in data.shape))
        for axis in range(2):
            stride, before, step = self.strides[axis], self.padding[axis], self.dilation[axis]
            at = out[axis] * stride + tap[axis] * step - before
            highest = (output[2 + axis] - 1) * stride + (self.window[axis] - 1) * step - before
            conditions += within(at, -before, highest, int(data.shape[2 + axis]))
            position.append(at)
        return data(*leading, *position), conditions

    def taps(self) -> tuple[te.IterVar, te.IterVar]:
        """Axes to reduce a window over."""
        return te.reduce_axis((0, self.window[0]), name="kh"), te.reduce_axis((0, self.window[1]), name="kw")
