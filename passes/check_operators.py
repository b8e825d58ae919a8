"""Refuse operators that the training graph does not know, by their names and layers."""

from __future__ import annotations

from tvm import relax

from tvm_pulp.passes.model import Model
from tvm_pulp.passes.rewrite import bindings, operator_name
from tvm_pulp.target.errors import UserError

OPERATORS = frozenset(
    "nn.conv2d nn.batch_norm nn.relu clip sigmoid tanh add subtract multiply divide matmul permute_dims "
    "reshape "
    "nn.max_pool2d nn.avg_pool2d nn.adaptive_avg_pool2d mean nn.pad concat nn.softmax nn.log_softmax".split()
)


def check_operators(model: Model) -> Model:
    """Return the model as it is if it holds supported operators on float32 only.

    Raises
    ------
    UserError
        Naming the first operator or data type that is not supported, and its layer.
    """
    for variable in model.function.params:
        _check_type(model.name, variable, "argument")
    for variable, value in bindings(model.function):
        if isinstance(value, relax.Call):
            operator = operator_name(value)
            if operator == "call_tir":
                operator = value.args[0].name_hint
            if operator not in OPERATORS:
                raise UserError(
                    f"{model.name}: operator {operator} in layer '{variable.name}' is not supported; "
                    f"those that are: {', '.join(sorted(name.removeprefix('nn.') for name in OPERATORS))}"
                )
            _check_attributes(model.name, variable.name, operator, value)
        elif not isinstance(value, relax.TupleGetItem | relax.Tuple | relax.Var):
            raise UserError(
                f"{model.name}: layer '{variable.name}' is a {type(value).__name__}, which is not supported: "
                "export a model without control flow"
            )
        _check_type(model.name, variable, "layer")
    return model


def _check_attributes(model_name: str, layer: str, operator: str, value: relax.Call) -> None:
    if operator == "nn.pad" and value.attrs.pad_mode != "constant":
        raise UserError(
            f"{model_name}: padding mode {value.attrs.pad_mode} in layer '{layer}' is not supported"
        )
    if operator == "nn.pad" and min(int(width) for width in value.attrs.pad_width) < 0:
        raise UserError(f"{model_name}: layer '{layer}' crops by negative padding, which is not supported")


def _check_type(model_name: str, variable: relax.Var, what: str) -> None:
    types = variable.ty.fields if isinstance(variable.ty, relax.TupleType) else [variable.ty]
    for tensor in types:
        dtype = str(tensor.dtype)
        if dtype != "float32":
            raise UserError(
                f"{model_name}: {what} '{variable.name}' is of type {dtype}: only float32 models can be "
                "trained, "
                "so convert it to float32"
            )
