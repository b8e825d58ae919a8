"""From a network that comes quantised, by `quantize` and `dequantize`, to the integer graph.

What lies between a `dequantize` and the next `quantize` becomes one integer operator: nothing is computed in
float but what stands in tables.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from tvm import relax

from tvm_pulp.passes.model import Model
from tvm_pulp.passes.operators.requantize import Rounding
from tvm_pulp.passes.quantized import graph
from tvm_pulp.passes.quantized.arithmetic import ONNX
from tvm_pulp.passes.quantized.graph import QuantizedGraph, QuantizedTensor
from tvm_pulp.passes.quantized.parameters import imported_weight
from tvm_pulp.passes.quantized.quantize import visit
from tvm_pulp.passes.quantized.rules import RULES, Rule, elementwise_values
from tvm_pulp.passes.quantized.walk import Walk
from tvm_pulp.passes.rewrite import is_number, number, operator_name, static_shape
from tvm_pulp.target.errors import UserError

_MOVES = {"reshape", "permute_dims", "nn.max_pool2d"}


def imported_graph(model: Model, scales: Mapping[str, np.ndarray], divides: bool) -> QuantizedGraph:
    """Turn a quantised network into an integer graph.

    Parameters
    ----------
    model : Model
        In canonical form but for `quantize` and `dequantize` with constant scales and zero points; its inputs
        are float32, int8 or uint8. Weights are parameters in float32: integers times their scales.
    scales : mapping of str to ndarray of float32
        Of the weights, by the parameters' names, of shapes that broadcast to theirs.
    divides : bool
        Whether inputs are divided by their scale, as ONNX has it, or multiplied by its inverse, as PyTorch
        has it.

    Returns
    -------
    QuantizedGraph

    Raises
    ------
    UserError
        Naming a layer that has no integer form, and what to do.
    """
    walk = ImportedWalk(model, scales, divides)
    for variable in model.input_variables:
        dtype = str(variable.ty.dtype)
        if dtype != "float32":
            shape = static_shape(variable)
            output = QuantizedTensor(variable.name, shape, 1.0, 128 if dtype == "int8" else 0)
            walk.emit(variable, graph.QuantizedInput(variable.name, output, variable.name, shape, dtype))
    for variable, value in walk.bound.items():
        if variable not in walk.absorbed and variable not in walk.constants:
            visit(walk, variable, value, _RULES)
    result = model.function.body.body
    if isinstance(result, relax.Tuple):
        raise UserError(f"{model.name}: it has several outputs, which is not supported: leave one")
    output = walk.source(result, result)
    dtype = str(result.ty.dtype)
    return QuantizedGraph(model.name, model.inputs, tuple(walk.operators), output, dtype)


class ImportedWalk(Walk):
    """A walk whose scales are those that the network states.

    Attributes
    ----------
    functions : dict of Var to (QuantizedTensor, ndarray)
        Values that are functions of one byte: the tensor, and the value for each byte, float32 ``[256]``.
    """

    arithmetic = ONNX
    remedy = "quantise the network without it, or compile the float network with --calibration"

    def __init__(self, model: Model, scales: Mapping[str, np.ndarray], divides: bool) -> None:
        super().__init__(model, {}, 8)
        self.divides = divides
        self.functions: dict[relax.Var, tuple[QuantizedTensor, np.ndarray]] = {}
        for name, variable in model.parameter_variables.items():
            if name in scales:
                self.scales[variable] = np.broadcast_to(scales[name], static_shape(variable))

    def tensor(self, variable: relax.Var) -> QuantizedTensor:
        """Make the tensor of a variable by the `quantize` that reads it, perhaps through a view."""
        reader: relax.Var | None = variable
        while reader is not None:
            quantizers = [r for r in self.readers(reader) if operator_name(self.bound[r]) == "quantize"]
            if quantizers:
                scale, zero_point = quantization(self.bound[quantizers[0]])
                return QuantizedTensor(variable.name, static_shape(variable), scale, zero_point)
            following = self.only_reader(reader)
            moves = following is not None and operator_name(self.bound[following]) in _MOVES
            reader = following if moves else None
        raise UserError(
            f"layer {self.layer(variable)}: its result is not quantised but goes on in float: quantise it, "
            "or compile the float network with --calibration"
        )

    def source(self, variable: relax.Var, operand: relax.Expr) -> QuantizedTensor:
        """Tensor that an operator reads; makes it of a float input or a pending function."""
        if operand not in self.tensors:
            if operand in self.functions:
                self.tabulate(operand, operand, self.tensor(operand))
            elif operand in self.model.input_variables:
                self.quantize_input(operand, operand, self.tensor(operand))
        return super().source(variable, operand)

    def quantize_input(self, variable: relax.Var, operand: relax.Var, output: QuantizedTensor) -> None:
        """Emit the quantisation of a float input."""
        shape = static_shape(operand)
        operator = graph.Quantize(
            operand.name, output, operand.name, shape, None, Rounding.HALF_EVEN, self.divides
        )
        self.emit(variable, operator)

    def tabulate(self, variable: relax.Var, operand: relax.Var, output: QuantizedTensor) -> None:
        """Emit the table of a function of one byte."""
        source, values = self.values(operand)
        table = self.arithmetic.table(values, output)
        self.emit(variable, graph.Lookup(self.layer(operand), output, source, table))

    def values(self, operand: relax.Var) -> tuple[QuantizedTensor, np.ndarray]:
        """The tensor that a value is a function of, and the value for each byte of that."""
        if operand in self.functions:
            return self.functions[operand]
        source = self.source(operand, operand)
        return source, source.values(self.arithmetic.dtype)

    def quantized_weight(
        self,
        layer: str,
        weight: np.ndarray,
        scales: np.ndarray | None,
        bias: np.ndarray,
        source: QuantizedTensor,
        output: QuantizedTensor,
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Give a layer's weight back its integers, see `imported_weight`."""
        if scales is None:
            raise UserError(
                f"layer {layer}: its weight is not quantised: quantise it, or compile the float network with "
                "--calibration"
            )
        return imported_weight(weight, scales, bias, source, output, layer)


def quantization(value: relax.Call) -> tuple[float, int]:
    """Scale of a `quantize` or `dequantize`, and zero point as of unsigned bytes."""
    scale, zero_point = (argument.value.numpy() for argument in value.args[1:3])
    signed = zero_point.dtype == np.int8
    return float(scale.reshape(())), int(zero_point.reshape(())) + (128 if signed else 0)


def _quantize(walk: Walk, variable: relax.Var, value: relax.Call) -> None:
    assert isinstance(walk, ImportedWalk)
    operand, (scale, zero_point) = value.args[0], quantization(value)
    output = QuantizedTensor(variable.name, static_shape(variable), scale, zero_point)
    if operand in walk.model.input_variables and operand not in walk.tensors:
        return walk.quantize_input(variable, operand, output)
    if operand not in walk.functions:
        source = walk.source(variable, operand)
        if (source.scale, source.zero_point) == (scale, zero_point):
            walk.tensors[variable] = source
            return None
    return walk.tabulate(variable, operand, output)


def _dequantize(walk: Walk, variable: relax.Var, value: relax.Call) -> None:
    source, (scale, zero_point) = walk.source(variable, value.args[0]), quantization(value)
    # the bytes may be read by another scale than they were written with
    walk.tensors[variable] = QuantizedTensor(source.name, source.shape, scale, zero_point)


def _elementwise(walk: Walk, variable: relax.Var, value: relax.Call) -> None:
    """A function of one byte, or the sum of two tensors."""
    assert isinstance(walk, ImportedWalk)
    variables = [argument for argument in value.args if isinstance(argument, relax.Var)]
    if any(argument in walk.constants for argument in variables):
        walk.refuse(variable, f"{operator_name(value)} with a parameter")
    read = {argument: walk.values(argument) for argument in variables}
    sources = {source.name: source for source, _ in read.values()}
    if len(sources) > 1:
        if operator_name(value) in ("add", "subtract"):
            return RULES["add"](walk, variable, value)
        walk.refuse(variable, f"{operator_name(value)} of two tensors")
    dtype = walk.arithmetic.dtype
    operands = [dtype(number(a)) if is_number(a) else read[a][1] if a in read else a for a in value.args]
    (source,) = sources.values()
    walk.functions[variable] = source, elementwise_values(value, operands)
    return None


def _softmax(walk: Walk, variable: relax.Var, value: relax.Call) -> None:
    source, output = walk.source(variable, value.args[0]), walk.tensor(variable)
    if int(value.attrs.axis) != len(source.shape) - 1 or len(source.shape) == 4:
        walk.refuse(variable, "a softmax of images, or along another axis than the last")
    exponents = np.arange(-255, 1).astype(walk.arithmetic.dtype) * walk.arithmetic.dtype(source.scale)
    table = np.exp(exponents).astype(np.float32)
    walk.emit(variable, graph.QuantizedSoftmax(walk.layer(variable), output, source, table))


_RULES: dict[str, Rule] = {
    **RULES,
    **dict.fromkeys(
        ("add", "subtract", "multiply", "divide", "nn.relu", "clip", "sigmoid", "tanh"), _elementwise
    ),
    "quantize": _quantize,
    "dequantize": _dequantize,
    "nn.softmax": _softmax,
}
