"""Networks of one operator or a few for the tests of int8 TFLite models, by name."""

from __future__ import annotations

import numpy as np

from tests.tvm_pulp.frontends.quantized_tflite_models import NONE, RELU, RELU6, SAME, VALID

IMAGE = (1, 8, 8, 4)
ROW = (1, 64)


def pooling(kind, padding, extent, **options):
    window = {"FilterHeight": 3, "FilterWidth": 3, "StrideH": 2, "StrideW": 2, "Padding": padding}
    return lambda net: net.operator(kind, ["x"], "y", (1, extent, extent, 4), 0.04, -5, **window, **options)


def depthwise(channels, **options):
    def build(net):
        shape = (1, 3, 3, channels)
        return net.convolution("x", "y", shape, (1, 8, 8, channels), kind="DEPTHWISE_CONV_2D", **options)

    return build


def padded(net):
    widths = net.writer.constant("widths", np.array([[0, 0], [1, 2], [0, 1], [0, 0]], np.int32))
    net.operator("PAD", ["x", widths], "padded", (1, 11, 9, 4), 0.04, -5)
    return net.convolution("padded", "y", (8, 3, 3, 4), (1, 5, 4, 8), stride=2, Padding=VALID)


def padded_pool(net):
    widths = net.writer.constant("widths", np.array([[0, 0], [1, 0], [0, 1], [0, 0]], np.int32))
    net.operator("PAD", ["x", widths], "padded", (1, 9, 9, 4), 0.04, -5)
    return net.operator(
        "MAX_POOL_2D", ["padded"], "y", (1, 4, 4, 4), 0.04, -5,
        FilterHeight=2, FilterWidth=2, StrideH=2, StrideW=2, Padding=VALID,
    )  # fmt: skip


def addition(kind, activation):
    def build(net):
        other = net.convolution("x", "other", (4, 1, 1, 4), IMAGE)
        return net.operator(kind, ["x", other], "y", IMAGE, 0.071, 3, FusedActivationFunction=activation)

    return build


def mean(scale, zero_point, keep):
    def build(net):
        axes = net.writer.constant("axes", np.array([1, 2], np.int32))
        shape = (1, 1, 1, 4) if keep else (1, 4)
        return net.operator("MEAN", ["x", axes], "y", shape, scale, zero_point, KeepDims=keep)

    return build


def joined(net):
    pool = pooling("MAX_POOL_2D", SAME, 4)(net)
    mean_ = net.operator(
        "AVERAGE_POOL_2D", ["x"], "z", (1, 4, 4, 4), 0.04, -5,
        FilterHeight=2, FilterWidth=2, StrideH=2, StrideW=2, Padding=VALID,
    )  # fmt: skip
    net.operator("CONCATENATION", [pool, mean_], "joined", (1, 4, 4, 8), 0.04, -5, Axis=3)
    shape = net.writer.constant("shape", np.array([1, 128], np.int32))
    net.operator("RESHAPE", ["joined", shape], "flat", (1, 128), 0.04, -5)
    return net.weighted("FULLY_CONNECTED", "flat", "linear", (7, 128), (1, 7))


def binary(kind, shapes, scale=0.071, activation=NONE):
    """x, and another tensor: computed where its shape is x's, or ends in a 1 x 1 image; else a constant."""

    def build(net):
        shape, result = shapes
        if shape == (1, 1, 1, 4):
            other = mean(0.03, 4, True)(net)
            net.writer.tensors["other"] = net.writer.tensors.pop(other)
            net.writer.quantizations["other"] = net.writer.quantizations.pop(other)
            kind_, reads, _, options = net.writer.operators.pop()
            net.writer.operators.append((kind_, reads, ["other"], options))
        elif shape == IMAGE:
            net.convolution("x", "other", (4, 1, 1, 4), IMAGE)
        else:
            net.writer.constant("other", net.random.integers(-128, 128, shape).astype(np.int8))
            net.writer.quantized("other", 0.03, 4)
        return net.operator(kind, ["x", "other"], "y", result, scale, 3, FusedActivationFunction=activation)

    return build


def constants(net, **values):
    return [net.writer.constant(name, np.array(value, np.int32)) for name, value in values.items()]


def strided(shape, begin, end, strides, **masks):
    def build(net):
        bounds = constants(net, begin=begin, end=end, strides=strides)
        return net.operator("STRIDED_SLICE", ["x", *bounds], "y", shape, 0.04, -5, **masks)

    return build


def split(net):
    pieces = ["a", "b"]
    for name in pieces:
        net.activation(name, (1, 8, 4, 4), 0.04, -5)
    net.writer.operators.append(("SPLIT", [*constants(net, axis=2), "x"], pieces, {"NumSplits": 2}))
    return net.operator("ADD", pieces, "y", (1, 8, 4, 4), 0.07, 2, FusedActivationFunction=NONE)


def transposed(axes):
    def build(net):
        shape = tuple(IMAGE[axis] for axis in axes)
        return net.operator("TRANSPOSE", ["x", *constants(net, axes=axes)], "y", shape, 0.04, -5)

    return build


def resized(height, width, **options):
    def build(net):
        size = constants(net, size=[height, width])
        shape = (1, height, width, 4)
        return net.operator("RESIZE_NEAREST_NEIGHBOR", ["x", *size], "y", shape, 0.04, -5, **options)

    return build


def slopes(net):
    net.writer.constant("slopes", net.random.integers(-128, 128, (1, 1, 4)).astype(np.int8))
    net.writer.quantized("slopes", 0.008, -7)
    return net.operator("PRELU", ["x", "slopes"], "y", IMAGE, 0.035, 3)


def averaged(axes, shape, scale=0.02):
    def build(net):
        axis = net.writer.constant("axes", np.array(axes, np.int32))
        return net.operator("MEAN", ["x", axis], "y", shape, scale, 7, KeepDims=len(shape) == 4)

    return build


IMAGES = {
    "convolution": lambda net: net.convolution(
        "x", "y", (8, 3, 3, 4), (1, 8, 8, 8), FusedActivationFunction=RELU
    ),
    "stride 2, ReLU6, one scale": lambda net: net.convolution(
        "x", "y", (8, 3, 3, 4), (1, 4, 4, 8), stride=2, FusedActivationFunction=RELU6, per_channel=False
    ),
    "dilated": lambda net: net.convolution(
        "x", "y", (8, 3, 3, 4), (1, 4, 4, 8), Padding=VALID, DilationHFactor=2, DilationWFactor=2
    ),
    "grouped": lambda net: net.convolution("x", "y", (8, 3, 3, 2), (1, 8, 8, 8)),
    "depthwise": depthwise(4),
    "depthwise, 2 results a channel": depthwise(8, FusedActivationFunction=RELU6),
    "flattened": lambda net: net.weighted("FULLY_CONNECTED", "x", "y", (10, 256), (1, 10)),
    "sum": addition("ADD", NONE),
    "sum with ReLU": addition("ADD", RELU),
    "difference": addition("SUB", NONE),
    "averages": pooling("AVERAGE_POOL_2D", VALID, 3),
    "averages at borders": pooling("AVERAGE_POOL_2D", SAME, 4, FusedActivationFunction=RELU),
    "maxima": pooling("MAX_POOL_2D", SAME, 4, FusedActivationFunction=RELU6),
    "mean": mean(0.02, 7, 0),
    "mean, kept axes": mean(0.04, -5, 1),
    "padding before a convolution": padded,
    "padding before a pooling": padded_pool,
    "concatenation": joined,
    "sum with a constant a channel": binary("ADD", ((4,), IMAGE)),
    "sum with a constant": binary("ADD", ((1,), IMAGE), activation=RELU),
    "sum with one value a channel": binary("ADD", ((1, 1, 1, 4), IMAGE)),
    "difference with a constant image": binary("SUB", ((8, 8, 1), IMAGE)),
    "product": binary("MUL", (IMAGE, IMAGE), 0.09),
    "product, finer scale": binary("MUL", (IMAGE, IMAGE), 0.0007, RELU6),
    "product with one value a channel": binary("MUL", ((1, 1, 1, 4), IMAGE), 0.05),
    "product with a constant a channel": binary("MUL", ((1, 1, 4), IMAGE), 0.1),
    "transpose": transposed([0, 2, 1, 3]),
    "channels first": transposed([0, 3, 1, 2]),
    "slice": lambda net: net.operator(
        "SLICE", ["x", *constants(net, begin=[0, 2, 0, 1], size=[1, 5, -1, 2])], "y", (1, 5, 8, 2), 0.04, -5
    ),
    "strided slice": strided((1, 3, 4, 4), [0, 1, 0, 0], [1, 7, 8, 4], [1, 2, 2, 1]),
    "strided slice with masks": strided(
        (1, 8, 3), [0, 5, 5, 1], [9, 0, 0, 9], [1, 1, 1, 1], BeginMask=4, EndMask=13, ShrinkAxisMask=2
    ),
    "split": split,
    "nearest, doubled": resized(16, 16),
    "nearest, odd size": resized(5, 13),
    "nearest, half pixels": resized(12, 20, HalfPixelCenters=1),
    "nearest, aligned corners": resized(15, 11, AlignCorners=1),
    "slopes a channel": slopes,
    "mean of columns": averaged([2], (1, 8, 1, 4)),
    "mean of rows": averaged([1], (1, 8, 4)),
    "mean of channels": averaged([-1], (1, 8, 8)),
    "mean of rows of channels": averaged([2, 3], (1, 8)),
}
ROWS = {
    "linear": lambda net: net.weighted("FULLY_CONNECTED", "x", "y", (10, 64), (1, 10)),
    "linear without a bias": lambda net: net.weighted(
        "FULLY_CONNECTED", "x", "y", (10, 64), (1, 10), bias=False
    ),
    "linear, one scale": lambda net: net.weighted(
        "FULLY_CONNECTED", "x", "y", (10, 64), (1, 10), per_channel=False, FusedActivationFunction=RELU
    ),
    "softmax": lambda net: net.operator("SOFTMAX", ["x"], "y", ROW, 1 / 256, -128, Beta=1.0),
    "sigmoid": lambda net: net.operator("LOGISTIC", ["x"], "y", ROW, 1 / 256, -128),
    "tanh": lambda net: net.operator("TANH", ["x"], "y", ROW, 1 / 128, 0),
    "leaky relu": lambda net: net.operator("LEAKY_RELU", ["x"], "y", ROW, 0.03, 12, Alpha=0.3),
    "leaky relu, finer scale": lambda net: net.operator("LEAKY_RELU", ["x"], "y", ROW, 0.01, 12, Alpha=-1.7),
    "hard swish": lambda net: net.operator("HARD_SWISH", ["x"], "y", ROW, 0.03, -100),
    "hard swish, finer scale": lambda net: net.operator("HARD_SWISH", ["x"], "y", ROW, 0.008, -90),
    "product with itself": lambda net: net.operator(
        "MUL", ["x", "x"], "y", ROW, 0.1, -128, FusedActivationFunction=NONE
    ),
    "relu": lambda net: net.operator("RELU", ["x"], "y", ROW, 0.027, -128),
    "relu6": lambda net: net.operator("RELU6", ["x"], "y", ROW, 0.027, -128),
    "change of scale": lambda net: net.operator("QUANTIZE", ["x"], "y", ROW, 0.027, -100),
}
