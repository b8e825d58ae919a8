"""Quantised ONNX models: small ones made by hand, whole nets by ONNX Runtime's quantiser."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

from tvm_pulp.frontends import load_network
from tvm_pulp.oracle.integer import integer_output
from tvm_pulp.passes.quantized.graph import QuantizedGraph

FLOAT, INT8 = TensorProto.FLOAT, TensorProto.INT8


class Network:
    """A graph under construction; each quantised tensor has a scale and a zero point."""

    def __init__(self, dtype: type[np.integer] = np.int8) -> None:
        self.dtype = dtype
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: dict[str, np.ndarray] = {}

    def node(self, operator: str, inputs: Sequence[str], output: str, **attributes: object) -> str:
        self.nodes.append(helper.make_node(operator, inputs, [output], name=output, **attributes))
        return output

    def quantization(self, name: str, scale: float, zero_point: int) -> list[str]:
        self.initializers[f"{name}_scale"] = np.float32(scale)
        self.initializers[f"{name}_zero"] = self.dtype(zero_point)
        return [f"{name}_scale", f"{name}_zero"]

    def quantized(self, source: str, scale: float, zero_point: int = 0) -> str:
        """Quantise and dequantise a tensor; returns the latter."""
        settings = self.quantization(source, scale, zero_point)
        q = self.node("QuantizeLinear", [source, *settings], f"{source}_q")
        return self.node("DequantizeLinear", [q, *settings], f"{source}_dq")

    def weight(self, name: str, integers: np.ndarray, scales: np.ndarray, axis: int = 0) -> str:
        self.initializers[name] = integers
        self.initializers[f"{name}_scale"] = scales.astype(np.float32)
        self.initializers[f"{name}_zero"] = np.zeros(scales.shape, integers.dtype)
        settings = [name, f"{name}_scale", f"{name}_zero"]
        return self.node("DequantizeLinear", settings, f"{name}_dq", axis=axis)

    def model(
        self,
        shapes: Mapping[str, Sequence[int]],
        output: str,
        input_type: int = FLOAT,
        output_type: int = FLOAT,
    ) -> onnx.ModelProto:
        graph = helper.make_graph(
            self.nodes,
            "net",
            [helper.make_tensor_value_info(name, input_type, list(shape)) for name, shape in shapes.items()],
            [helper.make_tensor_value_info(output, output_type, None)],
            [numpy_helper.from_array(np.asarray(value), name) for name, value in self.initializers.items()],
        )
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)


def import_and_compare(proto: onnx.ModelProto, x: np.ndarray) -> QuantizedGraph:
    """Import, and compare with ONNX's reference in every bit."""
    graph = load_network(proto)
    assert isinstance(graph, QuantizedGraph)
    (expected,) = ReferenceEvaluator(proto).run(None, {"x": x})
    found = integer_output(graph, {"x": x})
    assert found.dtype == expected.dtype
    np.testing.assert_array_equal(found, expected)
    assert len(np.unique(found)) > 3
    return graph


class _Samples(CalibrationDataReader):
    def __init__(self, x: np.ndarray) -> None:
        self.left = [{"x": x[index : index + 1]} for index in range(len(x))]

    def get_next(self) -> dict[str, np.ndarray] | None:
        return self.left.pop() if self.left else None


def quantized_by_onnxruntime(
    network: torch.nn.Module, x: np.ndarray, directory: Path, form: QuantFormat, dtype: QuantType
) -> Path:
    """Export a network and quantise it statically, weights by channel."""
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = None
    network.train()(torch.from_numpy(x))
    network.eval()
    plain, path = directory / "float.onnx", directory / "quantized.onnx"
    torch.onnx.export(
        network, (torch.from_numpy(x[:1]),), plain, dynamo=False, input_names=["x"], opset_version=17
    )
    quantize_static(
        plain,
        path,
        _Samples(x),
        quant_format=form,
        per_channel=True,
        activation_type=dtype,
        weight_type=QuantType.QInt8,
    )
    return path


def run_onnxruntime(path: Path, x: np.ndarray) -> np.ndarray:
    """Outputs of ONNX Runtime, sample by sample, as the model says: without its optimisations."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(str(path), options)
    name = session.get_inputs()[0].name
    return np.concatenate([session.run(None, {name: x[i : i + 1]})[0] for i in range(len(x))])
