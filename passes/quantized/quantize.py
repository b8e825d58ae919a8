"""From a float model and calibrated ranges to the integer graph."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from tvm import relax

from tvm_pulp.passes.model import Model
from tvm_pulp.passes.quantized.align_sums import align_sums
from tvm_pulp.passes.quantized.graph import Quantize, QuantizedGraph
from tvm_pulp.passes.quantized.parameters import WEIGHT_BITS
from tvm_pulp.passes.quantized.rules import RULES, Rule
from tvm_pulp.passes.quantized.walk import Ranges, Walk
from tvm_pulp.passes.rewrite import operator_name, static_shape
from tvm_pulp.target.errors import UserError


def quantize_model(model: Model, ranges: Ranges, weight_bits: int = 8) -> QuantizedGraph:
    """Quantise a network: every tensor to 8 bits, biases to 32, activation functions into the clamps.

    Ranges of tensors that are added become a little wider, see `align_sums`.

    Parameters
    ----------
    model : Model
        In canonical form, batch norms folded (`fold_batch_norm`).
    ranges : mapping of str to (float, float)
        Least and greatest value of each variable of the function, by name.
    weight_bits : int
        8 or 4.

    Returns
    -------
    QuantizedGraph

    Raises
    ------
    UserError
        Naming a layer that has no integer form, no calibrated range or no scale.
    """
    if weight_bits not in WEIGHT_BITS:
        raise UserError(f"weights of {weight_bits} bits are not possible: choose 8 or 4")
    walk = _walk(model, ranges, weight_bits)
    aligned = align_sums(walk.operators, ranges)
    if aligned != dict(ranges):
        walk = _walk(model, aligned, weight_bits)
    result = model.function.body.body
    if isinstance(result, relax.Tuple) or result not in walk.tensors:
        raise UserError(f"{model.name}: the integer stage must yield one tensor that depends on an input")
    return QuantizedGraph(model.name, model.inputs, tuple(walk.operators), walk.tensors[result])


def _walk(model: Model, ranges: Ranges, weight_bits: int) -> Walk:
    """Go through a network by the rules."""
    walk = Walk(model, ranges, weight_bits)
    for variable in model.input_variables:
        walk.emit(
            variable, Quantize(variable.name, walk.tensor(variable), variable.name, static_shape(variable))
        )
    for variable, value in walk.bound.items():
        if variable not in walk.absorbed and variable not in walk.constants:
            visit(walk, variable, value, RULES)
    return walk


def visit(walk: Walk, variable: relax.Var, value: relax.Expr, rules: Mapping[str, Rule]) -> None:
    """Compute a binding that depends on parameters alone; for others follow the rule of the operator."""
    if isinstance(value, relax.Var) and value in walk.tensors:
        walk.tensors[variable] = walk.tensors[value]
    elif isinstance(value, relax.Var) and value in walk.constants:
        walk.constants[variable] = walk.constants[value]
    elif walk.is_constant(value):
        walk.compute_constant(variable, value)
    elif operator_name(value) in rules:
        rules[operator_name(value)](walk, variable, value)
    else:
        walk.refuse(variable, operator_name(value) or type(value).__name__)


class _AnyRange(Mapping[str, tuple[float, float]]):
    """Has a range for every tensor and keeps account of those that were asked for."""

    def __init__(self) -> None:
        self.names: set[str] = set()

    def __getitem__(self, name: str) -> tuple[float, float]:
        self.names.add(name)
        return 0.0, 1.0

    def __contains__(self, name: object) -> bool:
        return True

    def __iter__(self) -> Iterator[str]:
        return iter(self.names)

    def __len__(self) -> int:
        return len(self.names)


def needed_ranges(model: Model) -> set[str]:
    """Names of the tensors whose ranges `quantize_model` will ask for.

    Raises
    ------
    UserError
        Naming a layer that has no integer form, before anyone has spent time on calibration.
    """
    ranges = _AnyRange()
    quantize_model(model, ranges)
    return ranges.names
