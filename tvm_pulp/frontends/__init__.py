"""Import of models: PyTorch, ONNX and TFLite."""

from tvm_pulp.frontends.load import load_model, load_network

__all__ = ["load_model", "load_network"]
