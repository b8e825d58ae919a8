"""Refuse parameters that cannot be trained rightly: shared ones, NaN, none at all."""

from __future__ import annotations

from collections import defaultdict

import numpy as np

from tvm_pulp.passes.model import Model
from tvm_pulp.passes.rewrite import bindings, operands
from tvm_pulp.target.errors import UserError


def check_parameters(model: Model) -> Model:
    """Return the model as it is if its parameters can be trained.

    Raises
    ------
    UserError
        Naming the parameter that holds NaN or infinity, that several layers share (exporters merge equal
        ones, and then training one would train the other), or if there is nothing to train.
    """
    for name, value in model.parameters.items():
        if not np.isfinite(value).all():
            what = "NaN" if np.isnan(value).any() else "infinity"
            raise UserError(
                f"{model.name}: parameter '{name}' holds {what}: repair the model before training it"
            )
    if not set(model.parameters) - model.buffers:
        raise UserError(f"{model.name}: the model has no trainable parameters")
    for name, readers in _readers(model).items():
        if len(readers) > 1:
            raise UserError(
                f"{model.name}: parameter '{name}' is shared by the layers {', '.join(readers)}, which "
                "cannot be "
                "trained: give each its own (exporters merge equal ones in eval mode: export in train mode "
                "then)"
            )
    return model


def refuse_shared(model_name: str, groups: list[list[str]]) -> None:
    """Raise UserError for parameters that are one tensor under several names."""
    for names in groups:
        if len(names) > 1:
            raise UserError(
                f"{model_name}: the parameters {', '.join(sorted(names))} are one shared tensor, which "
                "cannot be "
                "trained: give each layer its own"
            )


def _readers(model: Model) -> dict[str, list[str]]:
    """Layers that read each parameter, seen through what is computed from parameters alone.

    Constants (buffers that are no running statistics) may be read by many.
    """
    origins: dict[str, set[str]] = {name: {name} for name in model.parameters if name not in model.buffers}
    origins |= {name: {name} for name in model.buffers if name.rpartition(".")[2] != "constant"}
    readers: dict[str, list[str]] = defaultdict(list)
    from_inputs = set(model.inputs)
    for variable, value in bindings(model.function):
        read = operands(value)
        sources = set().union(*(origins.get(v.name, set()) for v in read)) if read else set()
        if any(v.name in from_inputs for v in read):
            from_inputs.add(variable.name)
            for name in sorted(sources):
                readers[name].append(variable.name)
        else:
            origins[variable.name] = sources
    return readers
