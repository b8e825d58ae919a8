"""Layers of a network that comes quantised which stay in float32: the part of the model between bytes."""

from __future__ import annotations

from tvm import relax

from tvm_pulp.passes.check_operators import check_operators
from tvm_pulp.passes.model import Model, with_part
from tvm_pulp.passes.quantized.float_operators import Dequantize, FloatLayers
from tvm_pulp.passes.quantized.graph import FloatOperator, FloatTensor
from tvm_pulp.passes.quantized.walk import Ranges, Walk
from tvm_pulp.passes.rewrite import operands, static_shape

_NOT_QUANTISED = "its result is not quantised"


class FloatWalk(Walk):
    """A walk that leaves layers in float32.

    Attributes
    ----------
    reasons : dict of Var to str
        Why the binding of a variable has no integer form.
    float_tensors : dict of Var to FloatTensor
        What has been emitted in float32 so far.
    """

    def __init__(self, model: Model, ranges: Ranges, weight_bits: int) -> None:
        super().__init__(model, ranges, weight_bits)
        self.reasons: dict[relax.Var, str] = {}
        self._parameters = set(model.parameter_variables.values())
        self.float_tensors: dict[relax.Var, FloatTensor] = {}

    def emit_floats(self, variable: relax.Var, operator: FloatOperator) -> None:
        """Append an operator whose result, in float32, stands for a variable."""
        self.operators.append(operator)
        self.float_tensors[variable] = operator.output

    def float_tensor(self, variable: relax.Var) -> FloatTensor:
        """Give a variable in float32; emit the layers that it is computed by, from bytes or inputs on.

        Raises
        ------
        UserError
            Naming an operator that has no form in float32 either.
        """
        if variable in self.tensors and variable not in self.float_tensors:
            source = self.tensors[variable]
            output = FloatTensor(f"{variable.name}.dequantized", source.shape)
            self.emit_floats(variable, Dequantize(self.layer(variable), output, source))
        elif variable in self.model.input_variables:
            return FloatTensor(variable.name, static_shape(variable))
        elif variable not in self.float_tensors:
            self._emit_layers(variable)
        return self.float_tensors[variable]

    def _emit_layers(self, result: relax.Var) -> None:
        """Emit the layers before a variable, as far as they have not been emitted."""
        sources: dict[relax.Var, FloatTensor] = {}
        pending, layers = [result], {result}
        while pending:
            for operand in operands(self.bound[pending.pop()]):
                if operand in layers or operand in self._parameters:
                    continue
                if operand in self.constants or self._is_open(operand):
                    layers.add(operand)
                    pending.append(operand)
                else:
                    sources[operand] = self.float_tensor(operand)
        reasons: dict[str, str] = {}
        for variable in self.bound:
            if variable in layers and variable not in self.constants:
                reasons.setdefault(self.layer(variable), self.reasons.get(variable, _NOT_QUANTISED))
        names = {variable: tensor.name for variable, tensor in sources.items()}
        part = check_operators(with_part(self.model, names, result))
        output = FloatTensor(result.name, static_shape(result))
        self.emit_floats(result, FloatLayers(self.layer(result), output, part, reasons))

    def _is_open(self, variable: relax.Var) -> bool:
        """Whether a variable is neither an input nor among what has been emitted."""
        return variable in self.bound and variable not in self.tensors and variable not in self.float_tensors
