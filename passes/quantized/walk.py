"""The walk over a float function that the rules of quantisation work on."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from typing import NoReturn

import numpy as np
from tvm import relax

from tvm_pulp.passes.layer_names import layer_names
from tvm_pulp.passes.model import Model
from tvm_pulp.passes.quantized.arithmetic import OURS
from tvm_pulp.passes.quantized.graph import FloatOperator, Operator, QuantizedTensor
from tvm_pulp.passes.quantized.no_integer_form import NoIntegerForm
from tvm_pulp.passes.quantized.parameters import activation, quantized_weight
from tvm_pulp.passes.rewrite import bindings, is_number, number, operands, operator_name, static_shape
from tvm_pulp.target.errors import UserError

Ranges = Mapping[str, tuple[float, float]]

ARITHMETIC = {"add": np.add, "subtract": np.subtract, "multiply": np.multiply, "divide": np.divide}


class Walk:
    """State of the walk.

    Attributes
    ----------
    model : Model
        In canonical form.
    ranges : mapping of str to (float, float)
        Least and greatest value by the name of a variable.
    weight_bits : int
        8 or 4.
    bound : dict of Var to Expr
        All bindings.
    arithmetic : Arithmetic
        How it rounds.
    constants : dict of Var to ndarray
        Variables that depend on parameters alone, computed.
    scales : dict of Var to ndarray
        Scales of the elements of those that come quantised.
    tensors : dict of Var to QuantizedTensor
        Integer tensor of each variable so far.
    operators : list of Operator or FloatOperator
        So far.
    absorbed : set of Var
        Variables whose binding an earlier operator has taken in: a bias, an activation function.
    """

    arithmetic = OURS
    remedy = "choose a latent layer before it"

    def __init__(self, model: Model, ranges: Ranges, weight_bits: int) -> None:
        self.model, self.ranges, self.weight_bits = model, ranges, weight_bits
        self.bound = dict(bindings(model.function))
        self.constants: dict[relax.Var, np.ndarray] = {
            variable: np.asarray(model.parameters[name])
            for name, variable in model.parameter_variables.items()
        }
        self.scales: dict[relax.Var, np.ndarray] = {}
        self.tensors: dict[relax.Var, QuantizedTensor] = {}
        self.operators: list[Operator | FloatOperator] = []
        self.absorbed: set[relax.Var] = set()
        self._names = layer_names(model)
        self._readers: dict[relax.Var, list[relax.Var]] = {}
        for variable, value in self.bound.items():
            for operand in operands(value):
                self._readers.setdefault(operand, []).append(variable)
        self._results = Counter(operands(model.function.body.body))

    def layer(self, variable: relax.Var) -> str:
        """Layer of the model that a variable belongs to."""
        return variable.name if variable in self.model.input_variables else self._names.layer(variable)

    def refuse(self, variable: relax.Var, what: str) -> NoReturn:
        """Raise NoIntegerForm: the operator that yields a variable stays in float."""
        raise NoIntegerForm(self.layer(variable), f"{what} has no integer form", self.remedy)

    def is_constant(self, value: relax.Expr) -> bool:
        """Tell whether a value depends on parameters alone."""
        read = operands(value)
        return bool(read) and all(operand in self.constants for operand in read)

    def compute_constant(self, variable: relax.Var, value: relax.Expr) -> None:
        """Evaluate a binding of a view or transpose of a weight, or arithmetic on parameters."""
        operator = operator_name(value)
        if operator in ("reshape", "permute_dims"):
            for known in (self.constants, self.scales):
                if value.args[0] in known:
                    known[variable] = _view(value, known[value.args[0]])
            return
        if operator in ARITHMETIC:
            left, right = (number(a) if is_number(a) else self.constants[a] for a in value.args)
            new = np.asarray(ARITHMETIC[operator](left, right), np.float32)
        else:
            self.refuse(variable, f"{operator} of parameters")
        self.constants[variable] = new

    def tensor(self, variable: relax.Var) -> QuantizedTensor:
        """Make the tensor of a variable from its calibrated range."""
        layer = self.layer(variable)
        if variable.name not in self.ranges:
            raise UserError(
                f"layer {layer}: tensor '{variable.name}' has no calibrated range: calibrate this very model"
            )
        low, high = self.ranges[variable.name]
        return activation(variable.name, static_shape(variable), float(low), float(high), layer)

    def quantized_weight(
        self,
        layer: str,
        weight: np.ndarray,
        scales: np.ndarray | None,
        bias: np.ndarray,
        source: QuantizedTensor,
        output: QuantizedTensor,
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Quantise a layer's weight and bias, see `quantized_weight`."""
        return quantized_weight(weight, bias, source, output, self.weight_bits, layer)

    def source(self, variable: relax.Var, operand: relax.Expr) -> QuantizedTensor:
        """Tensor that the operator of `variable` reads."""
        if operand not in self.tensors:
            self.refuse(variable, f"{operator_name(self.bound[variable])} with a parameter")
        return self.tensors[operand]

    def emit(self, variable: relax.Var, operator: Operator) -> None:
        """Append an operator whose result stands for a variable."""
        self.operators.append(operator)
        self.tensors[variable] = operator.output

    def with_bias(self, variable: relax.Var, channels: int) -> tuple[relax.Var, np.ndarray]:
        """Take in an addition of a parameter a channel that follows.

        Returns
        -------
        variable : Var
            The sum, or `variable` itself if none follows.
        bias : ndarray of float32, ``[channels]``
        """
        none = np.zeros(channels, np.float32)
        reader = self.only_reader(variable)
        if reader is None or operator_name(self.bound[reader]) != "add":
            return variable, none
        left, right = self.bound[reader].args
        view = self.bound.get(right)
        if view is not None and right not in self.constants and self.is_constant(view):
            self.compute_constant(right, view)
        if not left.same_as(variable) or right not in self.constants:
            return variable, none
        added = self.constants[right]
        aligned = (1,) * (len(static_shape(variable)) - added.ndim) + added.shape
        if added.size != channels or aligned[1] != channels:
            return variable, none
        self.absorbed.add(reader)
        return reader, added.reshape(-1).astype(np.float32)

    def with_bounds(self, variable: relax.Var) -> tuple[relax.Var, QuantizedTensor, int, int]:
        """Take in a ReLU or clip that follows.

        Returns
        -------
        variable : Var
            What the operator yields now.
        output : QuantizedTensor
            Its tensor.
        minimum, maximum : int
            The bounds in integers.
        """
        reader = self.only_reader(variable)
        low, high = -math.inf, math.inf
        if reader is not None and operator_name(self.bound[reader]) in ("nn.relu", "clip"):
            low, high = bounds(self.bound[reader])
            self.absorbed.add(reader)
            variable = reader
        output = self.tensor(variable)
        return variable, output, _integer_bound(low, output, 0), _integer_bound(high, output, 255)

    def readers(self, variable: relax.Var) -> list[relax.Var]:
        """Bindings that read a variable."""
        return self._readers.get(variable, [])

    def is_result(self, variable: relax.Var) -> bool:
        """Tell whether the model yields a variable."""
        return bool(self._results[variable])

    def only_reader(self, variable: relax.Var) -> relax.Var | None:
        """The binding that alone reads a variable."""
        readers = self.readers(variable)
        return readers[0] if len(readers) == 1 and not self.is_result(variable) else None


def bounds(value: relax.Call) -> tuple[float, float]:
    """Bounds of a ReLU or clip."""
    if operator_name(value) == "nn.relu":
        return 0.0, math.inf
    return float(value.args[1].value), float(value.args[2].value)


def _view(value: relax.Call, array: np.ndarray) -> np.ndarray:
    """Compute a reshape or permute_dims."""
    if operator_name(value) == "reshape":
        return array.reshape(static_shape(value))
    axes = value.attrs.axes
    return array.transpose(None if axes is None else [int(axis) for axis in axes])


def _integer_bound(bound: float, tensor: QuantizedTensor, otherwise: int) -> int:
    if math.isinf(bound):
        return otherwise
    return min(max(round(bound / tensor.scale) + tensor.zero_point, 0), 255)
