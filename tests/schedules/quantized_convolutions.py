"""Quantised convolutions in NumPy."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st

from tvm_pulp.passes.operators.quantized_conv2d import QuantizedConv2d


def image_sizes(g: QuantizedConv2d, least: int, most: int) -> st.SearchStrategy[tuple[int, int]]:
    """Rows and columns of images that hold a window: `least` to `most`, or more where the window needs it."""
    top, left, bottom, right = g.padding
    paddings = (top + bottom, left + right)
    needed = [
        max(least, (taps - 1) * dilation + 1 - padding)
        for taps, dilation, padding in zip(g.kernel, g.dilation, paddings, strict=True)
    ]
    return st.tuples(*[st.integers(extent, max(extent, most)) for extent in needed])


def windows(data: np.ndarray, g: QuantizedConv2d) -> np.ndarray:
    """Padded windows [images, rows, columns, kernel rows, kernel columns, channels] as int64."""
    top, left, bottom, right = g.padding
    pads = ((0, 0), (top, bottom), (left, right), (0, 0))
    padded = np.pad(data.astype(np.int64), pads, constant_values=g.zero_point)
    rows, columns = g.output_size(*data.shape[1:3])
    y = np.arange(rows)[:, None] * g.strides[0] + np.arange(g.kernel[0]) * g.dilation[0]
    x = np.arange(columns)[:, None] * g.strides[1] + np.arange(g.kernel[1]) * g.dilation[1]
    return padded[:, y[:, None, :, None], x[None, :, None, :]]


def conv2d_sums(data: np.ndarray, weight: np.ndarray, g: QuantizedConv2d) -> np.ndarray:
    """Sums [images, rows, columns, outputs] for weights [outputs, inputs of a group, rows, columns]."""
    groups, found = data.shape[3] // weight.shape[1], windows(data, g)
    parts = zip(np.split(found, groups, -1), np.split(weight.astype(np.int64), groups), strict=True)
    return np.concatenate([np.einsum("byxhwc,ochw->byxo", *part) for part in parts], axis=-1)


def depthwise_sums(data: np.ndarray, weight: np.ndarray, g: QuantizedConv2d) -> np.ndarray:
    """Sums [images, rows, columns, channels] for weights [channels, 1, rows, columns]."""
    return np.einsum("byxhwc,chw->byxc", windows(data, g), weight[:, 0].astype(np.int64))
