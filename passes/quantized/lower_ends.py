"""The kernels at the ends of an integer graph: what inputs become bytes by, and what the output leaves by."""

from __future__ import annotations

from tvm import relax

from tvm_pulp.passes.operators import quantized_elementwise
from tvm_pulp.passes.operators.kernel import Shape
from tvm_pulp.passes.operators.movement import permute_dims
from tvm_pulp.passes.quantized import graph as g
from tvm_pulp.passes.quantized.float_operators import FloatLayers
from tvm_pulp.target.tvm_names import PrimFunc


def physical_axes(rank: int) -> tuple[int, ...]:
    """Order in which a tensor's axes lie in memory: images as NHWC, others as they are."""
    return (0, 2, 3, 1) if rank == 4 else tuple(range(rank))


def physical(shape: Shape) -> Shape:
    """Extents of a tensor in the order of its memory."""
    return tuple(shape[axis] for axis in physical_axes(len(shape)))


def inverse(axes: tuple[int, ...]) -> tuple[int, ...]:
    """Order of axes that undoes an order of axes."""
    return tuple(axes.index(axis) for axis in range(len(axes)))


def integer_inputs(graph: g.QuantizedGraph) -> list[relax.Var]:
    """Variables for the inputs, float32 or bytes, in the order of the graph."""
    types = {}
    for operator in graph.operators:
        if isinstance(operator, g.Quantize | g.QuantizedInput):
            dtype = "float32" if isinstance(operator, g.Quantize) else operator.dtype
            types[operator.source] = relax.TensorType(operator.source_shape, dtype)
        elif isinstance(operator, FloatLayers):
            types.update((variable.name, variable.ty) for variable in operator.model.input_variables)
    return [relax.Var(name, types[name]) for name in graph.inputs]


def input_kernel(operator: g.Quantize | g.QuantizedInput) -> PrimFunc | None:
    """Make the kernel from an input to bytes in memory's order; None where it is that already."""
    output, shape = operator.output, operator.source_shape
    order = physical_axes(len(output.shape))
    axes = tuple(axis if operator.axes is None else operator.axes[axis] for axis in order)
    if isinstance(operator, g.Quantize):
        return quantized_elementwise.quantize(
            operator.layer, "quantize", shape, axes, output.scale, output.zero_point,
            operator.rounding, operator.divides,
        )  # fmt: skip
    return _bytes_kernel(operator.layer, shape, axes, operator.dtype, "uint8")


def dequantize_kernel(tensor: g.QuantizedTensor, layer: str) -> PrimFunc:
    """Make the kernel from bytes to the numbers that they stand for, in the model's layout."""
    shape, axes = physical(tensor.shape), inverse(physical_axes(len(tensor.shape)))
    return quantized_elementwise.dequantize(layer, "dequantize", shape, axes, tensor.scale, tensor.zero_point)


def output_kernel(graph: g.QuantizedGraph, output: g.QuantizedTensor, layer: str) -> PrimFunc | None:
    """Make the kernel from the last bytes to what the graph yields; None where it is that already."""
    if graph.output_dtype == "float32":
        return dequantize_kernel(output, layer)
    shape, axes = physical(output.shape), inverse(physical_axes(len(output.shape)))
    return _bytes_kernel(layer, shape, axes, "uint8", graph.output_dtype)


def _bytes_kernel(
    layer: str, shape: Shape, axes: tuple[int, ...], dtype: str, result_dtype: str
) -> PrimFunc | None:
    if dtype != result_dtype:
        return quantized_elementwise.moved_bytes(layer, "bytes", shape, axes, dtype, result_dtype)
    extents = [axis for axis in axes if shape[axis] > 1]
    return permute_dims(layer, "bytes", shape, axes, dtype) if extents != sorted(extents) else None
