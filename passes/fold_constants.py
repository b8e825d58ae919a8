"""Compute what depends on constants alone."""

from __future__ import annotations

import dataclasses

from tvm import relax

from tvm_pulp.passes.model import Model


def fold_constants(model: Model) -> Model:
    """Evaluate operators whose arguments are all constants (exporters compute shapes and bounds so).

    Parameters are arguments of the function, so what is computed from them stays in the graph.
    """
    return dataclasses.replace(model, module=relax.transform.FoldConstant()(model.module))
