"""Layers of the integer graph in NumPy: sums of products, and what is computed in float32."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.lib.stride_tricks import sliding_window_view

from tvm_pulp.oracle.forward import forward
from tvm_pulp.passes.model import with_batch
from tvm_pulp.passes.quantized.float_operators import Dequantize, DequantizedLayer, FloatLayers
from tvm_pulp.passes.quantized.graph import FloatOperator, QuantizedConv2d, QuantizedLinear, QuantizedTensor

Values = Mapping[str, np.ndarray]


def dequantize(values: np.ndarray, tensor: QuantizedTensor) -> np.ndarray:
    """Give the float32 numbers that bytes stand for."""
    return (values.astype(np.int32) - tensor.zero_point).astype(np.float32) * np.float32(tensor.scale)


def run_float_operator(operator: FloatOperator, values: Values, floats: Values) -> np.ndarray:
    """Compute what an integer graph holds of float32, from bytes and float tensors by their names."""
    if isinstance(operator, Dequantize):
        return dequantize(values[operator.source.name], operator.source)
    if isinstance(operator, DequantizedLayer):
        found = layer_sums(operator, values).astype(np.float32) * operator.scales
        return found.transpose(0, 3, 1, 2) if found.ndim == 4 else found
    assert isinstance(operator, FloatLayers)
    inputs = {
        name: torch.from_numpy(np.ascontiguousarray(floats[name], np.float32))
        for name in operator.model.inputs
    }
    parameters = {name: torch.from_numpy(np.array(v)) for name, v in operator.model.parameters.items()}
    model = with_batch(operator.model, len(next(iter(inputs.values()))))
    with torch.no_grad():
        return forward(model, inputs, parameters)[0].numpy()


def layer_sums(operator: QuantizedConv2d | QuantizedLinear | DequantizedLayer, values: Values) -> np.ndarray:
    """Compute a layer's sums with their bias, int64, the channels last."""
    data = centred(operator.source, values).astype(np.float64)  # sums below 2^53 are exact, and fast by BLAS
    weight = operator.weight.astype(np.float64)
    attributes = None if isinstance(operator, QuantizedLinear) else operator.attributes
    if attributes is None:
        return (data @ weight.T).astype(np.int64) + operator.bias
    found = windows(data, weight.shape[2:], attributes.strides, attributes.padding, attributes.dilation, 0)
    batch, _, height, width = found.shape[:4]
    groups = attributes.groups
    grouped = found.reshape(batch, groups, weight.shape[1], height, width, *weight.shape[2:])
    kernels = weight.reshape(groups, -1, *weight.shape[1:])
    sums = np.einsum("bgchwij,gocij->bhwgo", grouped, kernels, optimize=True)
    return sums.reshape(batch, height, width, -1).astype(np.int64) + operator.bias


def centred(tensor: QuantizedTensor, values: Values) -> np.ndarray:
    """Give a tensor's bytes less its zero point, int64."""
    return values[tensor.name].astype(np.int64) - tensor.zero_point


def windows(
    data: np.ndarray,
    window: Any,
    strides: tuple[int, int],
    padding: tuple[int, int, int, int],
    dilation: tuple[int, int],
    value: int,
) -> np.ndarray:
    """Windows of NCHW data: ``[batch, channels, height, width, kh, kw]``."""
    top, left, bottom, right = padding
    data = np.pad(data, ((0, 0), (0, 0), (top, bottom), (left, right)), constant_values=value)
    extents = tuple(step * (taps - 1) + 1 for taps, step in zip(window, dilation, strict=True))
    found = sliding_window_view(data, extents, axis=(2, 3))
    return found[:, :, :: strides[0], :: strides[1], :: dilation[0], :: dilation[1]]
