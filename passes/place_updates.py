"""Place updates: each as early as its operands are there and nothing reads the old value any more."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from tvm import relax

from tvm_pulp.passes.rewrite import operands, operator_name
from tvm_pulp.target.tvm_names import PrimFunc


@dataclass(frozen=True)
class Update:
    """A kernel that overwrites some of its arguments.

    Attributes
    ----------
    kernel : PrimFunc
        Without buffers of its own for what it overwrites.
    arguments : tuple of Var
        In the order of its buffers.
    overwritten : tuple of int
        Numbers of the arguments that it overwrites.
    name : str
        Of the variable that holds the result.
    """

    kernel: PrimFunc
    arguments: tuple[relax.Var, ...]
    overwritten: tuple[int, ...]
    name: str


Step = "tuple[relax.Var, relax.Expr] | Update"


def place_updates(
    bound: Sequence[tuple[relax.Var, relax.Expr]], updates: Iterable[Update]
) -> list[tuple[relax.Var, relax.Expr] | Update]:
    """Put updates between the bindings of a function.

    Parameters
    ----------
    bound : sequence of (Var, Expr)
        The bindings in execution order.
    updates : iterable of Update
        No two overwrite the same variable, and none overwrites what another one reads.

    Returns
    -------
    list
        Bindings in the same order, and updates.
    """
    updates = list(updates)
    memory = _memory(bound)
    last_read: dict[relax.Var, int] = {}
    defined: dict[relax.Var, int] = {}
    for position, (variable, value) in enumerate(bound):
        defined[variable] = position
        if not _is_view(value):
            for operand in operands(value):
                last_read[memory.get(operand, operand)] = position
    after: dict[int, list[Update]] = {}
    for update in updates:
        ready = max((defined.get(argument, -1) for argument in update.arguments), default=-1)
        old = (update.arguments[number] for number in update.overwritten)
        free = max((last_read.get(memory.get(variable, variable), -1) for variable in old), default=-1)
        after.setdefault(max(ready, free), []).append(update)
    steps: list[tuple[relax.Var, relax.Expr] | Update] = list(after.get(-1, []))
    for position, binding in enumerate(bound):
        steps += [binding, *after.get(position, [])]
    return steps


def _is_view(value: relax.Expr) -> bool:
    """Tell whether a value reads nothing: it is another name, another shape or a part of a tuple."""
    return not isinstance(value, relax.Call) or operator_name(value) == "reshape"


def _memory(bound: Sequence[tuple[relax.Var, relax.Expr]]) -> Mapping[relax.Var, relax.Var]:
    """Variable whose memory each view shares."""
    memory: dict[relax.Var, relax.Var] = {}
    for variable, value in bound:
        if isinstance(value, relax.Var) or operator_name(value) == "reshape":
            source = operands(value)[0]
            memory[variable] = memory.get(source, source)
    return memory
