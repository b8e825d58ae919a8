"""How each operator of a canonical forward function becomes kernels, with the gradient rule of each."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from tvm import relax

from tvm_pulp.passes.lowerings.batch_norm import lower_batch_norm
from tvm_pulp.passes.lowerings.conv2d import lower_conv2d
from tvm_pulp.passes.lowerings.elementwise import lower_binary, lower_unary
from tvm_pulp.passes.lowerings.lowering import Lowering
from tvm_pulp.passes.lowerings.matmul import lower_matmul
from tvm_pulp.passes.lowerings.movement import lower_concat, lower_pad, lower_permute_dims, lower_reshape
from tvm_pulp.passes.lowerings.pooling import lower_adaptive_avg_pool2d, lower_mean, lower_pool2d
from tvm_pulp.passes.lowerings.softmax import lower_softmax

Lower = Callable[[Lowering, relax.Var, relax.Call], Any]

LOWERINGS: Mapping[str, Lower] = {
    "nn.conv2d": lower_conv2d,
    "nn.batch_norm": lower_batch_norm,
    "nn.relu": lower_unary,
    "clip": lower_unary,
    "sigmoid": lower_unary,
    "tanh": lower_unary,
    "add": lower_binary,
    "subtract": lower_binary,
    "multiply": lower_binary,
    "divide": lower_binary,
    "matmul": lower_matmul,
    "permute_dims": lower_permute_dims,
    "reshape": lower_reshape,
    "nn.max_pool2d": lower_pool2d,
    "nn.avg_pool2d": lower_pool2d,
    "nn.adaptive_avg_pool2d": lower_adaptive_avg_pool2d,
    "mean": lower_mean,
    "nn.pad": lower_pad,
    "concat": lower_concat,
    "nn.softmax": lower_softmax,
    "nn.log_softmax": lower_softmax,
}
"""Lowering of each operator by its name in Relax. It yields what stands for the operator's variable."""
