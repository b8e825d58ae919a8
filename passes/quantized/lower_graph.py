"""Lower an integer graph to kernels: an inference graph whose layers compute in bytes.

Images lie with their channels innermost (NHWC) between the kernels; the graph's own shapes are NCHW.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from tvm import IRModule, relax

from tvm_pulp.passes.finish_graph import finish_function, name_kernels, resolve
from tvm_pulp.passes.fuse_elementwise import fuse_elementwise
from tvm_pulp.passes.kernel_call import emit_kernel
from tvm_pulp.passes.model import Model
from tvm_pulp.passes.operators.kernel import Shape
from tvm_pulp.passes.operators.movement import permute_dims
from tvm_pulp.passes.operators.packed_weights import pack_halves
from tvm_pulp.passes.operators.quantized_conv2d import QuantizedConv2d
from tvm_pulp.passes.operators.quantized_pooling import quantized_avg_pool2d, quantized_max_pool2d
from tvm_pulp.passes.quantized import graph as g
from tvm_pulp.passes.quantized.elementwise_operators import ChannelLookup, Constant
from tvm_pulp.passes.quantized.float_operators import DequantizedLayer, FloatLayers
from tvm_pulp.passes.quantized.lower_elementwise import ELEMENTWISE, WORK
from tvm_pulp.passes.quantized.lower_ends import (
    input_kernel,
    integer_inputs,
    output_kernel,
    physical,
    physical_axes,
)
from tvm_pulp.passes.quantized.lower_float import FLOAT
from tvm_pulp.passes.quantized.lower_layers import LAYERS, layer_constants
from tvm_pulp.passes.quantized.lower_movement import MOVEMENT
from tvm_pulp.passes.rewrite import closed_on_error
from tvm_pulp.passes.training_graph import TrainingGraph
from tvm_pulp.target.errors import UserError
from tvm_pulp.target.tvm_names import PrimFunc


def build_integer_inference(graph: g.QuantizedGraph) -> TrainingGraph:
    """Build the graph of a package that infers in integers.

    Parameters
    ----------
    graph : QuantizedGraph
        Of `quantize_model` or an importer.

    Returns
    -------
    TrainingGraph
        With the function ``infer`` only. Its model has the integer weights, biases, multipliers and tables as
        parameters.
    """
    source = relax.BlockBuilder()
    parameters = integer_parameters(graph)
    inputs, variables = integer_inputs(graph), parameter_variables(parameters)
    with closed_on_error(lambda: source), source.function(WORK, [*inputs, *variables.values()]):
        with source.dataflow():
            result = source.emit_output(emit_integer_graph(source, graph, inputs, variables, "output"))
        source.emit_func_output(result)
    arguments = [*inputs, *variables.values()]
    module = source.get()
    bound, found = resolve(module[WORK])
    builder = relax.BlockBuilder()
    finish_function(builder, WORK, arguments, bound, module, found[0])
    main = IRModule({"main": module[WORK].with_attr("global_symbol", "main")})
    integer = Model(graph.name, main, graph.inputs, parameters, frozenset(parameters))
    return TrainingGraph(name_kernels(fuse_elementwise(builder.get())), integer, None, (), {})


def integer_parameters(graph: g.QuantizedGraph) -> dict[str, np.ndarray]:
    """Give what the package holds: weights, biases, multipliers and tables, by names of the layers.

    They are what the kernels read, but for weights of 4 bits, which are packed two a byte.

    Raises
    ------
    UserError
        If layers in float32 share a parameter with others.
    """
    found: dict[str, np.ndarray] = {}
    for operator in graph.operators:
        for name, value in _constants(operator).items():
            parameter = _parameter(operator, name)
            value = pack_halves(value) if _is_packed(operator, name) else value
            if found.setdefault(parameter, value) is not value:
                raise UserError(
                    f"{graph.name}: several layers read the parameter '{parameter}', one of them in float32: "
                    "give each a copy"
                )
    return found


def parameter_variables(parameters: Mapping[str, np.ndarray]) -> dict[str, relax.Var]:
    """Variables of the shapes and types of parameters, by name."""
    return {
        name: relax.Var(name, relax.TensorType(value.shape, str(value.dtype)))
        for name, value in parameters.items()
    }


def emit_integer_graph(
    builder: relax.BlockBuilder,
    graph: g.QuantizedGraph,
    inputs: Sequence[relax.Var],
    parameters: Mapping[str, relax.Var],
    result: str,
) -> relax.Var:
    """Emit a graph's kernels.

    Parameters
    ----------
    builder : relax.BlockBuilder
        Inside a dataflow block.
    graph : QuantizedGraph
        Of the batch size of `inputs`.
    inputs : sequence of Var
        Of `integer_inputs`.
    parameters : mapping of str to Var
        Of `integer_parameters`.
    result : str
        What the result is, for the name of the last kernel.

    Returns
    -------
    Var
        The float32 tensor that the graph's last bytes stand for, or those, see `QuantizedGraph`.
    """
    return _Lowering(builder, graph, parameters).run(dict(zip(graph.inputs, inputs, strict=True)), result)


AnyOperator = g.Operator | g.FloatOperator
_WEIGHTED = g.QuantizedConv2d | g.QuantizedLinear | DequantizedLayer


class _Lowering:
    """Walks over the operators."""

    def __init__(
        self, builder: relax.BlockBuilder, graph: g.QuantizedGraph, parameters: Mapping[str, relax.Var]
    ) -> None:
        self.builder = builder
        self.graph = graph
        self.parameters = parameters
        self.values: dict[str, relax.Var] = {}
        self.floats: dict[str, relax.Var] = {}

    def run(self, inputs: Mapping[str, relax.Var], result: str) -> relax.Var:
        """Emit the kernels; return the output."""
        self.floats |= inputs
        for operator in self.graph.operators:
            if isinstance(operator, g.Quantize | g.QuantizedInput):
                source = self.floats[operator.source]
                value = self.end(input_kernel(operator), source, operator.output.shape)
            else:
                value = _LOWER[type(operator)](self, operator)
            into = self.floats if isinstance(operator, g.FloatOperator) else self.values
            into[operator.output.name] = value
        output = self.graph.output
        if isinstance(output, g.FloatTensor):
            return self.floats[output.name]
        return self.end(output_kernel(self.graph, output, result), self.values[output.name], output.shape)

    def end(self, kernel: PrimFunc | None, value: relax.Var, shape: Shape) -> relax.Var:
        """Emit the kernel of an input or output, if one is needed."""
        return self.view(value, shape) if kernel is None else self.call(kernel, value)

    def call(self, kernel: PrimFunc, *arguments: relax.Var) -> relax.Var:
        return emit_kernel(self.builder, kernel, arguments)

    def value(self, tensor: g.QuantizedTensor) -> relax.Var:
        return self.values[tensor.name]

    def constants(self, operator: AnyOperator) -> list[relax.Var]:
        return [self.parameters[_parameter(operator, name)] for name in _constants(operator)]

    def view(self, value: relax.Var, shape: Shape) -> relax.Var:
        return self.builder.emit(relax.op.reshape(value, shape))

    def permuted(
        self, operator: g.Operator, value: relax.Var, shape: Shape, axes: tuple[int, ...]
    ) -> relax.Var:
        return self.call(permute_dims(operator.layer, "permute_dims", shape, axes, "uint8"), value)


def _parameter(operator: AnyOperator, name: str) -> str:
    """Name of a constant: after the layer where that has a weight, else after the tensor, which is unique.

    Those of layers in float32 bear the model's names.
    """
    if isinstance(operator, FloatLayers):
        return name
    return f"{operator.layer if isinstance(operator, _WEIGHTED) else operator.output.name}.{name}"


def _is_packed(operator: AnyOperator, name: str) -> bool:
    """Whether a constant lies two values a byte in the package."""
    return (
        isinstance(operator, g.QuantizedConv2d | g.QuantizedLinear)
        and operator.weight_bits == 4
        and name == "weight"
    )


def _constants(operator: AnyOperator) -> Mapping[str, np.ndarray]:
    """Arrays that a kernel reads, in the order of its arguments."""
    if isinstance(operator, _WEIGHTED):
        return layer_constants(operator)
    if isinstance(operator, FloatLayers):
        return operator.model.parameters
    if isinstance(operator, g.QuantizedAveragePool2d) and operator.multipliers.shape[-2:] != (1, 1):
        return {"multiplier": operator.multipliers}
    if isinstance(operator, Constant):
        axes = physical_axes(operator.value.ndim)
        return {"value": np.ascontiguousarray(operator.value.transpose(axes))}
    if isinstance(operator, ChannelLookup):
        return {"tables": operator.tables}
    return {"table": operator.table} if isinstance(operator, g.Lookup | g.QuantizedSoftmax) else {}


def _average_pool2d(lowering: _Lowering, operator: g.QuantizedAveragePool2d) -> relax.Var:
    geometry = QuantizedConv2d(
        operator.window, operator.strides, operator.padding, (1, 1), operator.source.zero_point
    )
    shape = physical(operator.source.shape)
    kernel = quantized_avg_pool2d(
        operator.layer, WORK, geometry, shape, operator.multipliers, operator.requantization
    )
    return lowering.call(kernel, lowering.value(operator.source), *lowering.constants(operator))


def _max_pool2d(lowering: _Lowering, operator: g.QuantizedMaxPool2d) -> relax.Var:
    geometry = QuantizedConv2d(operator.window, operator.strides, operator.padding, operator.dilation)
    kernel = quantized_max_pool2d(operator.layer, WORK, geometry, physical(operator.source.shape))
    return lowering.call(kernel, lowering.value(operator.source))


_LOWER: dict[type, Callable[[Any, Any], relax.Var]] = {
    g.QuantizedAveragePool2d: _average_pool2d,
    g.QuantizedMaxPool2d: _max_pool2d,
    **LAYERS,
    **ELEMENTWISE,
    **MOVEMENT,
    **FLOAT,
}
