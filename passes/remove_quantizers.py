"""Take `quantize` and `dequantize` out of a network, which computes in float32 then."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
from tvm import relax

from tvm_pulp.passes.model import Model
from tvm_pulp.passes.rewrite import Emit, bindings, operands, operator_name, rewrite

_ORDERED = (
    "nn.max_pool2d nn.avg_pool2d nn.adaptive_avg_pool2d mean reshape flatten permute_dims concat "
    "quantize dequantize"
).split()
"""Operators whose results lie between the least and the largest of what they read."""


def remove_quantizers(model: Model) -> Model:
    """Let every `quantize` and `dequantize` yield what it reads, rectified where that is what bytes do to it.

    Converters leave out a ReLU where the integers behind it begin at 0 and so cut off what is below (ONNX
    Runtime's does), and a ReLU6 where they end at 6 as well: it is put back. A network's output is left as it
    is, whatever its integers: no ReLU stands before a loss.

    Parameters
    ----------
    model : Model
        Whose weights are parameters in float32 already, and whose inputs are float32.
    """
    rectifiers = _rectifiers(model.function)

    def transform(emit: Emit, name: str, value: relax.Expr) -> relax.Expr | None:
        if operator_name(value) not in ("quantize", "dequantize"):
            return None
        source = value.args[0]
        if name not in rectifiers:
            return source
        highest = rectifiers[name]
        if math.isinf(highest):
            return emit(relax.op.nn.relu(source), f"{source.name}.relu")
        return emit(relax.op.clip(source, 0.0, highest), f"{source.name}.relu6")

    return dataclasses.replace(model, module=rewrite(model.module, transform))


def _rectifiers(function: relax.Function) -> dict[str, float]:
    """Find the `quantize`s that rectify, and the highest value that each lets pass: 6 or infinite."""
    rectifiers: dict[str, float] = {}
    highest: dict[relax.Var, float] = {}  # of what is never below 0
    inner = _read_by_operators(function)
    for variable, value in bindings(function):
        operator = operator_name(value)
        read = operands(value)
        known = max(highest[operand] for operand in read) if read and highest.keys() >= set(read) else None
        if operator == "nn.relu":
            highest[variable] = math.inf if known is None else known
        elif operator == "clip" and float(value.args[1].value) >= 0:
            highest[variable] = float(value.args[2].value)
        elif operator == "quantize" and variable in inner:
            passed = _passed_by_integers(value)
            if passed is not None and (known is None or known > passed):
                rectifiers[variable.name] = known = passed
            if known is not None:
                highest[variable] = known
        elif operator in _ORDERED and known is not None:
            highest[variable] = known
        elif operator == "add" and known is not None:
            highest[variable] = math.inf
    return rectifiers


def _read_by_operators(function: relax.Function) -> set[relax.Var]:
    """Return the variables that something other than the quantisers of the output reads."""
    found: set[relax.Var] = set()
    for variable, value in reversed(list(bindings(function))):
        passes_on = operator_name(value) in ("quantize", "dequantize") or isinstance(value, relax.Var)
        if not passes_on or variable in found:
            found.update(operands(value))
    return found


def _passed_by_integers(value: relax.Call) -> float | None:
    """Give the highest value that a `quantize` lets pass whose integers begin at 0; None for others.

    That is 6 where the integers end there, to half a step, else infinite: another end is but the largest
    value that was seen in calibration, which training may exceed.
    """
    scale, zero_point = (argument.value.numpy() for argument in value.args[1:3])
    limits = np.iinfo(str(value.attrs.out_dtype))
    if scale.size != 1 or int(zero_point.reshape(-1)[0]) != limits.min:
        return None
    step = float(scale.reshape(-1)[0])
    return 6.0 if abs(step * (limits.max - limits.min) - 6.0) < step / 2 else math.inf
