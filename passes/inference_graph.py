"""From an imported model to its inference graph alone, all in kernels."""

from __future__ import annotations

from tvm import relax

from tvm_pulp.passes.finish_graph import name_kernels
from tvm_pulp.passes.frozen_stage import FrozenStage
from tvm_pulp.passes.fuse_elementwise import fuse_elementwise
from tvm_pulp.passes.model import Model, with_batch
from tvm_pulp.passes.training_graph import TrainingGraph, add_inference


def build_inference(model: Model, frozen: FrozenStage | None = None) -> TrainingGraph:
    """Build the graph of a package that does not train.

    Parameters
    ----------
    model : Model
        In canonical form, any batch size.
    frozen : FrozenStage or None
        What computes the model's only input; None: the model's inputs are the network's.

    Returns
    -------
    TrainingGraph
        With the function ``infer`` only (batch 1), nothing trainable, no states, no configuration.
    """
    single = with_batch(model, 1)
    builder = relax.BlockBuilder()
    add_inference(builder, single, frozen)
    module = name_kernels(fuse_elementwise(builder.get()))
    return TrainingGraph(module, single, None, (), {}, frozen)
