"""TVM's ONNX importer with own conversions where its are not differentiable or not exact."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import reduce
from typing import Any

import numpy as np
from tvm import relax
from tvm.ir import GenericConst
from tvm.relax.frontend.onnx import onnx_frontend

from tvm_pulp.passes.rewrite import static_shape
from tvm_pulp.target.errors import UserError

Convert = Callable[[Sequence[Any], dict[str, Any], int], relax.Expr]


class Importer(onnx_frontend.ONNXGraphImporter):
    """Names what it emits after the model's layers, which the nodes' names are (see `onnx_prepare`).

    Attributes
    ----------
    names : dict of Var to str
        Names for `name_bindings`.
    parameters : dict of str to tvm.runtime.Tensor
        Initialisers by name.
    current : str
        Operator and layer that are being imported, for messages.
    """

    def __init__(self, model_name: str) -> None:
        super().__init__({}, "float32", keep_params_in_input=True, sanitize=False)
        self.model_name = model_name
        self.names: dict[relax.Var, str] = {}
        self.current = ""
        self._results: dict[str, tuple[relax.Var, str]] = {}

    @property
    def parameters(self) -> dict[str, Any]:
        """Initialisers by name."""
        return {name: value for name, (_, value) in self._params.items()}

    def _check_for_unsupported_ops(self, graph: Any) -> None:
        known = onnx_frontend._get_convert_map()
        for node in graph.node:
            if node.op_type not in known and node.op_type not in _CONVERTERS:
                raise UserError(
                    f"{self.model_name}: operator {node.op_type} in layer '{node.name}' is not supported"
                )

    def _convert_operator(self, op_name: str, inputs: Any, attrs: dict[str, Any], opset: int) -> relax.Expr:
        layer = attrs["tvm_custom"]["name"]
        self.current = f"{op_name} in layer '{layer}'"
        if op_name in _CONVERTERS:
            result = _CONVERTERS[op_name](inputs, attrs, opset)
        else:
            result = super()._convert_operator(op_name, inputs, attrs, opset)
        if isinstance(result, relax.Call):
            result = self.bb.emit(result)
            self._record(result, layer, op_name)
        elif isinstance(result, relax.Var) and result not in self.names and result not in list(inputs):
            self._record(result, layer, op_name)  # TVM's converter has emitted it
        elif isinstance(result, relax.Tuple) and op_name == "BatchNormalization":
            call = self.bb.emit(result.fields[0].tuple_value)
            output = self.bb.emit(relax.TupleGetItem(call, 0))
            self.names[call], self.names[output] = layer, f"{layer}.output"
            result = relax.Tuple([output, *result.fields[1:]])
        return result

    def _record(self, variable: relax.Var, layer: str, op_name: str) -> None:
        """Give a layer's name to its last operator and that of the operator to the earlier ones."""
        if layer in self._results:
            earlier, operator = self._results[layer]
            self.names[earlier] = f"{layer}.{operator}"
        self.names[variable] = layer
        self._results[layer] = variable, op_name.lower()


def decimal(value: float) -> float:
    """Number that was written when a float32 attribute was: 1e-5 rather than 9.999999747378752e-06."""
    return float(str(np.float32(value)))


def _number(expression: Any, default: float) -> float:
    if expression is None:
        return default
    if not isinstance(expression, GenericConst):
        raise ValueError("a setting is computed at run time: it must be a constant")
    return float(expression.value.numpy().reshape(()))


def _integers(expression: Any) -> list[int]:
    if not isinstance(expression, GenericConst):
        raise ValueError("a setting is computed at run time: it must be a constant")
    return [int(value) for value in expression.value.numpy().reshape(-1)]


def _padding(
    attrs: dict[str, Any],
    extents: Sequence[int],
    window: Sequence[int],
    strides: list[int],
    dilations: list[int],
) -> list[int]:
    """Explicit padding (begins, then ends) of a window operator, also for `auto_pad` (ONNX operator Conv)."""
    mode = attrs.get("auto_pad", b"NOTSET").decode()
    if mode == "NOTSET":
        return list(attrs.get("pads", [0] * 2 * len(window)))
    if mode == "VALID":
        return [0] * 2 * len(window)
    total = [
        max(0, (-(-extent // stride) - 1) * stride + (size - 1) * dilation + 1 - extent)
        for extent, size, stride, dilation in zip(extents, window, strides, dilations, strict=True)
    ]
    small, large = [pad // 2 for pad in total], [pad - pad // 2 for pad in total]
    return small + large if mode == "SAME_UPPER" else large + small


def _conv(inputs: Sequence[Any], attrs: dict[str, Any], opset: int) -> relax.Expr:
    data, weight, bias = inputs[0], inputs[1], inputs[2]
    shape = static_shape(weight)
    if len(shape) != 4:
        raise ValueError(f"a convolution over {len(shape) - 2} axes is not supported: 2 are")
    strides, dilations = list(attrs.get("strides", [1, 1])), list(attrs.get("dilations", [1, 1]))
    result = relax.op.nn.conv2d(
        data,
        weight,
        strides=strides,
        padding=_padding(attrs, static_shape(data)[2:], shape[2:], strides, dilations),
        dilation=dilations,
        groups=int(attrs.get("group", 1)),
    )
    return result if bias is None else relax.op.add(result, relax.op.reshape(bias, (1, shape[0], 1, 1)))


def _pool(pool: Callable[..., relax.Expr]) -> Convert:
    def convert(inputs: Sequence[Any], attrs: dict[str, Any], opset: int) -> relax.Expr:
        window = list(attrs["kernel_shape"])
        if len(window) != 2:
            raise ValueError(f"pooling over {len(window)} axes is not supported: 2 are")
        strides, dilations = list(attrs.get("strides", [1, 1])), list(attrs.get("dilations", [1, 1]))
        return pool(
            inputs[0],
            window,
            strides=strides,
            padding=_padding(attrs, static_shape(inputs[0])[2:], window, strides, dilations),
            dilation=dilations,
            ceil_mode=bool(attrs.get("ceil_mode", 0)),
            count_include_pad=bool(attrs.get("count_include_pad", 0)),
        )

    return convert


def _batch_norm(inputs: Sequence[Any], attrs: dict[str, Any], opset: int) -> relax.Expr:
    """Batch norm in either mode; ONNX's momentum weighs the old statistics, Relax's the new ones."""
    result = relax.op.nn.batch_norm(
        *inputs[:5],
        axis=1,
        epsilon=decimal(attrs.get("epsilon", 1e-5)),
        momentum=round(1 - decimal(attrs.get("momentum", 0.9)), 9),
        training=False,
    )
    # the running statistics that the other outputs are updated by the training graph, not by the model
    return relax.Tuple([relax.TupleGetItem(result, 0), inputs[3], inputs[4], inputs[3], inputs[4]])


def _clip(inputs: Sequence[Any], attrs: dict[str, Any], opset: int) -> relax.Expr:
    if opset < 11:
        return relax.op.clip(inputs[0], attrs.get("min", -math.inf), attrs.get("max", math.inf))
    return relax.op.clip(inputs[0], _number(inputs[1], -math.inf), _number(inputs[2], math.inf))


def _pad(inputs: Sequence[Any], attrs: dict[str, Any], opset: int) -> relax.Expr:
    rank = inputs[0].ty.ndim
    if opset < 11:
        pads, value, axes = list(attrs["pads"]), float(attrs.get("value", 0.0)), list(range(rank))
    else:
        pads, value = _integers(inputs[1]), _number(inputs[2], 0.0)
        axes = list(range(rank)) if inputs[3] is None else [axis % rank for axis in _integers(inputs[3])]
    widths = [0] * 2 * rank
    for index, axis in enumerate(axes):
        widths[2 * axis], widths[2 * axis + 1] = pads[index], pads[index + len(axes)]
    return relax.op.nn.pad(inputs[0], widths, attrs.get("mode", b"constant").decode(), value)


def _variadic(operator: Callable[[relax.Expr, relax.Expr], relax.Expr]) -> Convert:
    return lambda inputs, attrs, opset: reduce(operator, list(inputs))


def _dropout(inputs: Sequence[Any], attrs: dict[str, Any], opset: int) -> relax.Expr:
    return relax.Tuple([inputs[0], inputs[0]])


def _quantizer(operator: Callable[..., relax.Expr]) -> Convert:
    """`quantize` or `dequantize` of a whole tensor by constants."""

    def convert(inputs: Sequence[Any], attrs: dict[str, Any], opset: int) -> relax.Expr:
        settings = [value for value in inputs[1:3] if value is not None]
        if not all(isinstance(value, GenericConst) for value in settings):
            raise ValueError("its scale is computed at run time: quantise the model statically")
        scale, *zero_points = (value.value.numpy() for value in settings)
        zero_point = zero_points[0] if zero_points else np.zeros((), np.uint8)
        if scale.size != 1:
            raise ValueError("an activation has several scales: quantise activations as whole tensors")
        if zero_point.dtype not in (np.int8, np.uint8):
            raise ValueError(f"an activation is quantised to {zero_point.dtype}: quantise to int8 or uint8")
        constants = relax.const(scale.reshape(())), relax.const(zero_point.reshape(()))
        dtype = str(zero_point.dtype) if operator is relax.op.quantize else "float32"
        return operator(inputs[0], *constants, axis=-1, out_dtype=dtype)

    return convert


_CONVERTERS: dict[str, Convert] = {
    "AveragePool": _pool(relax.op.nn.avg_pool2d),
    "BatchNormalization": _batch_norm,
    "Clip": _clip,
    "Conv": _conv,
    "DequantizeLinear": _quantizer(relax.op.dequantize),
    "Dropout": _dropout,
    "Max": _variadic(relax.op.maximum),
    "MaxPool": _pool(relax.op.nn.max_pool2d),
    "Min": _variadic(relax.op.minimum),
    "Pad": _pad,
    "QuantizeLinear": _quantizer(relax.op.quantize),
    "Sum": _variadic(relax.op.add),
}
