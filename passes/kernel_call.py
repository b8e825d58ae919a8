"""The call of a kernel that can be differentiated: a Relax operator of our own, until the graph is finished.

TVM's `call_tir_with_grad` would serve but for one thing: its gradients cannot say that an argument (labels,
batch statistics) has none. The operator ``tvm_pulp.kernel`` takes a PrimFunc's GlobalVar and the kernel's
arguments; its attributes name the gradient rule (`passes/gradients/`) and the rule's parameters, and
`passes/finish_graph.py` turns all calls into `call_tir`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tvm import ir, relax
from tvm.ir import register_op_attr

from tvm_pulp.passes.operators.kernel import argument_shapes, plain
from tvm_pulp.target.tvm_names import PrimFunc

KERNEL = "tvm_pulp.kernel"


def _register() -> ir.Op:
    if KERNEL not in ir.Op.list_op_names():
        ir._ffi_api.RegisterOp(KERNEL, "call of a kernel that can be differentiated")
        register_op_attr(KERNEL, "FInferType", lambda call, _: call.ty_args[0])
        register_op_attr(KERNEL, "FPurity", True)
        register_op_attr(KERNEL, "TScriptPrinterName", KERNEL)
    return ir.Op.get(KERNEL)


OPERATOR = _register()


def result_type(function: PrimFunc, arguments: int) -> relax.TensorType | relax.TupleType:
    """Type of what a kernel yields: a tensor, or a tuple if it has several outputs."""
    types = [relax.TensorType(shape, dtype) for shape, dtype in argument_shapes(function)[arguments:]]
    return types[0] if len(types) == 1 else relax.TupleType(types)


def emit_kernel(
    builder: relax.BlockBuilder,
    function: PrimFunc,
    arguments: Sequence[relax.Var],
    rule: str = "",
    parameters: Mapping[str, Any] | None = None,
    needed: Sequence[bool] = (),
    name: str = "",
) -> relax.Var:
    """Add a kernel to the module that is built and call it.

    Parameters
    ----------
    builder : relax.BlockBuilder
        Inside a dataflow block.
    function : PrimFunc
        Its attribute ``"global_symbol"`` is its name; equal functions are one.
    arguments : sequence of Var
        Tensors, in the order of the PrimFunc's buffers.
    rule : str
        Name of the gradient rule; "" where none is needed.
    parameters : mapping, optional
        What the rule has to know: numbers, strings, None, tuples and dicts of them.
    needed : sequence of bool
        Whether a trained parameter flows into each argument, so that its gradient is needed; empty if the
        call is not differentiated.
    name : str
        Of the variable; by default that of the kernel.

    Returns
    -------
    Var
        The result, a tensor or a tuple of tensors.
    """
    call = _call(
        builder, function, arguments, result_type(function, len(arguments)), rule, parameters, needed
    )
    return builder.emit(call, name or str(function.attrs["global_symbol"]))


def emit_alias(
    builder: relax.BlockBuilder,
    function: PrimFunc,
    arguments: Sequence[relax.Var],
    rule: str,
    parameters: Mapping[str, Any] | None = None,
    needed: Sequence[bool] = (),
    name: str = "",
) -> relax.Var:
    """Emit another name of ``arguments[0]``, one of the results of a kernel, that carries the gradient rule.

    A kernel with several results is not differentiated itself, as each of them would have a gradient then;
    the one that the model goes on with gets a rule in this way. `resolve` replaces it by what it stands for.

    Parameters
    ----------
    builder : relax.BlockBuilder
        Inside a dataflow block.
    function : PrimFunc
        Of the kernel.
    arguments : sequence of Var
        The result, and what the rule needs: at least all that has a gradient.
    rule, parameters, needed, name
        See `emit_kernel`; about `arguments`.
    """
    call = _call(builder, function, arguments, arguments[0].ty, rule, parameters, needed, alias=True)
    return builder.emit(call, name)


def _call(
    builder: relax.BlockBuilder,
    function: PrimFunc,
    arguments: Sequence[relax.Var],
    result: ir.Type,
    rule: str,
    parameters: Mapping[str, Any] | None,
    needed: Sequence[bool],
    alias: bool = False,
) -> relax.Call:
    variable = builder.add_func(function, str(function.attrs["global_symbol"]))
    attributes = ir.make_node(
        "ir.DictAttrs",
        rule=rule,
        layer=str(function.attrs["pulp.layer"]),
        parameters=dict(parameters or {}),
        needed=[bool(flag) for flag in needed],
        alias=alias,
    )
    return relax.Call(OPERATOR, [variable, *arguments], attributes, [result])


def is_alias(value: relax.Expr) -> bool:
    """Tell whether a value is another name of its first argument, see `emit_alias`."""
    return is_kernel(value) and bool(value.attrs["alias"])


def is_kernel(value: relax.Expr) -> bool:
    """Tell whether a value is a call of a kernel."""
    return isinstance(value, relax.Call) and getattr(value.op, "name", "") == KERNEL


def rule_of(call: relax.Call) -> tuple[str, str, dict[str, Any]]:
    """Gradient rule, layer and parameters of a kernel's call."""
    return str(call.attrs["rule"]), str(call.attrs["layer"]), plain(call.attrs["parameters"])


def needed_arguments(call: relax.Call) -> tuple[bool, ...]:
    """Tell for each argument of a kernel's call whether its gradient is needed."""
    return tuple(bool(flag) for flag in call.attrs["needed"])
