"""Int8 TFLite models made by hand, and LiteRT's interpreter on them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from ai_edge_litert.interpreter import Interpreter, OpResolverType

from tests.tvm_pulp.frontends.tflite_models import Writer

SAME, VALID = 0, 1
NONE, RELU, N1_TO_1, RELU6 = 0, 1, 2, 3


class Network:
    """A model under construction; weights and scales are drawn at random, results cover their bytes."""

    def __init__(self, seed: int = 0) -> None:
        self.writer, self.random = Writer(), np.random.default_rng(seed)

    def activation(self, name: str, shape: Sequence[int], scale: float, zero_point: int) -> str:
        self.writer.tensor(name, shape, "int8")
        return self.writer.quantized(name, scale, zero_point)

    def operator(
        self,
        kind: str,
        inputs: Sequence[str],
        output: str,
        shape: Sequence[int],
        scale: float,
        zero_point: int,
        **options: int,
    ) -> str:
        self.writer.operator(kind, inputs, output, shape, "int8", **options)
        return self.writer.quantized(output, scale, zero_point)

    def weighted(
        self,
        kind: str,
        source: str,
        output: str,
        weight_shape: Sequence[int],
        shape: Sequence[int],
        scale: float = 0.05,
        zero_point: int = -10,
        *,
        per_channel: bool = True,
        bias: bool = True,
        **options: int,
    ) -> str:
        """A layer whose weights' scales are such that its results fill their range."""
        axis = 3 if kind == "DEPTHWISE_CONV_2D" else 0
        channels = weight_shape[axis]
        products = int(np.prod(weight_shape)) // channels
        weight = self.random.integers(-127, 128, weight_shape).astype(np.int8)
        self.writer.constant(f"{output}/weight", weight)
        source_scale = float(self.writer.quantizations[source][0][0])
        typical = scale * 60 / (source_scale * 70 * 70 * np.sqrt(products))
        scales = (typical * self.random.uniform(0.5, 2, channels if per_channel else 1)).astype(np.float32)
        self.writer.quantized(f"{output}/weight", scales, 0, axis)
        inputs = [source, f"{output}/weight"]
        if bias:
            value = self.random.integers(-5000, 5000, channels).astype(np.int32)
            inputs.append(self.writer.constant(f"{output}/bias", value))
            self.writer.quantized(f"{output}/bias", scales * np.float32(source_scale))
        return self.operator(kind, inputs, output, shape, scale, zero_point, **options)

    def convolution(
        self, source: str, output: str, weight_shape, shape, *, kind="CONV_2D", stride=1, **options
    ):
        channels = self.writer.tensors[source][0][3]
        if kind == "DEPTHWISE_CONV_2D":
            options["DepthMultiplier"] = weight_shape[3] // channels
        options = {
            "Padding": SAME, "StrideH": stride, "StrideW": stride, "DilationHFactor": 1, "DilationWFactor": 1,
            **options,
        }  # fmt: skip
        return self.weighted(kind, source, output, weight_shape, shape, **options)

    def write(self, inputs: Sequence[str], outputs: Sequence[str]) -> bytes:
        return self.writer.write(inputs, outputs)


def run_litert(data: bytes, *inputs: np.ndarray, reference: bool = False) -> np.ndarray:
    """Outputs of the interpreter's own kernels (not of a delegate), sample by sample."""
    kind = OpResolverType.BUILTIN_REF if reference else OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    interpreter = Interpreter(model_content=data, experimental_op_resolver_type=kind)
    interpreter.allocate_tensors()
    results = []
    for sample in zip(*inputs, strict=True):
        for detail, value in zip(interpreter.get_input_details(), sample, strict=True):
            interpreter.set_tensor(detail["index"], value[None])
        interpreter.invoke()
        results.append(interpreter.get_tensor(interpreter.get_output_details()[0]["index"]).copy())
    return np.concatenate(results)
