"""TVM's TFLite operator converter, told the graph's readable names and to name what it emits."""

from __future__ import annotations

from typing import Any

from tflite.FullyConnectedOptions import FullyConnectedOptions
from tflite.TensorType import TensorType
from tvm import relax
from tvm.relax.frontend.tflite import tflite_frontend

from tvm_pulp.frontends.tflite_graph import Graph
from tvm_pulp.passes.rewrite import operator_name
from tvm_pulp.target.errors import UserError

Table = tflite_frontend.ExprTable


class _Renamed:
    """A flatbuffer object that answers some methods itself and leaves the rest to the original."""

    def __init__(self, original: Any, **answers: Any) -> None:
        self._original = original
        self._answers = answers

    def __getattr__(self, attribute: str) -> Any:
        return self._answers[attribute] if attribute in self._answers else getattr(self._original, attribute)


class Converter(tflite_frontend.OperatorConverter):
    """Converts the operators of a `Graph`, those of an int8 model to operators in float32.

    What such operators yield is quantised and dequantised again, so that it can be told what the integers do
    to it, see `remove_quantizers`.

    Attributes
    ----------
    names : dict of Var to str
        Names for `name_bindings`.
    current : str
        Operator and layer that are being imported, for messages.
    """

    def __init__(self, graph: Graph, table: Any, builder: relax.BlockBuilder) -> None:
        def tensor(index: int) -> _Renamed:
            answers: dict[str, Any] = {"Name": lambda: graph.names[int(index)].encode()}
            if graph.stands_for_floats(int(index)):
                answers |= {"Type": lambda: TensorType.FLOAT32, "Quantization": lambda: None}
            return _Renamed(graph.subgraph.Tensors(int(index)), **answers)

        super().__init__(graph.model, _Renamed(graph.subgraph, Tensors=tensor), table, builder)
        self.graph = graph
        self.names: dict[relax.Var, str] = {}
        self.current = ""

    def convert(self) -> relax.Expr:
        """Emit all operators; returns the output or a tuple of outputs."""
        graph = self.graph
        for operator, kind, layer in zip(graph.operators, graph.kinds, graph.layers, strict=True):
            self.current = f"{kind} in layer '{layer}'"
            if kind not in self.convert_map:
                raise UserError(f"{graph.model_name}: operator {kind} in layer '{layer}' is not supported")
            if kind in ("QUANTIZE", "DEQUANTIZE"):
                self._rename(operator)
                continue
            if kind == "FULLY_CONNECTED":
                self._flatten_input(operator)
            result = self.convert_map[kind](op=operator)
            if result is None:
                continue
            outputs = [int(index) for index in operator.OutputsAsNumpy()]
            if len(outputs) == 1:
                self._bind(outputs[0], result)
            else:
                result = self.bb.normalize(result)
                for position, index in enumerate(outputs):
                    self._bind(index, result[position])
        results = [self.get_tensor_expr(t) for t in self.get_tensors(graph.subgraph.OutputsAsNumpy())]
        return results[0] if len(results) == 1 else relax.Tuple(results)

    def _bind(self, index: int, result: relax.Expr) -> None:
        name = self.graph.names[index]
        self.exp_tab.set_expr(name, self._quantized(self._emit(result, name), index))

    def _rename(self, operator: Any) -> None:
        """Let the result of an operator be what it reads, which stands for the same numbers."""
        (source,) = self.get_input_tensors(operator)
        (index,) = operator.OutputsAsNumpy()
        self.exp_tab.set_expr(self.graph.names[int(index)], self.get_tensor_expr(source))

    def _quantized(self, result: relax.Expr, index: int) -> relax.Expr:
        """What the integers of a tensor that is computed stand for."""
        graph = self.graph
        if not graph.stands_for_floats(index):
            return result
        scales, zero_points, _ = graph.quantization(index)
        dtype = graph.dtype(index).lower()
        scale = relax.const(scales[0], "float32")
        zero_point = relax.const(int(zero_points[0]), dtype)
        integers = self.bb.emit(relax.op.quantize(result, scale, zero_point, 0, dtype))
        return self.bb.emit(relax.op.dequantize(integers, scale, zero_point, 0, "float32"))

    def _emit(self, result: relax.Expr, name: str) -> relax.Expr:
        if not isinstance(result, relax.Call):
            return result
        arguments = [
            self._emit(argument, f"{name}.{operator_name(argument).rpartition('.')[2]}")
            for argument in result.args
        ]
        variable = self.bb.emit(relax.Call(result.op, arguments, result.attrs, result.ty_args))
        self.names[variable] = name
        return variable

    def _flatten_input(self, operator: Any) -> None:
        """Give a fully connected layer an input of two axes, as TFLite flattens the others silently."""
        data, weight = self.get_input_tensors(operator)[:2]
        expression = self.get_tensor_expr(data)
        features = int(weight.tensor.ShapeAsNumpy()[1])
        options = self._get_builtin_options(operator, FullyConnectedOptions)
        if expression.ty.ndim > 2 and not options.KeepNumDims():
            name = self.graph.names[data.tensor_idx]
            flat = self.bb.emit(relax.op.reshape(expression, (-1, features)))
            self.exp_tab.set_expr(name, flat, force_override=True)
