"""Turn a canonical forward function into calls of kernels, walking over its bindings in order."""

from __future__ import annotations

from collections.abc import Sequence

from tvm import relax

from tvm_pulp.passes.fuse_batch_norm import fuse_batch_norm
from tvm_pulp.passes.lowerings import LOWERINGS
from tvm_pulp.passes.lowerings.lowering import Lowering
from tvm_pulp.passes.rewrite import bindings, operator_name
from tvm_pulp.target.errors import UserError


def lower_forward(
    lowering: Lowering, function: relax.Function, arguments: Sequence[relax.Var]
) -> list[relax.Var]:
    """Emit a function's operators as kernels.

    Parameters
    ----------
    lowering : Lowering
        Its builder receives the kernels.
    function : relax.Function
        Canonical forward function.
    arguments : sequence of Var
        What its arguments are.

    Returns
    -------
    list of Var
        What the function returns.

    Raises
    ------
    UserError
        Naming the layer of an operator that has no kernel.
    """
    for old, new in zip(function.params, arguments, strict=True):
        lowering.define(old, new)
    chains = fuse_batch_norm(function, lowering.training_batch_norms)
    lowering.batch_norm_chains = chains
    left_out = {chain.addition for chain in chains.values()}
    activated = {chain.activated for chain in chains.values()}
    for variable, value in bindings(function):
        if variable in left_out:
            continue
        if variable in activated:
            lowering.define(variable, lowering.peek(value.args[0]))
        elif isinstance(value, relax.Var):
            lowering.define(variable, lowering.peek(value))
        elif isinstance(value, relax.Tuple):
            lowering.define(variable, tuple(lowering.tensor(element) for element in value.fields))
        elif isinstance(value, relax.TupleGetItem):
            lowering.define(variable, lowering.peek(value.tuple_value)[value.index])
        else:
            operator = operator_name(value)
            if operator not in LOWERINGS:
                layer, found = lowering.names.layer(variable), operator or type(value).__name__
                raise UserError(f"layer {layer}: operator {found} has no kernel; replace it in the model")
            lowering.define(variable, LOWERINGS[operator](lowering, variable, value))
    result = function.body.body
    if isinstance(result, relax.Tuple):
        return [lowering.tensor(element) for element in result.fields]
    found = lowering.peek(result)
    return list(found) if isinstance(found, tuple) else [lowering.tensor(result)]
