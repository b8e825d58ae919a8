"""Import of models: PyTorch, ONNX and TFLite."""

from tvm_pulp.frontends.load import Imported, load_model, load_network, load_source

__all__ = ["Imported", "load_model", "load_network", "load_source"]
