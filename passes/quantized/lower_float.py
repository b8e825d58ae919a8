"""Kernels of what an integer graph holds of float32."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tvm import relax

from tvm_pulp.passes.layer_names import layer_names
from tvm_pulp.passes.lower_forward import lower_forward
from tvm_pulp.passes.lowerings.lowering import Lowering as FloatLowering
from tvm_pulp.passes.operators.quantized_elementwise import dequantize_sums
from tvm_pulp.passes.quantized.float_operators import Dequantize, DequantizedLayer, FloatLayers
from tvm_pulp.passes.quantized.graph import FloatOperator
from tvm_pulp.passes.quantized.lower_elementwise import WORK, Lowering
from tvm_pulp.passes.quantized.lower_ends import dequantize_kernel, inverse, physical, physical_axes
from tvm_pulp.passes.quantized.lower_layers import layer_sums


def _dequantize(lowering: Lowering, operator: Dequantize) -> relax.Var:
    return lowering.call(dequantize_kernel(operator.source, operator.layer), lowering.value(operator.source))


def _layer(lowering: Lowering, operator: DequantizedLayer) -> relax.Var:
    shape = operator.output.shape
    *weights, bias, scale = lowering.constants(operator)
    sums = layer_sums(lowering, operator, weights)
    kernel = dequantize_sums(
        operator.layer, "dequantize", physical(shape), inverse(physical_axes(len(shape)))
    )
    return lowering.call(kernel, sums, bias, scale)


def _float_layers(lowering: Lowering, operator: FloatLayers) -> relax.Var:
    model = operator.model
    arguments = [*(lowering.floats[name] for name in model.inputs), *lowering.constants(operator)]
    (result,) = lower_forward(
        FloatLowering(lowering.builder, layer_names(model), WORK), model.function, arguments
    )
    return result


FLOAT: dict[type[FloatOperator], Callable[[Lowering, Any], relax.Var]] = {
    Dequantize: _dequantize,
    DequantizedLayer: _layer,
    FloatLayers: _float_layers,
}
