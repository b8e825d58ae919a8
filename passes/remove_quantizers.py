"""Take `quantize` and `dequantize` out of a network, which computes in float32 then."""

from __future__ import annotations

import dataclasses

from tvm import relax

from tvm_pulp.passes.model import Model
from tvm_pulp.passes.rewrite import Emit, operator_name, rewrite


def remove_quantizers(model: Model) -> Model:
    """Let every `quantize` and `dequantize` yield what it reads.

    Parameters
    ----------
    model : Model
        Whose weights are parameters in float32 already, and whose inputs are float32.
    """

    def transform(emit: Emit, name: str, value: relax.Expr) -> relax.Expr | None:
        return value.args[0] if operator_name(value) in ("quantize", "dequantize") else None

    return dataclasses.replace(model, module=rewrite(model.module, transform))
