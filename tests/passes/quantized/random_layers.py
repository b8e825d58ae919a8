"""Integer graphs of random layers: several branches from one input, their ends joined."""

from __future__ import annotations

import numpy as np
import torch
from torch.nn import functional

from tvm_pulp.oracle.integer import quantize, run_operator
from tvm_pulp.passes.operators.choose_multipliers import choose_multipliers
from tvm_pulp.passes.operators.conv2d import Conv2d
from tvm_pulp.passes.operators.requantize import Requantization
from tvm_pulp.passes.quantized import graph as g

BRANCHES, DEPTH = 5, 5
KINDS = ("conv2d", "conv2d", "depthwise", "depthwise", "pointwise", "pointwise", "grouped", "add", "average",
         "maximum", "lookup")  # fmt: skip
LARGEST = 20
"""Rows and columns of the input."""


class RandomLayers:
    """Draws a graph; `values` are those of `samples` in NumPy, by which scales are chosen."""

    def __init__(self, seed: int) -> None:
        self.random = np.random.default_rng(seed)
        shape = (1, self.integer(1, 13), self.integer(6, LARGEST), self.integer(6, LARGEST))
        self.operators: list[g.Operator] = []
        self.values: dict[str, np.ndarray] = {}
        self.layers = 0
        self.source = self.tensor(shape)
        self.samples = self.random.integers(-90, 346, shape).astype(np.float32) - self.source.zero_point
        self.emit(g.Quantize("input", self.source, "x", shape))

    def integer(self, low: int, high: int) -> int:
        """Draw from low to high, both included."""
        return int(self.random.integers(low, high + 1))

    def pair(self, low: int, high: int) -> tuple[int, int]:
        """Draw two numbers: the same one in two of three cases."""
        first = self.integer(low, high)
        return (first, first) if self.random.random() < 0.66 else (first, self.integer(low, high))

    def tensor(self, shape: tuple[int, ...]) -> g.QuantizedTensor:
        """Return a new tensor; half of them have no negative values."""
        zero_point = 0 if self.random.random() < 0.5 else self.integer(0, 255)
        return g.QuantizedTensor(f"t{len(self.operators)}", shape, 1.0, zero_point)

    def emit(self, operator: g.Operator) -> g.QuantizedTensor:
        """Append an operator."""
        self.operators.append(operator)
        if isinstance(operator, g.Quantize):
            self.values[operator.output.name] = quantize(self.samples, operator.output)
        else:
            self.values[operator.output.name] = run_operator(operator, self.values)
        return operator.output

    def graph(self) -> g.QuantizedGraph:
        """Draw all branches."""
        ends = []
        for _ in range(BRANCHES):
            tensor = self.source
            for _ in range(DEPTH - 1):
                tensor = self.layer(tensor, KINDS[self.integer(0, len(KINDS) - 1)])
            ends.append(self.linear(self.flat(tensor)))
        size = sum(end.shape[1] for end in ends)
        self.emit(g.Concatenate("joined", self.tensor((1, size)), tuple(ends), 1))
        return g.QuantizedGraph("layers", ("x",), tuple(self.operators), self.operators[-1].output)

    def flat(self, source: g.QuantizedTensor) -> g.QuantizedTensor:
        """Flatten an image."""
        name, size = f"t{len(self.operators)}", int(np.prod(source.shape))
        output = g.QuantizedTensor(name, (1, size), source.scale, source.zero_point)
        return self.emit(g.View(name, output, source))

    def layer(self, source: g.QuantizedTensor, kind: str) -> g.QuantizedTensor:
        """Append a random layer."""
        self.layers += 1
        if kind in ("conv2d", "depthwise", "pointwise", "grouped"):
            return self.convolution(source, kind)
        if kind == "add":
            return self.add(source)
        if kind == "lookup":
            table = self.random.integers(0, 256, 256).astype(np.uint8)
            output = self.tensor(source.shape)
            return self.emit(g.Lookup(output.name, output, source, table))
        return self.pool(source, kind)

    def weights(self, shape: tuple[int, ...]) -> tuple[np.ndarray, int]:
        """Return weights of 8 or 4 bits, and the bits."""
        bits = 4 if self.random.random() < 0.3 else 8
        limit = 2 ** (bits - 1) - 1
        return self.random.integers(-limit, limit + 1, shape).astype(np.int8), bits

    def requantized(
        self, shape: tuple[int, ...], weight: np.ndarray, sums: np.ndarray
    ) -> tuple[g.QuantizedTensor, np.ndarray, np.ndarray, Requantization]:
        """Return output, bias, multipliers and requantisation; axis 1 of the sums are channels."""
        output = self.tensor(shape)
        axes = tuple(axis for axis in range(sums.ndim) if axis != 1)
        spread = sums.std(axis=axes) + np.abs(sums).mean(axis=axes) / 8 + 1
        bias = np.rint(self.random.uniform(-0.5, 0.5, len(weight)) * spread - sums.mean(axis=axes))
        low = output.zero_point if self.random.random() < 0.5 else 0
        high = self.integer(max(low, 200), 255) if self.random.random() < 0.3 else 255
        scales = self.random.uniform(30, 80, len(weight)) / spread
        largest = (
            255.0 * np.abs(weight.astype(np.int64)).reshape(len(weight), -1).sum(axis=1) + np.abs(bias) + 1
        )
        form = ("short", "narrow", "halfword", "wide")[self.integer(0, 3)]
        multipliers, scaled = choose_multipliers(
            scales, largest, zero_point=output.zero_point, low=low, high=high,
            forms=() if form == "wide" else (form,),
        )  # fmt: skip
        return output, bias.astype(np.int32), multipliers, scaled

    def centred(self, source: g.QuantizedTensor) -> torch.Tensor:
        """Return a tensor's values less its zero point."""
        return torch.from_numpy(self.values[source.name].astype(np.float64) - source.zero_point)

    def convolution(self, source: g.QuantizedTensor, kind: str) -> g.QuantizedTensor:
        """Append a convolution."""
        _, channels, height, width = source.shape
        groups, outputs, kernel, strides, padding, dilation = (
            1,
            self.integer(1, 18),
            (1, 1),
            (1, 1),
            (0,) * 4,
            (1, 1),
        )
        if kind == "depthwise":
            groups = outputs = channels
        if kind == "grouped":
            groups = max(
                n for n in range(1, channels + 1) if (channels % n == 0 and n <= channels // 2) or n == 1
            )
            outputs = groups * self.integer(1, 4)
        if kind != "pointwise":
            kernel, strides = self.pair(1, min(4, height, width)), self.pair(1, 2)
            padding = tuple(self.integer(0, 2) for _ in range(4))
            if self.random.random() < 0.15:
                dilation = self.pair(1, 2)
        extents = [d * (k - 1) + 1 for d, k in zip(dilation, kernel, strict=True)]
        rows, columns = (
            (extent + padding[axis] + padding[axis + 2] - size) // strides[axis] + 1
            for axis, (extent, size) in enumerate(zip((height, width), extents, strict=True))
        )
        if min(rows, columns) < 1:
            return self.convolution(source, "pointwise")
        attributes = Conv2d(strides, padding, dilation, groups)
        weight, bits = self.weights((outputs, channels // groups, *kernel))
        return self.convolved(source, attributes, weight, bits)

    def convolved(
        self, source: g.QuantizedTensor, a: Conv2d, weight: np.ndarray, bits: int
    ) -> g.QuantizedTensor:
        """Append a convolution by some weights."""
        top, left, bottom, right = a.padding
        data = functional.pad(self.centred(source), (left, right, top, bottom))
        factors = torch.from_numpy(weight.astype(np.float64))
        sums = functional.conv2d(data, factors, None, a.strides, 0, a.dilation, a.groups).numpy()
        output, bias, multipliers, scaled = self.requantized(sums.shape, weight, sums)
        return self.emit(
            g.QuantizedConv2d(output.name, output, source, a, weight, bias, multipliers, scaled, bits)
        )

    def linear(self, source: g.QuantizedTensor) -> g.QuantizedTensor:
        """Append a matrix product."""
        self.layers += 1
        weight, bits = self.weights((self.integer(5, 12), source.shape[1]))
        sums = (self.centred(source) @ torch.from_numpy(weight.astype(np.float64)).T).numpy()
        output, bias, multipliers, scaled = self.requantized((1, len(weight)), weight, sums)
        return self.emit(
            g.QuantizedLinear(output.name, output, source, weight, bias, multipliers, scaled, bits)
        )

    def add(self, source: g.QuantizedTensor) -> g.QuantizedTensor:
        """Append the sum of two tensors: the other is a convolution of this one."""
        other = self.convolved(source, Conv2d(), *self.weights((source.shape[1], source.shape[1], 1, 1)))
        self.layers += 1
        shift = self.integer(10, 20)
        factors = tuple(int(2**shift * self.random.uniform(-1, 1)) for _ in range(2))
        output = self.tensor(source.shape)
        low = output.zero_point if self.random.random() < 0.3 else 0
        return self.emit(g.QuantizedAdd(output.name, output, source, other, factors, shift, low, 255))

    def pool(self, source: g.QuantizedTensor, kind: str) -> g.QuantizedTensor:
        """Append a pooling."""
        _, channels, height, width = source.shape
        window, strides = self.pair(1, min(3, height, width)), self.pair(1, min(2, height, width))
        padding = tuple(self.integer(0, size // 2) for size in (*window, *window))
        rows, columns = (
            (extent + padding[axis] + padding[axis + 2] - window[axis]) // strides[axis] + 1
            for axis, extent in enumerate((height, width))
        )
        output = self.tensor((1, channels, rows, columns))
        if kind == "maximum":
            output = g.QuantizedTensor(output.name, output.shape, 1.0, source.zero_point)
            return self.emit(
                g.QuantizedMaxPool2d(output.name, output, source, window, strides, padding, (1, 1))
            )
        each = self.random.random() < 0.5
        shape = (rows, columns) if each else (1, 1)
        taps = window[0] * window[1]
        scales = self.random.uniform(0.5, 1.2, shape[0] * shape[1]) / taps
        multipliers, scaled = choose_multipliers(
            scales, np.full(scales.size, 255 * taps), zero_point=output.zero_point
        )
        return self.emit(
            g.QuantizedAveragePool2d(
                output.name, output, source, window, strides, padding, multipliers.reshape(shape), scaled
            )
        )


def draw(seed: int) -> tuple[g.QuantizedGraph, np.ndarray, dict[str, np.ndarray], int]:
    """Return a graph, an input, every tensor's value by NumPy, and the number of layers."""
    layers = RandomLayers(seed)
    graph = layers.graph()
    return graph, layers.samples, layers.values, layers.layers
