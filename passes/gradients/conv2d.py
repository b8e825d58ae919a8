"""Gradients of convolution by its data and its weights, in direct form."""

from __future__ import annotations

from collections.abc import Sequence

from tvm import relax

from tvm_pulp.passes.gradients.rule import Differentiated, gradient_rule
from tvm_pulp.passes.operators.conv2d import Conv2d
from tvm_pulp.passes.operators.conv2d_data_gradient import conv2d_data_gradient
from tvm_pulp.passes.operators.conv2d_weight_gradient import conv2d_weight_gradient
from tvm_pulp.passes.operators.reduction import sum_kernel
from tvm_pulp.passes.rewrite import static_shape


@gradient_rule("conv2d")
def conv2d(call: Differentiated) -> Sequence[relax.Var | None]:
    """Give the data gradient and the weight gradient; a long sum of the latter by partial sums."""
    attributes = Conv2d(**call.parameters["conv2d"])
    shapes = (call.shape(0), call.shape(1))
    names = call.parameters["names"]
    by_data = by_weight = None
    if call.needed[0]:
        kernel = conv2d_data_gradient(call.layer, f"{names[0]}_gradient", attributes, *shapes)
        by_data = call.emit(kernel, [call.gradient, call.arguments[1]])
    if call.needed[1]:
        work = f"{names[1]}_gradient"
        kernel = conv2d_weight_gradient(call.layer, work, attributes, *shapes)
        by_weight = call.emit(kernel, [call.gradient, call.arguments[0]])
        partial = static_shape(by_weight)
        if partial != shapes[1]:
            kernel = sum_kernel(call.layer, f"{work}_sum", [("partial", partial)], lambda term: term, [0])
            by_weight = call.emit(kernel, [by_weight])
    return [by_data, by_weight]
