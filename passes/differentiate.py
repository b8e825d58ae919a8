"""Reverse-mode differentiation of a lowered forward function by TVM's `Gradient` pass and our own rules."""

from __future__ import annotations

from collections.abc import Sequence

from tvm import IRModule, relax

import tvm_pulp.passes.gradients  # noqa: F401  registers the rules
from tvm_pulp.passes.gradients.rule import RULES
from tvm_pulp.passes.kernel_call import is_kernel, needed_arguments, rule_of
from tvm_pulp.passes.rewrite import bindings, operands
from tvm_pulp.target.errors import UserError


def differentiate(module: IRModule, name: str, parameters: Sequence[relax.Var]) -> tuple[IRModule, str]:
    """Add the function that also computes the gradients of a scalar by some arguments.

    TVM's pass walks backwards over the calls of kernels; the rule of each emits the kernels of its gradients,
    for those arguments only that a trained parameter flows into: nothing is computed for a frozen part.

    Parameters
    ----------
    module : IRModule
        Holds the function `name`: one dataflow block of kernel calls and reshapes, which returns a tuple
        whose first element is the loss, of shape ``()``.
    name : str
        Of the function.
    parameters : sequence of Var
        Arguments of the function to differentiate by.

    Returns
    -------
    module : IRModule
        With a further function, which returns
        ``(what the first returns, gradients in the order of parameters)``.
    name : str
        Of that function.

    Raises
    ------
    UserError
        Naming the layer of an operator that has no gradient but that gradients have to flow through, or a
        parameter that does not influence the loss.
    """
    function = module[name]
    influential = _influences(function, function.body.body.fields[0])
    for parameter in parameters:
        if parameter not in influential:
            raise UserError(
                f"parameter {parameter.name} does not influence the loss, so it cannot be trained: leave it "
                "out of the trainable patterns"
            )
    for variable, value in bindings(function):
        if variable in influential and is_kernel(value) and any(needed_arguments(value)):
            rule, layer, _ = rule_of(value)
            if rule not in RULES:
                raise UserError(
                    f"layer {layer}: its operator has no gradient, but trained parameters come before it: "
                    f"freeze them by --freeze-until {layer}"
                )
    return relax.transform.Gradient(name, require_grads=list(parameters))(module), f"{name}_adjoint"


def _influences(function: relax.Function, result: relax.Var) -> set[relax.Var]:
    """Variables and arguments that a result depends on."""
    found = {result}
    for variable, value in reversed(list(bindings(function))):
        if variable in found:
            found.update(operands(value))
    return found
