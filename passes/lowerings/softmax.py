"""Lowering of softmax and log-softmax."""

from __future__ import annotations

from tvm import relax

from tvm_pulp.passes.lowerings.lowering import Lowering
from tvm_pulp.passes.operators.softmax import softmax
from tvm_pulp.passes.rewrite import operator_name, static_shape


def lower_softmax(lowering: Lowering, variable: relax.Var, call: relax.Call) -> relax.Var:
    """Emit softmax or log-softmax over one axis."""
    data = lowering.tensor(call.args[0])
    shape = static_shape(data)
    axis = int(call.attrs["axis"]) % len(shape)
    logarithm = operator_name(call) == "nn.log_softmax"
    kernel = softmax(lowering.names.layer(variable), lowering.work, shape, axis, logarithm)
    return lowering.kernel(kernel, [data], "softmax", {"axis": axis, "logarithm": logarithm}, variable.name)
