"""Bring a network of NHWC convolutions and pools to NCHW, with one transpose at its input."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
from tvm import IRModule, relax

from tvm_pulp.passes.model import Model
from tvm_pulp.passes.rewrite import (
    Emit,
    bindings,
    inferred,
    is_number,
    operands,
    operator_name,
    rewrite_function,
    static_shape,
)

_TO_NCHW = (0, 3, 1, 2)
_TO_NHWC = (0, 2, 3, 1)
_OIHW = "OIHW"
_WINDOWS = {"nn.conv2d", "nn.avg_pool2d", "nn.max_pool2d"}
_ELEMENTWISE = set(
    "nn.relu nn.relu6 nn.silu clip sigmoid tanh negative square "
    "add subtract multiply divide minimum maximum".split()
)


def nhwc_to_nchw(model: Model) -> Model:
    """Rewrite NHWC convolutions and pools to NCHW and whatever lies between them with them.

    Inputs of four axes keep the layout that the user knows: the graph starts with one `permute_dims` of each.
    Weights are transposed at compile time: parameters change their shapes, not their names. An operator that
    cannot follow (a flatten of a map larger than 1x1, a transpose of the model's own) reads a tensor that is
    transposed back. A model without NHWC operators is returned as it is. Assumes static shapes and constants
    lifted to parameters.
    """
    if not any(_is_nhwc(value) for _, value in bindings(model.function)):
        return model
    parameters = dict(model.parameters)
    arguments: dict[str, relax.Var] = {v.name: v for v in model.function.params}
    layouts = _Layouts(model)

    def transform(emit: Emit, name: str, value: relax.Expr) -> relax.Expr | None:
        layouts.begin(emit)
        if operator_name(value) == "nn.conv2d" and _is_nhwc(value):
            weight = value.args[1]
            origin = layouts.origin(weight)
            array = layouts.evaluate(weight)
            layout = str(value.attrs.kernel_layout)
            parameters[origin] = np.ascontiguousarray(array.transpose([layout.index(axis) for axis in _OIHW]))
            arguments[origin] = relax.Var(origin, relax.TensorType(parameters[origin].shape, "float32"))
            value = relax.Call(value.op, [value.args[0], arguments[origin]], value.attrs)
        layouts.note(name, value)
        return layouts.rewrite(name, value)

    function = rewrite_function(model.function, transform)
    function = relax.Function([arguments[v.name] for v in model.function.params], function.body, None)
    function = rewrite_function(function.with_attr("global_symbol", "main"), lambda emit, name, value: None)
    return dataclasses.replace(model, module=IRModule({"main": function}), parameters=parameters)


def _is_nhwc(value: relax.Expr) -> bool:
    attributes = getattr(value, "attrs", None)
    layout = getattr(attributes, "data_layout", None) or getattr(attributes, "layout", None)
    return operator_name(value) in _WINDOWS and layout == "NHWC"


class _Layouts:
    """NCHW forms of NHWC tensors, made when they are first asked for.

    An NHWC tensor that has been computed in NCHW is represented by a `permute_dims` back that nothing reads,
    unless an operator needs it, and is then dropped as unused.
    """

    def __init__(self, model: Model) -> None:
        self.model = model
        self.nchw: dict[str, relax.Var] = {}
        self.chains: dict[str, relax.Expr] = {}
        self.from_inputs = set(model.inputs)
        self.wanted = _wanted(model)

    def begin(self, emit: Emit) -> None:
        self.emit = emit

    def note(self, name: str, value: relax.Expr) -> None:
        """Remember how a tensor is computed from a parameter, and which depend on inputs."""
        if not any(v.name in self.from_inputs for v in operands(value)):
            self.chains[name] = value

    def origin(self, weight: relax.Var) -> str:
        """Parameter that a weight is a transpose or reshape of."""
        while weight.name in self.chains:
            weight = operands(self.chains[weight.name])[0]
        return weight.name

    def evaluate(self, weight: relax.Var) -> np.ndarray:
        """Value of a weight that is computed from a parameter."""
        if weight.name not in self.chains:
            return self.model.parameters[weight.name]
        value = self.chains[weight.name]
        source = self.evaluate(operands(value)[0])
        if operator_name(value) == "permute_dims":
            return source.transpose([int(axis) for axis in value.attrs.axes])
        if operator_name(value) == "reshape":
            return source.reshape(static_shape(inferred(value)))
        raise ValueError(f"{operator_name(value)} of a convolution's weight is not supported")

    def to_nchw(self, variable: relax.Var) -> relax.Var:
        if variable.name not in self.nchw:
            self.nchw[variable.name] = self.emit(
                relax.op.permute_dims(variable, list(_TO_NCHW)), f"{variable.name}.nchw"
            )
        return self.nchw[variable.name]

    def rewrite(self, name: str, value: relax.Expr) -> relax.Expr | None:
        """Compute a value in NCHW if it can be; None where it stays as it is."""
        if not isinstance(value, relax.Call):
            return None
        read = [v for v in operands(value) if v.name in self.from_inputs]
        if read:
            self.from_inputs.add(name)
        if operator_name(value) == "permute_dims" and read:
            return self._transpose(name, value, read[0])
        new = self._in_nchw(name, value, read)
        if new is None:
            return None
        variable = self.emit(new, name)
        if variable.ty.ndim != 4 or operator_name(value) == "reshape":
            self.from_inputs.add(variable.name)
            return variable
        back = self.emit(relax.op.permute_dims(variable, list(_TO_NHWC)), f"{name}.nhwc")
        self.from_inputs.update((variable.name, back.name))
        self.nchw[back.name] = variable
        return back

    def _transpose(self, name: str, value: relax.Call, source: relax.Var) -> relax.Expr | None:
        """A transpose of the model's own: between NHWC and NCHW it costs nothing."""
        axes = None if value.attrs.axes is None else tuple(int(axis) for axis in value.attrs.axes)
        if axes == _TO_NCHW and source.name in self.nchw:
            return self.nchw[source.name]
        if axes == _TO_NHWC:
            variable = self.emit(value, name)
            self.from_inputs.add(variable.name)
            self.nchw[variable.name] = source
            return variable
        return None

    def _in_nchw(self, name: str, value: relax.Call, read: list[relax.Var]) -> relax.Expr | None:
        operator = operator_name(value)
        if operator in _WINDOWS and _is_nhwc(value):
            return _window(value, operator, self.to_nchw(value.args[0]))
        is_near = name in self.wanted or any(v.name in self.nchw for v in read)
        if not read or not is_near or any(v.ty.ndim != 4 for v in read):
            return None
        attributes = value.attrs
        if operator in _ELEMENTWISE:
            return relax.Call(value.op, [self._operand(a) for a in value.args], attributes)
        if operator == "nn.pad":
            pairs = np.array([int(width) for width in attributes.pad_width]).reshape(4, 2)[list(_TO_NCHW)]
            widths = [int(width) for width in pairs.reshape(-1)]
            return relax.op.nn.pad(self.to_nchw(read[0]), widths, attributes.pad_mode, attributes.pad_value)
        if operator == "concat" and attributes.axis is not None:
            return relax.op.concat([self.to_nchw(v) for v in operands(value)], _axis(attributes.axis))
        if operator in ("nn.softmax", "nn.log_softmax"):
            softmax = relax.op.nn.softmax if operator == "nn.softmax" else relax.op.nn.log_softmax
            return softmax(self.to_nchw(read[0]), _axis(attributes.axis))
        if operator == "mean" and attributes.axis is not None:
            axes = sorted(_axis(axis) for axis in attributes.axis)
            if attributes.keepdims or axes == [2, 3]:
                return relax.op.mean(self.to_nchw(read[0]), axes, keepdims=bool(attributes.keepdims))
        if operator == "reshape" and static_shape(read[0])[1:3] == (1, 1):
            return relax.op.reshape(self.to_nchw(read[0]), static_shape(inferred(value)))
        return None

    def _operand(self, argument: relax.Expr) -> relax.Expr:
        """Operand of an elementwise operator in NCHW; parameters are reshaped to broadcast there."""
        if not isinstance(argument, relax.Var):
            return argument
        if argument.name in self.from_inputs:
            return self.to_nchw(argument)
        shape = static_shape(argument)
        if is_number(argument) or not shape:
            return argument
        full = (1,) * (4 - len(shape)) + shape
        channels_only = full[:3] == (1, 1, 1)
        if channels_only:
            return relax.op.reshape(argument, (1, full[3], 1, 1))
        return relax.op.permute_dims(relax.op.reshape(argument, full), list(_TO_NCHW))


def _wanted(model: Model) -> set[str]:
    """Tensors that reach an NHWC convolution or pool through elementwise operators and padding alone."""
    wanted: set[str] = set()
    for variable, value in reversed(list(bindings(model.function))):
        if _is_nhwc(value):
            wanted.add(value.args[0].name)
        elif variable.name in wanted and operator_name(value) in _ELEMENTWISE | {"nn.pad"}:
            wanted.update(operand.name for operand in operands(value))
    return wanted


def _axis(axis: int) -> int:
    """Position in NCHW of an axis of NHWC."""
    return _TO_NCHW.index(int(axis) % 4)


def _window(value: relax.Call, operator: str, data: relax.Var) -> relax.Expr:
    attributes = value.attrs
    padding: Sequence[int] = [int(width) for width in attributes.padding]
    strides, dilation = list(attributes.strides), list(attributes.dilation)
    if operator == "nn.conv2d":
        return relax.op.nn.conv2d(
            data, value.args[1], strides, padding, dilation, groups=int(attributes.groups)
        )
    pool = relax.op.nn.avg_pool2d if operator == "nn.avg_pool2d" else relax.op.nn.max_pool2d
    return pool(
        data,
        list(attributes.pool_size),
        strides,
        padding,
        dilation,
        bool(attributes.ceil_mode),
        bool(attributes.count_include_pad),
    )
