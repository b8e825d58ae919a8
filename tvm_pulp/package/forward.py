"""The forward graph inside a package, from which the oracle rebuilds the network."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import tvm

from tvm_pulp.passes.model import Model


def model_to_json(model: Model) -> dict[str, Any]:
    """A model less its parameters' values, for the oracle of a package."""
    return {
        "name": model.name,
        "module": tvm.ir.save_json(model.module),
        "inputs": list(model.inputs),
        "parameters": list(model.parameters),
        "buffers": sorted(model.buffers),
    }


def model_from_json(content: Mapping[str, Any], values: Mapping[str, np.ndarray]) -> Model:
    """The model that `model_to_json` wrote, with parameter values by name."""
    return Model(
        name=content["name"],
        module=tvm.ir.load_json(content["module"]),
        inputs=tuple(content["inputs"]),
        parameters={name: values[name] for name in content["parameters"]},
        buffers=frozenset(content["buffers"]),
    )
