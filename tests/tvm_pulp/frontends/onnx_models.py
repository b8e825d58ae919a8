"""Hand-made ONNX models and what ONNX's reference implementation computes with them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from tvm_pulp.frontends import load_model
from tvm_pulp.oracle import Oracle
from tvm_pulp.passes.model import Model
from tvm_pulp.passes.train_config import TrainConfig


def onnx_model(
    nodes: Sequence[onnx.NodeProto],
    initializers: Mapping[str, np.ndarray],
    shape: Sequence[int | str] = (2, 4, 6, 6),
    opset: int = 17,
    output: str = "y",
) -> onnx.ModelProto:
    """A model of one input x."""
    graph = helper.make_graph(
        list(nodes),
        "net",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, list(shape))],
        [helper.make_tensor_value_info(output, TensorProto.FLOAT, None)],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in initializers.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


def infer(model: Model, x: np.ndarray) -> np.ndarray:
    """Output by the oracle; x is the only input."""
    return Oracle(model, TrainConfig(), ()).infer({model.inputs[0]: x})


def import_and_compare(proto: onnx.ModelProto, x: np.ndarray, tolerance: float = 1e-5) -> Model:
    """Import for the batch of x and compare with ONNX's reference."""
    model = load_model(proto, batch=len(x))
    (expected,) = ReferenceEvaluator(proto).run(None, {"x": x})
    result = infer(model, x)
    assert result.shape == expected.shape
    np.testing.assert_allclose(result, expected, rtol=tolerance, atol=tolerance * np.abs(expected).max())
    return model
