"""What each operator of the canonical forward function is in PyTorch."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch.nn import functional
from tvm import relax

from tvm_pulp.passes.rewrite import operator_name

Evaluate = Callable[[relax.Call, Sequence[Any]], torch.Tensor]


def evaluate(value: relax.Call, arguments: Sequence[Any]) -> torch.Tensor:
    """Compute an operator in PyTorch.

    Parameters
    ----------
    value : relax.Call
        A call of an operator that `passes.check_operators` admits, other than `nn.batch_norm`.
    arguments : sequence
        A tensor, or a list of tensors for a tuple, for each argument of the call; what is no tensor (shapes,
        bounds) is read from the call.

    Returns
    -------
    torch.Tensor
        Connected to autograd.

    Raises
    ------
    KeyError
        For an operator that is not known.
    """
    return _OPERATORS[operator_name(value)](value, arguments)


def _integers(values: Any) -> list[int]:
    return [int(value) for value in values]


def _around(padding: list[int]) -> tuple[int, int, int, int]:
    """Padding (top, left, bottom, right) in the order of `functional.pad`: left, right, top, bottom."""
    top, left, bottom, right = padding
    return left, right, top, bottom


def _is_symmetric(padding: list[int], window: list[int]) -> bool:
    """Tell whether PyTorch's pools take this padding: the same on both sides, half a window at most."""
    return padding[:2] == padding[2:] and all(2 * p <= w for p, w in zip(padding[:2], window, strict=True))


def _conv2d(value: relax.Call, arguments: Sequence[Any]) -> torch.Tensor:
    data, weight = arguments
    padding = _integers(value.attrs.padding)
    if padding[:2] != padding[2:]:
        data, padding = functional.pad(data, _around(padding)), [0, 0, 0, 0]
    return functional.conv2d(
        data,
        weight,
        stride=_integers(value.attrs.strides),
        padding=padding[:2],
        dilation=_integers(value.attrs.dilation),
        groups=int(value.attrs.groups),
    )


def _max_pool2d(value: relax.Call, arguments: Sequence[Any]) -> torch.Tensor:
    data = arguments[0]
    window, padding = _integers(value.attrs.pool_size), _integers(value.attrs.padding)
    if not _is_symmetric(padding, window):
        data, padding = functional.pad(data, _around(padding), value=-math.inf), [0, 0, 0, 0]
    return functional.max_pool2d(
        data, window, _integers(value.attrs.strides), padding[:2], _integers(value.attrs.dilation)
    )


def _avg_pool2d(value: relax.Call, arguments: Sequence[Any]) -> torch.Tensor:
    data = arguments[0]
    window, padding = _integers(value.attrs.pool_size), _integers(value.attrs.padding)
    strides = _integers(value.attrs.strides)
    counts_padding = bool(value.attrs.count_include_pad)
    if _is_symmetric(padding, window):
        return functional.avg_pool2d(data, window, strides, padding[:2], count_include_pad=counts_padding)
    averages = functional.avg_pool2d(functional.pad(data, _around(padding)), window, strides)
    if counts_padding:
        return averages
    inside = functional.pad(torch.ones_like(data[:1, :1]), _around(padding))
    return averages / functional.avg_pool2d(inside, window, strides)


def _pad(value: relax.Call, arguments: Sequence[Any]) -> torch.Tensor:
    widths = _integers(value.attrs.pad_width)
    last_axis_first = [w for axis in range(len(widths) - 2, -2, -2) for w in widths[axis : axis + 2]]
    return functional.pad(arguments[0], last_axis_first, value=float(value.attrs.pad_value))


def _clip(value: relax.Call, arguments: Sequence[Any]) -> torch.Tensor:
    """Bound as ReLU6 does: the gradient is 0 at the bounds too, where `torch.clamp` has 1."""
    return functional.hardtanh(arguments[0], float(value.args[1].value), float(value.args[2].value))


_OPERATORS: dict[str, Evaluate] = {
    "nn.conv2d": _conv2d,
    "nn.relu": lambda value, arguments: torch.relu(arguments[0]),
    "clip": _clip,
    "sigmoid": lambda value, arguments: torch.sigmoid(arguments[0]),
    "tanh": lambda value, arguments: torch.tanh(arguments[0]),
    "add": lambda value, arguments: arguments[0] + arguments[1],
    "subtract": lambda value, arguments: arguments[0] - arguments[1],
    "multiply": lambda value, arguments: arguments[0] * arguments[1],
    "divide": lambda value, arguments: arguments[0] / arguments[1],
    "matmul": lambda value, arguments: torch.matmul(arguments[0], arguments[1]),
    "permute_dims": lambda value, arguments: arguments[0].permute(
        _integers(value.attrs.axes) if value.attrs.axes is not None else list(range(arguments[0].ndim))[::-1]
    ),
    "reshape": lambda value, arguments: arguments[0].reshape(_integers(value.args[1].values)),
    "nn.max_pool2d": _max_pool2d,
    "nn.avg_pool2d": _avg_pool2d,
    "nn.adaptive_avg_pool2d": lambda value, arguments: functional.adaptive_avg_pool2d(
        arguments[0], _integers(value.attrs.output_size)
    ),
    "mean": lambda value, arguments: arguments[0].mean(
        _integers(value.attrs.axis), keepdim=bool(value.attrs.keepdims)
    ),
    "nn.pad": _pad,
    "concat": lambda value, arguments: torch.cat(arguments[0], int(value.attrs.axis)),
    "nn.softmax": lambda value, arguments: torch.softmax(arguments[0], int(value.attrs.axis)),
    "nn.log_softmax": lambda value, arguments: torch.log_softmax(arguments[0], int(value.attrs.axis)),
}
