"""Canonical pooling: explicit padding without ceil mode, global average pooling as a mean."""

from __future__ import annotations

import dataclasses

from tvm import relax

from tvm_pulp.passes.model import Model
from tvm_pulp.passes.rewrite import Emit, operator_name, rewrite, static_shape
from tvm_pulp.target.errors import UserError


def canonical_pool(model: Model) -> Model:
    """Bring pooling and means to one form.

    - An average over the whole map, however it is written, is ``mean(axis=[2, 3], keepdims=True)``.
    - `mean` has sorted non-negative axes and keeps them; a `reshape` drops them where the model does.
    - Adaptive pooling whose windows are all alike is `nn.avg_pool2d`.
    - Pools have four paddings (top, left, bottom, right) and no ceil mode, for which windows that reach over
      the edge get padding at the bottom and right; without padding `count_include_pad` is False.

    Raises
    ------
    UserError
        For an average that counts padding and rounds up, which no padding can express.
    """

    def transform(emit: Emit, name: str, value: relax.Expr) -> relax.Expr | None:
        operator = operator_name(value)
        if operator == "mean":
            return _mean(emit, name, value)
        if operator == "nn.adaptive_avg_pool2d":
            return _adaptive(value)
        if operator in ("nn.avg_pool2d", "nn.max_pool2d"):
            return _pool(value, operator, name, model.name)
        return None

    return dataclasses.replace(model, module=rewrite(model.module, transform))


def _mean(emit: Emit, name: str, value: relax.Expr) -> relax.Expr:
    source = value.args[0]
    shape = static_shape(source)
    axes = value.attrs.axis
    positive = sorted(range(len(shape)) if axes is None else {int(axis) % len(shape) for axis in axes})
    kept = relax.op.mean(source, positive, keepdims=True)
    if value.attrs.keepdims:
        return kept
    left = [extent for axis, extent in enumerate(shape) if axis not in positive]
    return relax.op.reshape(emit(kept, f"{name}.mean"), left)


def _adaptive(value: relax.Expr) -> relax.Expr | None:
    source = value.args[0]
    height, width = static_shape(source)[2:]
    size = value.attrs.output_size
    out_height, out_width = (height, width) if size is None else (int(extent) for extent in size)
    if (out_height, out_width) == (1, 1):
        return relax.op.mean(source, [2, 3], keepdims=True)
    if height % out_height or width % out_width:
        return relax.op.nn.adaptive_avg_pool2d(source, (out_height, out_width))
    window = (height // out_height, width // out_width)
    return relax.op.nn.avg_pool2d(source, window, strides=window)


def _pool(value: relax.Expr, operator: str, name: str, model_name: str) -> relax.Expr:
    source, attributes = value.args[0], value.attrs
    extents = static_shape(source)[2:]
    window = [int(extent) for extent in attributes.pool_size]
    strides = [int(stride) for stride in attributes.strides]
    dilation = [int(step) for step in attributes.dilation]
    padding = [int(width) for width in attributes.padding]
    is_average = operator == "nn.avg_pool2d"
    counts_padding = is_average and bool(attributes.count_include_pad) and any(padding)
    if attributes.ceil_mode:
        extra = [
            _extra_padding(extents[i], window[i], strides[i], dilation[i], padding[i], padding[i + 2])
            for i in (0, 1)
        ]
        if counts_padding and any(extra):
            raise UserError(
                f"{model_name}: '{name}' (avg_pool2d) counts padding and has ceil_mode, which is not "
                "supported: "
                "set count_include_pad=False or ceil_mode=False"
            )
        padding = [padding[0], padding[1], padding[2] + extra[0], padding[3] + extra[1]]
    if is_average and window == list(extents) and not any(padding):
        return relax.op.mean(source, [2, 3], keepdims=True)
    pool = relax.op.nn.avg_pool2d if is_average else relax.op.nn.max_pool2d
    return pool(
        source,
        window,
        strides=strides,
        padding=padding,
        dilation=dilation,
        ceil_mode=False,
        count_include_pad=counts_padding,
    )


def _extra_padding(extent: int, window: int, stride: int, dilation: int, before: int, after: int) -> int:
    """Padding at the end that gives ceil mode's windows; one that starts in padding is dropped (PyTorch)."""
    room = extent + before + after - dilation * (window - 1) - 1
    count = -(-room // stride) + 1
    if (count - 1) * stride >= extent + before:
        count -= 1
    return max(0, (count - 1) * stride - room)
