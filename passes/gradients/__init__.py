"""Gradient rules, one operator a file; importing the package registers all of them."""

from tvm_pulp.passes.gradients import (
    adaptive_avg_pool2d,
    add,
    avg_pool2d,
    batch_norm,
    clip,
    concat,
    conv2d,
    cross_entropy,
    divide,
    matmul,
    max_pool2d,
    mean,
    mse,
    multiply,
    pad,
    permute_dims,
    relu,
    sigmoid,
    softmax,
    tanh,
)

__all__ = [
    "adaptive_avg_pool2d", "add", "avg_pool2d", "batch_norm", "clip", "concat", "conv2d", "cross_entropy",
    "divide", "matmul", "max_pool2d", "mean", "mse", "multiply", "pad", "permute_dims", "relu", "sigmoid",
    "softmax", "tanh",
]  # fmt: skip
