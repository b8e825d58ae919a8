"""Lowering of convolutions: those of one tap and stride 1 are matrix products."""

from __future__ import annotations

from dataclasses import asdict

from tvm import relax

from tvm_pulp.passes.lowerings.lowering import Lowering
from tvm_pulp.passes.lowerings.matmul import emit_product
from tvm_pulp.passes.operators.conv2d import Conv2d, conv2d
from tvm_pulp.passes.operators.matmul import Matmul, Operand
from tvm_pulp.passes.rewrite import static_shape


def lower_conv2d(lowering: Lowering, variable: relax.Var, call: relax.Call) -> relax.Var:
    """Emit a convolution."""
    data, weight = lowering.tensor(call.args[0]), lowering.tensor(call.args[1])
    names = (
        lowering.names.operand(call.args[0], "data"),
        lowering.names.operand(call.args[1], "weight"),
    )
    strides, padding, dilation = (
        tuple(int(value) for value in call.attrs[name]) for name in ("strides", "padding", "dilation")
    )
    attributes = Conv2d(strides, padding, dilation, int(call.attrs["groups"]))  # type: ignore[arg-type]
    layer = lowering.names.layer(variable)
    shapes = static_shape(data), static_shape(weight)
    if is_pointwise(attributes, shapes[1]):
        product = pointwise_product(names, *shapes)
        operands = (data, weight) if product.a.name == names[0] else (weight, data)
        return emit_product(lowering, layer, lowering.work, product, *operands, variable.name)
    kernel = conv2d(layer, lowering.work, attributes, *shapes)
    parameters = {"conv2d": asdict(attributes), "names": names}
    return lowering.kernel(kernel, [data, weight], "conv2d", parameters, variable.name)


def is_pointwise(attributes: Conv2d, weight: tuple[int, ...]) -> bool:
    """Tell whether a convolution is a matrix product: one tap, stride 1, no padding, no groups."""
    return weight[2:] == (1, 1) and attributes == Conv2d(dilation=attributes.dilation)


def pointwise_product(names: tuple[str, str], data: tuple[int, ...], weight: tuple[int, ...]) -> Matmul:
    """Matrix product that a 1x1 convolution is: weights · each image, or data · weights if of one pixel."""
    batch, channels, height, width = data
    output = (batch, weight[0], height, width)
    if height * width == 1:
        return Matmul(
            a=Operand(names[0], data, "nc11"),
            b=Operand(names[1], weight, "oc11"),
            c=Operand("output", output, "no11"),
            m=batch,
            n=weight[0],
            k=channels,
            transpose_b=1,
        )
    return Matmul(
        a=Operand(names[1], weight, "oc11"),
        b=Operand(names[0], data, "nchw"),
        c=Operand("output", output, "nohw"),
        m=weight[0],
        n=height * width,
        k=channels,
        batch=batch,
        batch_b=int(batch > 1),
    )
