"""Kernels of an integer graph's layers with weights, and the arrays that they read."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
from tvm import relax

from tvm_pulp.passes.operators.conv2d import Conv2d
from tvm_pulp.passes.operators.packed_weights import unpack_halves
from tvm_pulp.passes.operators.quantized_conv2d import (
    QuantizedConv2d,
    in_whole_words,
    pack_weight,
    quantized_conv2d,
)
from tvm_pulp.passes.operators.quantized_depthwise import pack_depthwise_weight, quantized_depthwise
from tvm_pulp.passes.operators.quantized_matmul import quantized_matmul
from tvm_pulp.passes.quantized import graph as g
from tvm_pulp.passes.quantized.float_operators import DequantizedLayer
from tvm_pulp.passes.quantized.lower_elementwise import WORK, Lowering
from tvm_pulp.passes.quantized.lower_ends import physical
from tvm_pulp.schedules.base import templates
from tvm_pulp.target.tvm_names import PrimFunc, buffer_shape

Layer = g.QuantizedConv2d | g.QuantizedLinear | DequantizedLayer


def _attributes(operator: Layer) -> Conv2d | None:
    """Return the geometry of a convolution, None of a matrix product."""
    return None if isinstance(operator, g.QuantizedLinear) else operator.attributes


def layer_constants(operator: Layer) -> dict[str, np.ndarray]:
    """Give the arrays that a layer's kernels read, in the order of their arguments."""
    attributes, weight = _attributes(operator), operator.weight
    if attributes is None and weight.shape[1] % 4:
        weight = pack_weight(weight[:, :, None, None])
    elif attributes is not None:
        depthwise = _is_depthwise(operator, attributes)
        groups = attributes.groups // _groups(operator, attributes)
        weight = pack_depthwise_weight(weight) if depthwise else pack_weight(_dense(weight, groups))
    bias = _bias(operator)
    if isinstance(operator, DequantizedLayer):
        return {"weight": weight, "bias": bias, "scale": operator.scales}
    return {"weight": weight, "requantization": operator.requantization.terms(bias, operator.multipliers)}


def layer_sums(lowering: Lowering, operator: Layer, constants: Sequence[relax.Var]) -> relax.Var:
    """Emit a layer's kernel: bytes, or int32 sums without a bias of a `DequantizedLayer`.

    Parameters
    ----------
    lowering : Lowering
    operator : Layer
    constants : sequence of Var
        Weight, and what the requantisation reads. A weight of 4 bits is unpacked by the kernel if a template
        takes it so, else by a kernel of its own.
    """
    requantization = None if isinstance(operator, DequantizedLayer) else operator.requantization
    outputs, source, layer = len(operator.weight), lowering.value(operator.source), operator.layer
    attributes = _attributes(operator)
    if attributes is None:
        m, k = operator.source.shape
        if k % 4 == 0:
            return _call(
                lowering, operator, partial(quantized_matmul, layer, WORK, m, outputs, k, requantization),
                source, constants,
            )  # fmt: skip
        # rows of part words: an image of m pixels, whose weights have zeros behind
        geometry, image = QuantizedConv2d((1, 1), zero_point=operator.source.zero_point), (1, 1, m, k)
        make = partial(quantized_conv2d, layer, WORK, geometry, image, outputs, requantization)
        result = _call(lowering, operator, make, lowering.view(source, image), constants)
        return lowering.view(result, (m, outputs))
    shape, zero_point = physical(operator.source.shape), operator.source.zero_point
    geometry = QuantizedConv2d(
        (operator.weight.shape[2], operator.weight.shape[3]),
        attributes.strides,
        attributes.padding,
        attributes.dilation,
        zero_point,
    )
    if _is_depthwise(operator, attributes):
        make = partial(quantized_depthwise, layer, WORK, geometry, shape, requantization)
    elif _is_product(operator, attributes):
        m = shape[0] * shape[1] * shape[2]
        make = partial(quantized_matmul, layer, WORK, m, outputs, shape[3], requantization)
        result = _call(lowering, operator, make, lowering.view(source, (m, shape[3])), constants)
        return lowering.view(result, (*shape[:3], outputs))
    else:
        groups = _groups(operator, attributes)
        make = partial(quantized_conv2d, layer, WORK, geometry, shape, outputs, requantization, groups)
    return _call(lowering, operator, make, source, constants)


def _call(
    lowering: Lowering,
    operator: Layer,
    make: Callable[..., PrimFunc],
    source: relax.Var,
    constants: Sequence[relax.Var],
) -> relax.Var:
    """Emit a layer's kernel, which `make` makes for a number of bits of the weight."""
    weight, *vectors = constants
    bits = 8 if isinstance(operator, DequantizedLayer) else operator.weight_bits
    kernel = make(weight_bits=bits)
    if bits == 4 and not _has_template(kernel):
        kernel = make()
        unpacking = unpack_halves(operator.layer, "unpack_weight", buffer_shape(kernel.params[1]))
        weight = lowering.call(unpacking, weight)
    elif bits == 8 and str(kernel.attrs["pulp.operator"]) == "quantized_matmul":
        weight = lowering.view(weight, buffer_shape(kernel.params[1]))
    return lowering.call(kernel, source, weight, *vectors)


def _has_template(kernel: PrimFunc) -> bool:
    """Tell whether a template takes a kernel, so that it is not left to the generic lowering."""
    return any(template.match(kernel) is not None for template in templates())


def _is_depthwise(operator: Layer, attributes: Conv2d) -> bool:
    channels = operator.source.shape[1]
    return attributes.groups == channels == len(operator.weight) and channels > 1


def _groups(operator: Layer, attributes: Conv2d) -> int:
    """Return the groups of a convolution's kernel: its own, or one that has zeros between them."""
    channels = operator.source.shape[1]
    return attributes.groups if in_whole_words(channels, len(operator.weight), attributes.groups) else 1


def _is_product(operator: Layer, a: Conv2d) -> bool:
    """Whether a convolution is a matrix product of pixels and weights, whose rows are whole words."""
    _, channels, *kernel = operator.weight.shape
    moves = a.strides != (1, 1) or any(a.padding)
    return a.groups == 1 and kernel == [1, 1] and not moves and channels % 4 == 0


def _dense(weight: np.ndarray, groups: int) -> np.ndarray:
    """Weights of all groups in one, zeros between the groups."""
    outputs, inputs = len(weight) // groups, weight.shape[1]
    dense = np.zeros((len(weight), inputs * groups, *weight.shape[2:]), np.int8)
    for group in range(groups):
        rows = slice(group * outputs, (group + 1) * outputs)
        dense[rows, group * inputs : (group + 1) * inputs] = weight[rows]
    return dense


def _bias(operator: Layer) -> np.ndarray:
    """Bias less the zero point's share of the sums."""
    sums = operator.weight.reshape(len(operator.weight), -1).sum(axis=1, dtype=np.int64)
    return (operator.bias - operator.source.zero_point * sums).astype(np.int32)


def _layer(lowering: Lowering, operator: g.QuantizedConv2d | g.QuantizedLinear) -> relax.Var:
    return layer_sums(lowering, operator, lowering.constants(operator))


LAYERS: dict[type[g.Operator], Callable[[Lowering, Any], relax.Var]] = {
    g.QuantizedConv2d: _layer,
    g.QuantizedLinear: _layer,
}
