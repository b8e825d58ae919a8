"""What the layers of a network that came quantised compute in: bytes with a scale, or float32."""

from __future__ import annotations

import re
from collections.abc import Mapping

from tvm_pulp.passes.quantized.float_operators import FloatLayers, float_reasons
from tvm_pulp.passes.quantized.graph import QuantizedGraph, QuantizedTensor
from tvm_pulp.reports.table import table


def integer_layers_report(graph: QuantizedGraph) -> str:
    """A table of all operators with scale and zero point of what they yield, and the layers in float32."""
    rows = []
    for operator in graph.operators:
        output = operator.output
        result = ["float32", "", ""]
        if isinstance(output, QuantizedTensor):
            result = ["uint8", f"{output.scale:.6g}", f"{output.zero_point}"]
        if isinstance(operator, FloatLayers):
            kind = "computes in float32"
        else:
            kind = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", type(operator).__name__).lower()
        rows.append([operator.layer, kind, *result])
    text = table(["layer", "operator", "result", "scale", "zero point"], rows, left=3)
    lines = float_layers_report(float_reasons(graph))
    return text + (f"\n{lines}" if lines else "")


def float_layers_report(reasons: Mapping[str, str]) -> str:
    """A line for each layer that computes in float32, with the reason; empty where none does."""
    return "\n".join(f"layer {layer} computes in float32: {why}" for layer, why in reasons.items())
