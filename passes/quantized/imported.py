"""From a network that comes quantised, by `quantize` and `dequantize`, to the integer graph.

What lies between a `dequantize` and the next `quantize` becomes one integer operator. What has no integer
form, or is not quantised, stays in float32 (`float_layers.py`): between bytes, or behind the last ones.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from tvm import relax

from tvm_pulp.passes.model import Model
from tvm_pulp.passes.operators.requantize import Rounding
from tvm_pulp.passes.quantized import graph
from tvm_pulp.passes.quantized.arithmetic import ONNX
from tvm_pulp.passes.quantized.float_layers import FloatWalk
from tvm_pulp.passes.quantized.float_operators import DequantizedLayer
from tvm_pulp.passes.quantized.graph import FloatTensor, QuantizedGraph, QuantizedTensor
from tvm_pulp.passes.quantized.no_integer_form import NoIntegerForm
from tvm_pulp.passes.quantized.parameters import BIAS_LIMIT, imported_weight
from tvm_pulp.passes.quantized.quantize import visit
from tvm_pulp.passes.quantized.rules import RULES, Rule, elementwise_values, layer_weight
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

        With `FloatLayers` where the network is not quantised, or has no integer form.

    Raises
    ------
    UserError
        Naming a layer that can be computed neither way.
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
            walk.convert(variable, value)
    result = model.function.body.body
    if isinstance(result, relax.Tuple):
        raise UserError(f"{model.name}: it has several outputs, which is not supported: leave one")
    found = walk.tensors[result] if result in walk.tensors else walk.float_tensor(result)
    dtype = str(result.ty.dtype)
    return QuantizedGraph(model.name, model.inputs, tuple(walk.operators), found, dtype)


class ImportedWalk(FloatWalk):
    """A walk whose scales are those that the network states.

    Attributes
    ----------
    divides : bool
        See `imported_graph`.
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

    def convert(self, variable: relax.Var, value: relax.Expr) -> None:
        """Follow the rule of a binding; where it has no integer form, leave it in float32."""
        before = len(self.operators), dict(self.tensors), set(self.absorbed), dict(self.functions)
        for rules in (_RULES, _FLOAT_RULES):
            try:
                return visit(self, variable, value, rules)
            except NoIntegerForm as error:
                operators, self.tensors, self.absorbed, self.functions = before
                del self.operators[operators:]
                self.reasons.setdefault(variable, error.why)
        return None

    def tensor(self, variable: relax.Var) -> QuantizedTensor:
        """Make the tensor of a variable by the `quantize` that reads it, perhaps through views."""
        reader: relax.Var | None = variable
        while reader is not None and not self.is_result(reader):
            readers = self.readers(reader)
            quantizers = [r for r in readers if operator_name(self.bound[r]) == "quantize"]
            settings = {quantization(self.bound[quantizer]) for quantizer in quantizers}
            if len(settings) == 1 and len(quantizers) == len(readers):
                return QuantizedTensor(variable.name, static_shape(variable), *settings.pop())
            following = self.only_reader(reader)
            moves = following is not None and operator_name(self.bound[following]) in _MOVES
            reader = following if moves else None
        why = "its result is not quantised but goes on in float"
        raise NoIntegerForm(self.layer(variable), why, "quantise it")

    def source(self, variable: relax.Var, operand: relax.Expr) -> QuantizedTensor:
        """Tensor that an operator reads; makes it of a float input or a pending function."""
        if operand not in self.tensors and operand not in self.constants:
            try:
                output = self.tensor(operand)
            except NoIntegerForm as error:
                layer = self.layer(variable)
                raise NoIntegerForm(layer, "its data are not quantised", "quantise them") from error
            if operand in self.functions:
                self.tabulate(operand, operand, output)
            else:
                self.quantize_floats(operand, self.float_tensor(operand), output)
        return super().source(variable, operand)

    def quantize_floats(self, variable: relax.Var, source: FloatTensor, output: QuantizedTensor) -> None:
        """Emit the quantisation of a tensor of float32."""
        layer, rounding = self.layer(variable), Rounding.HALF_EVEN
        if source.name in self.model.inputs:
            layer = source.name
        operator = graph.Quantize(layer, output, source.name, source.shape, None, rounding, self.divides)
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
        integers, biases, units, largest = imported_weight(
            weight, _quantised(layer, scales), bias, source, output.scale, layer
        )
        return integers, biases, units / output.scale, largest


def _quantised(layer: str, scales: np.ndarray | None) -> np.ndarray:
    if scales is None:
        raise NoIntegerForm(layer, "its weight is not quantised", "quantise it")
    return scales


def quantization(value: relax.Call) -> tuple[float, int]:
    """Scale of a `quantize` or `dequantize`, and zero point as of unsigned bytes."""
    scale, zero_point = (argument.value.numpy() for argument in value.args[1:3])
    signed = zero_point.dtype == np.int8
    return float(scale.reshape(())), int(zero_point.reshape(())) + (128 if signed else 0)


def _quantize(walk: Walk, variable: relax.Var, value: relax.Call) -> None:
    assert isinstance(walk, ImportedWalk)
    operand, (scale, zero_point) = value.args[0], quantization(value)
    output = QuantizedTensor(variable.name, static_shape(variable), scale, zero_point)
    if operand in walk.functions:
        return walk.tabulate(variable, operand, output)
    if operand not in walk.tensors:
        return walk.quantize_floats(variable, walk.float_tensor(operand), output)
    source = walk.tensors[operand]
    if (source.scale, source.zero_point) != (scale, zero_point):
        return walk.tabulate(variable, operand, output)
    walk.tensors[variable] = source
    return None


def _dequantize(walk: Walk, variable: relax.Var, value: relax.Call) -> None:
    source, (scale, zero_point) = walk.source(variable, value.args[0]), quantization(value)
    # the bytes may be read by another scale than they were written with
    walk.tensors[variable] = QuantizedTensor(source.name, source.shape, scale, zero_point)


def _elementwise(walk: Walk, variable: relax.Var, value: relax.Call) -> None:
    """A function of one byte, or the sum of two tensors."""
    assert isinstance(walk, ImportedWalk)
    numbers = [_number(walk, argument) for argument in value.args]
    pairs = zip(value.args, numbers, strict=True)
    variables = [operand for operand, known in pairs if known is None and isinstance(operand, relax.Var)]
    if any(argument in walk.constants for argument in variables):
        walk.refuse(variable, f"{operator_name(value)} with a parameter")
    read = {argument: walk.values(argument) for argument in variables}
    sources = {source.name: source for source, _ in read.values()}
    if len(sources) > 1:
        if operator_name(value) in ("add", "subtract", "multiply"):
            return RULES[operator_name(value)](walk, variable, value)
        walk.refuse(variable, f"{operator_name(value)} of two tensors")
    dtype = walk.arithmetic.dtype
    operands = [
        dtype(known) if known is not None else read[argument][1] if argument in read else argument
        for argument, known in zip(value.args, numbers, strict=True)
    ]
    (source,) = sources.values()
    walk.functions[variable] = source, elementwise_values(value, operands)
    return None


def _number(walk: Walk, argument: relax.Expr) -> float | None:
    """Value of a constant or a parameter of one element."""
    if is_number(argument):
        return number(argument)
    if isinstance(argument, relax.Var) and argument in walk.constants and walk.constants[argument].size == 1:
        return float(walk.constants[argument].reshape(()))
    return None


def _softmax(walk: Walk, variable: relax.Var, value: relax.Call) -> None:
    source, output = walk.source(variable, value.args[0]), walk.tensor(variable)
    if int(value.attrs.axis) != len(source.shape) - 1 or len(source.shape) == 4:
        walk.refuse(variable, "a softmax of images, or along another axis than the last")
    exponents = np.arange(-255, 1).astype(walk.arithmetic.dtype) * walk.arithmetic.dtype(source.scale)
    table = np.exp(exponents).astype(np.float32)
    walk.emit(variable, graph.QuantizedSoftmax(walk.layer(variable), output, source, table))


def _layer_to_float(walk: Walk, variable: relax.Var, value: relax.Call) -> None:
    """A layer on bytes whose sums go on in float32."""
    assert isinstance(walk, ImportedWalk)
    source, layer = walk.source(variable, value.args[0]), walk.layer(variable)
    attributes, weight, scales = layer_weight(walk, variable, value, source)
    variable, bias = walk.with_bias(variable, len(weight))
    # a channel of zeros has its bias in units that int32 holds
    least_unit = max(float(np.abs(bias).max(initial=0.0)), 1.0) / BIAS_LIMIT
    integers, biases, units, _ = imported_weight(
        weight, _quantised(layer, scales), bias, source, least_unit, layer
    )
    output = FloatTensor(variable.name, static_shape(variable))
    scaled = units.astype(np.float32)
    walk.emit_floats(variable, DequantizedLayer(layer, output, source, integers, biases, scaled, attributes))


_RULES: dict[str, Rule] = {
    **RULES,
    **dict.fromkeys(
        "add subtract multiply divide nn.relu clip sigmoid tanh exp erf nn.gelu".split(), _elementwise
    ),
    "quantize": _quantize,
    "dequantize": _dequantize,
    "nn.softmax": _softmax,
}
_FLOAT_RULES: dict[str, Rule] = {"nn.conv2d": _layer_to_float, "matmul": _layer_to_float}
"""What a layer is whose result is not quantised."""
