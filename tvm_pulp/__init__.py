"""A compiler that makes neural networks learn on PULP microcontroller clusters.

>>> import tvm_pulp
>>> package = tvm_pulp.compile(model, target="pulp", train=tvm_pulp.TrainConfig(batch_size=8))
>>> package.run(batches, steps=20).losses
>>> package.check(batches, steps=20).passed
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tvm_pulp.compiler import compile
    from tvm_pulp.package import Package, load
    from tvm_pulp.passes.train_config import TrainConfig
    from tvm_pulp.quantization import Quantization
    from tvm_pulp.target.errors import UserError

__version__ = "0.1.0"
__all__ = ["Package", "Quantization", "TrainConfig", "UserError", "compile", "load"]

# Imported when first used: TVM alone takes seconds, and `tvmc run` does not need it.
_LAZY = {
    "compile": ".compiler",
    "Package": ".package",
    "load": ".package",
    "TrainConfig": ".passes.train_config",
    "Quantization": ".quantization",
    "UserError": ".target.errors",
}


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module 'tvm_pulp' has no attribute {name!r}")
    return getattr(importlib.import_module(_LAZY[name], __name__), name)
