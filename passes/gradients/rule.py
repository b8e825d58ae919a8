"""What a gradient rule is: it emits the kernels of an operator's gradients into the backward pass."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from tvm import relax
from tvm.ir import Call

from tvm_pulp.passes.kernel_call import KERNEL, emit_kernel, needed_arguments, rule_of
from tvm_pulp.passes.operators.kernel import Shape
from tvm_pulp.passes.rewrite import static_shape
from tvm_pulp.target.tvm_names import PrimFunc


@dataclass(frozen=True)
class Differentiated:
    """A kernel's call as its gradient rule sees it.

    Attributes
    ----------
    builder : relax.BlockBuilder
        Of the backward pass.
    layer : str
        Where the call comes from in the model.
    parameters : dict
        As given to `emit_kernel`.
    arguments : tuple of Var
        Of the forward kernel.
    needed : tuple of bool
        Whether each argument's gradient is needed: a trained parameter flows into it.
    output : Var
        What the forward kernel yielded.
    gradient : Var
        The loss's gradient by `output`.
    """

    builder: relax.BlockBuilder
    layer: str
    parameters: dict[str, Any]
    arguments: tuple[relax.Var, ...]
    needed: tuple[bool, ...]
    output: relax.Var
    gradient: relax.Var

    def shape(self, argument: int) -> Shape:
        """Shape of an argument."""
        return static_shape(self.arguments[argument])

    def emit(self, function: PrimFunc, arguments: Sequence[relax.Var]) -> relax.Var:
        """Call a kernel of the backward pass."""
        return emit_kernel(self.builder, function, arguments)


Rule = Callable[[Differentiated], Sequence["relax.Var | None"]]
RULES: dict[str, Rule] = {}


def gradient_rule(name: str) -> Callable[[Rule], Rule]:
    """Register the gradient rule of an operator.

    The rule yields the gradient by each argument, None where it is not needed or there is none.
    """

    def register(rule: Rule) -> Rule:
        RULES[name] = rule
        return rule

    return register


def differentiate_call(
    output: relax.Var, call: Call, gradient: relax.Var, builder: relax.BlockBuilder
) -> list:
    """Give the gradients of a kernel's call to TVM's `Gradient` pass (its FPrimalGradient)."""
    rule, layer, parameters = rule_of(call)
    needed = needed_arguments(call)
    none = [relax.op.grad.no_grad(argument) for argument in call.args]
    if not any(needed):
        return none
    arguments = tuple(call.args[1:])
    partials = RULES[rule](Differentiated(builder, layer, parameters, arguments, needed, output, gradient))
    assert len(partials) == len(arguments), f"gradient rule {rule}: a gradient an argument"
    return [
        none[0],
        *(
            nothing if partial is None else partial
            for partial, nothing in zip(partials, none[1:], strict=True)
        ),
    ]


relax.op.base.register_gradient(KERNEL)(differentiate_call)
