"""Write ONNX's quantised operators out as float operators between dequantisations and a quantisation.

That is what their specifications say that they compute. Those of the domain com.microsoft are ONNX Runtime's.
"""

from __future__ import annotations

import onnx

QOPERATORS: dict[str, object] = {}


def write_out_qoperators(model: onnx.ModelProto, name: str) -> None:
    """Replace all quantised operators of a model."""
