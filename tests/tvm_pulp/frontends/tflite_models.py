"""Write small TFLite models, and compute any with NumPy straight from the file."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import flatbuffers
import numpy as np
import tflite

TYPES = {"float32": 0, "float16": 1, "int32": 2, "uint8": 3, "int8": 9}


@dataclass
class Writer:
    """A model under construction: tensors by name, operators in order."""

    tensors: dict[str, tuple[tuple[int, ...], str, np.ndarray | None]] = field(default_factory=dict)
    operators: list[tuple[str, list[str], list[str], dict[str, int]]] = field(default_factory=list)
    signatures: dict[str, tuple[int, ...]] = field(default_factory=dict)
    quantizations: dict[str, tuple[np.ndarray, np.ndarray, int]] = field(default_factory=dict)

    def tensor(self, name: str, shape: Sequence[int], dtype: str = "float32") -> str:
        self.tensors[name] = (tuple(shape), dtype, None)
        return name

    def constant(self, name: str, value: np.ndarray) -> str:
        self.tensors[name] = (value.shape, str(value.dtype), value)
        return name

    def quantized(self, name: str, scale: Any, zero_point: Any = 0, axis: int = 0) -> str:
        """Give a tensor its scales and zero points."""
        scales = np.atleast_1d(np.asarray(scale, np.float32))
        zero_points = np.broadcast_to(np.asarray(zero_point, np.int64), scales.shape)
        self.quantizations[name] = scales, np.ascontiguousarray(zero_points), axis
        return name

    def operator(
        self,
        kind: str,
        inputs: Sequence[str],
        output: str,
        shape: Sequence[int],
        dtype: str = "float32",
        **options: int,
    ) -> str:
        self.tensor(output, shape, dtype)
        self.operators.append((kind, list(inputs), [output], options))
        return output

    def write(self, inputs: Sequence[str], outputs: Sequence[str]) -> bytes:
        b = flatbuffers.Builder(1024)
        indices = {name: i for i, name in enumerate(self.tensors)}
        buffers = [_buffer(b, None)]
        tensors = []
        for name, (shape, dtype, value) in self.tensors.items():
            if value is not None:
                buffers.append(_buffer(b, value))
            number = len(buffers) - 1 if value is not None else 0
            quantization = _quantization(b, *self.quantizations[name]) if name in self.quantizations else None
            signature = self.signatures.get(name)
            tensors.append(_tensor(b, name, shape, dtype, number, signature, quantization))
        kinds = list(dict.fromkeys(operator[0] for operator in self.operators))
        operators = [
            _operator(
                b,
                kinds.index(kind),
                kind,
                [indices.get(i, -1) for i in reads],
                [indices[o] for o in writes],
                options,
            )
            for kind, reads, writes, options in self.operators
        ]
        graph = _subgraph(b, tensors, operators, [indices[i] for i in inputs], [indices[o] for o in outputs])
        codes = []
        for kind in kinds:
            tflite.OperatorCodeStart(b)
            number = getattr(tflite.BuiltinOperator, kind)
            tflite.OperatorCodeAddDeprecatedBuiltinCode(b, min(number, 127))
            tflite.OperatorCodeAddBuiltinCode(b, number)
            codes.append(tflite.OperatorCodeEnd(b))
        vectors = [_offsets(b, x) for x in ([graph], codes, buffers)]
        tflite.ModelStart(b)
        tflite.ModelAddVersion(b, 3)
        tflite.ModelAddSubgraphs(b, vectors[0])
        tflite.ModelAddOperatorCodes(b, vectors[1])
        tflite.ModelAddBuffers(b, vectors[2])
        b.Finish(tflite.ModelEnd(b), b"TFL3")
        return bytes(b.Output())


def _integers(b: flatbuffers.Builder, values: Sequence[int]) -> int:
    return b.CreateNumpyVector(np.asarray(values, np.int32))


def _offsets(b: flatbuffers.Builder, offsets: Sequence[int]) -> int:
    b.StartVector(4, len(offsets), 4)
    for offset in reversed(offsets):
        b.PrependUOffsetTRelative(offset)
    return b.EndVector()


def _buffer(b: flatbuffers.Builder, value: np.ndarray | None) -> int:
    data = None if value is None else b.CreateByteVector(value.tobytes())
    tflite.BufferStart(b)
    if data is not None:
        tflite.BufferAddData(b, data)
    return tflite.BufferEnd(b)


def _quantization(b: flatbuffers.Builder, scales: np.ndarray, zero_points: np.ndarray, axis: int) -> int:
    vectors = b.CreateNumpyVector(scales), b.CreateNumpyVector(zero_points)
    tflite.QuantizationParametersStart(b)
    tflite.QuantizationParametersAddScale(b, vectors[0])
    tflite.QuantizationParametersAddZeroPoint(b, vectors[1])
    tflite.QuantizationParametersAddQuantizedDimension(b, axis)
    return tflite.QuantizationParametersEnd(b)


def _tensor(
    b: flatbuffers.Builder,
    name: str,
    shape: Sequence[int],
    dtype: str,
    number: int,
    signature: Sequence[int] | None,
    quantization: int | None,
) -> int:
    text, extents = b.CreateString(name), _integers(b, shape)
    open_axes = None if signature is None else _integers(b, signature)
    tflite.TensorStart(b)
    tflite.TensorAddShape(b, extents)
    if open_axes is not None:
        tflite.TensorAddShapeSignature(b, open_axes)
    tflite.TensorAddType(b, TYPES[dtype])
    tflite.TensorAddBuffer(b, number)
    tflite.TensorAddName(b, text)
    if quantization is not None:
        tflite.TensorAddQuantization(b, quantization)
    return tflite.TensorEnd(b)


# Options table of each operator, where it has one.
OPTIONS = {
    "CONV_2D": "Conv2DOptions",
    "DEPTHWISE_CONV_2D": "DepthwiseConv2DOptions",
    "FULLY_CONNECTED": "FullyConnectedOptions",
    "AVERAGE_POOL_2D": "Pool2DOptions",
    "MAX_POOL_2D": "Pool2DOptions",
    "ADD": "AddOptions",
    "SUB": "SubOptions",
    "MUL": "MulOptions",
    "CONCATENATION": "ConcatenationOptions",
    "MEAN": "ReducerOptions",
    "SOFTMAX": "SoftmaxOptions",
    "RESHAPE": "ReshapeOptions",
    "PAD": "PadOptions",
    "GELU": "GeluOptions",
    "LEAKY_RELU": "LeakyReluOptions",
    "RESIZE_NEAREST_NEIGHBOR": "ResizeNearestNeighborOptions",
    "SPLIT": "SplitOptions",
    "STRIDED_SLICE": "StridedSliceOptions",
    "EXP": "ExpOptions",
}


def _operator(
    b: flatbuffers.Builder,
    code: int,
    kind: str,
    inputs: Sequence[int],
    outputs: Sequence[int],
    options: Mapping[str, int],
) -> int:
    table = OPTIONS.get(kind)
    if table is not None:
        getattr(tflite, f"{table}Start")(b)
        for name, value in options.items():
            getattr(tflite, f"{table}Add{name}")(b, value)
        written = getattr(tflite, f"{table}End")(b)
    reads, writes = _integers(b, inputs), _integers(b, outputs)
    tflite.OperatorStart(b)
    tflite.OperatorAddOpcodeIndex(b, code)
    tflite.OperatorAddInputs(b, reads)
    tflite.OperatorAddOutputs(b, writes)
    if table is not None:
        tflite.OperatorAddBuiltinOptionsType(b, getattr(tflite.BuiltinOptions, table))
        tflite.OperatorAddBuiltinOptions(b, written)
    return tflite.OperatorEnd(b)


def _subgraph(
    b: flatbuffers.Builder,
    tensors: Sequence[int],
    operators: Sequence[int],
    inputs: Sequence[int],
    outputs: Sequence[int],
) -> int:
    vectors = [_offsets(b, tensors), _offsets(b, operators), _integers(b, inputs), _integers(b, outputs)]
    tflite.SubGraphStart(b)
    tflite.SubGraphAddTensors(b, vectors[0])
    tflite.SubGraphAddOperators(b, vectors[1])
    tflite.SubGraphAddInputs(b, vectors[2])
    tflite.SubGraphAddOutputs(b, vectors[3])
    return tflite.SubGraphEnd(b)


def reference(data: bytes, *inputs: np.ndarray) -> np.ndarray:
    """Output of a model's first subgraph, in float64, straight from the flatbuffer."""
    model = tflite.Model.GetRootAsModel(data, 0)
    graph = model.Subgraphs(0)
    names = {v: k for k, v in vars(tflite.BuiltinOperator).items() if not k.startswith("_")}
    values: dict[int, np.ndarray] = {}
    for i in range(graph.TensorsLength()):
        tensor = graph.Tensors(i)
        raw = model.Buffers(tensor.Buffer()).DataAsNumpy()
        if isinstance(raw, np.ndarray) and raw.size:
            dtype = np.float32 if tensor.Type() == 0 else np.int32
            shape = tensor.ShapeAsNumpy() if tensor.ShapeLength() else ()
            values[i] = np.frombuffer(raw.tobytes(), dtype).reshape(shape)
    for index, value in zip(graph.InputsAsNumpy(), inputs, strict=True):
        values[int(index)] = value.astype(np.float64)
    for i in range(graph.OperatorsLength()):
        operator = graph.Operators(i)
        code = model.OperatorCodes(operator.OpcodeIndex())
        kind = names[max(code.DeprecatedBuiltinCode(), code.BuiltinCode())]
        options = None
        if operator.BuiltinOptions() is not None and kind in OPTIONS:
            options = getattr(tflite, OPTIONS[kind])()
            options.Init(operator.BuiltinOptions().Bytes, operator.BuiltinOptions().Pos)
        arguments = [values[int(j)] for j in operator.InputsAsNumpy() if j >= 0]
        result = COMPUTE[kind](options, *arguments)
        if hasattr(options, "FusedActivationFunction"):
            result = ACTIVATIONS[options.FusedActivationFunction()](result)
        values[int(operator.OutputsAsNumpy()[0])] = result
    return values[int(graph.OutputsAsNumpy()[0])]


ACTIVATIONS: dict[int, Callable[[np.ndarray], np.ndarray]] = {
    0: lambda x: x,
    1: lambda x: np.maximum(x, 0),
    3: lambda x: np.clip(x, 0, 6),
}


def _windows(x: np.ndarray, window: tuple[int, int], options: Any, dilation: tuple[int, int] = (1, 1)) -> Any:
    """Yield (row, column, patch, mask) of all windows; padding SAME is 0, VALID is 1."""
    strides = (options.StrideH(), options.StrideW())
    reach = [(window[i] - 1) * dilation[i] + 1 for i in (0, 1)]
    extents = x.shape[1:3]
    if options.Padding() == 0:
        outputs = [math.ceil(extents[i] / strides[i]) for i in (0, 1)]
        total = [max(0, (outputs[i] - 1) * strides[i] + reach[i] - extents[i]) for i in (0, 1)]
    else:
        outputs = [(extents[i] - reach[i]) // strides[i] + 1 for i in (0, 1)]
        total = [0, 0]
    pads = [(t // 2, t - t // 2) for t in total]
    padded = np.pad(x, ((0, 0), pads[0], pads[1], (0, 0)))
    inside = np.pad(np.ones(extents), pads)
    for row, column in itertools.product(range(outputs[0]), range(outputs[1])):
        rows = slice(row * strides[0], row * strides[0] + reach[0], dilation[0])
        columns = slice(column * strides[1], column * strides[1] + reach[1], dilation[1])
        yield (row, column), padded[:, rows, columns], inside[rows, columns]


def _collect(results: Sequence[tuple[tuple[int, int], np.ndarray]]) -> np.ndarray:
    (rows, columns) = (max(position[i] for position, _ in results) + 1 for i in (0, 1))
    output = np.zeros((results[0][1].shape[0], rows, columns, results[0][1].shape[1]))
    for (row, column), value in results:
        output[:, row, column] = value
    return output


def _conv(options: Any, x: np.ndarray, w: np.ndarray, *bias: np.ndarray) -> np.ndarray:
    dilation = (options.DilationHFactor(), options.DilationWFactor())
    patches = _windows(x, w.shape[1:3], options, dilation)
    result = _collect([(at, np.einsum("nhwi,ohwi->no", patch, w)) for at, patch, _ in patches])
    return result + (bias[0] if bias else 0)


def _depthwise(options: Any, x: np.ndarray, w: np.ndarray, *bias: np.ndarray) -> np.ndarray:
    multiplier = w.shape[3] // x.shape[3]
    dilation = (options.DilationHFactor(), options.DilationWFactor())
    patches = _windows(np.repeat(x, multiplier, axis=3), w.shape[1:3], options, dilation)
    result = _collect([(at, np.einsum("nhwc,hwc->nc", patch, w[0])) for at, patch, _ in patches])
    return result + (bias[0] if bias else 0)


def _average(options: Any, x: np.ndarray) -> np.ndarray:
    window = (options.FilterHeight(), options.FilterWidth())
    return _collect([(at, p.sum((1, 2)) / inside.sum()) for at, p, inside in _windows(x, window, options)])


def _max(options: Any, x: np.ndarray) -> np.ndarray:
    window = (options.FilterHeight(), options.FilterWidth())
    results = []
    for at, patch, inside in _windows(x, window, options):
        results.append((at, np.where(inside[None, :, :, None] > 0, patch, -np.inf).max((1, 2))))
    return _collect(results)


def _softmax(options: Any, x: np.ndarray) -> np.ndarray:
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


COMPUTE: dict[str, Callable[..., np.ndarray]] = {
    "CONV_2D": _conv,
    "DEPTHWISE_CONV_2D": _depthwise,
    "AVERAGE_POOL_2D": _average,
    "MAX_POOL_2D": _max,
    "FULLY_CONNECTED": lambda o, x, w, *b: x.reshape(-1, w.shape[1]) @ w.T + (b[0] if b else 0),
    "ADD": lambda o, x, y: x + y,
    "MUL": lambda o, x, y: x * y,
    "PAD": lambda o, x, widths: np.pad(x, [tuple(pair) for pair in widths]),
    "CONCATENATION": lambda o, *xs: np.concatenate(xs, o.Axis()),
    "MEAN": lambda o, x, axes: x.mean(tuple(axes), keepdims=bool(o.KeepDims())),
    "RESHAPE": lambda o, x, shape: x.reshape([len(x), *shape[1:]]),
    "RELU": lambda o, x: np.maximum(x, 0),
    "LOGISTIC": lambda o, x: 1 / (1 + np.exp(-x)),
    "SOFTMAX": _softmax,
}
