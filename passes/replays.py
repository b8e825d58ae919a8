"""Put replays into a training step: stored latents join those of the new samples, labels, too.

The store is a tensor ``replay_latents``, uint8 ``[capacity, bytes of a sample]``, with the labels of its
samples, ``replay_labels``. A step reads the slots that ``replay_indices`` name. Of a store in L3 the
functions see a few rows only, ``replay_rows``: what the program fetches before it unpacks them, or has stored
after it packed them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from tvm import relax

from tvm_pulp.passes.frozen_stage import FrozenStage
from tvm_pulp.passes.kernel_call import emit_kernel
from tvm_pulp.passes.loss import LABELS, labels_type
from tvm_pulp.passes.model import Model
from tvm_pulp.passes.operators.gather_labels import gather_labels
from tvm_pulp.passes.operators.latents import gather_latents, unpack_latents
from tvm_pulp.passes.operators.movement import concat
from tvm_pulp.passes.quantized.replay_format import ReplayFormat
from tvm_pulp.passes.rewrite import static_shape
from tvm_pulp.passes.train_config import TrainConfig
from tvm_pulp.target.errors import UserError
from tvm_pulp.target.functions import (
    REPLAY_INDICES,
    REPLAY_LABELS,
    REPLAY_LATENTS,
    REPLAY_ROWS,
    REPLAY_SLOTS,
)

LAYER = "replay"
"""Of the kernels."""


@dataclass(frozen=True)
class Replays:
    """The replay store, and what a pass takes out of it and puts into it.

    Attributes
    ----------
    form : ReplayFormat
        How a sample's latents are kept.
    capacity : int
        Samples in the store.
    replayed, new : int
        Samples of a pass: out of the store, and new ones.
    label_shape, label_dtype
        Of one sample's label.
    in_l3 : bool
        Whether the latents are in L3, out of the functions' sight.
    """

    form: ReplayFormat
    capacity: int
    replayed: int
    new: int
    label_shape: tuple[int, ...]
    label_dtype: str
    in_l3: bool = False

    def latents_variable(self) -> relax.Var:
        """Make a variable for the store's latents; for the rows that a pass replays, where it is in L3."""
        rows, name = (self.replayed, REPLAY_ROWS) if self.in_l3 else (self.capacity, REPLAY_LATENTS)
        return relax.Var(name, relax.TensorType((rows, self.form.bytes), "uint8"))

    def stored_labels_variable(self) -> relax.Var:
        """Make a variable for the store's labels."""
        return relax.Var(REPLAY_LABELS, self._labels_type(self.capacity))

    def indices_variable(self) -> relax.Var:
        """Make a variable for the slots that a pass replays."""
        return relax.Var(REPLAY_INDICES, relax.TensorType((self.replayed,), "int32"))

    def step_variables(self) -> list[relax.Var]:
        """Make the variables of a step: indices, latents, labels."""
        return [self.indices_variable(), self.latents_variable(), self.stored_labels_variable()]

    def slots_variable(self) -> relax.Var:
        """Make a variable for the slots that new samples go to."""
        return relax.Var(REPLAY_SLOTS, relax.TensorType((self.new,), "int32"))

    def labels_variable(self) -> relax.Var:
        """Make a variable for the labels of new samples."""
        return relax.Var(LABELS, self._labels_type(self.new))

    def initial_values(self) -> dict[str, np.ndarray]:
        """Give the labels of a store that holds nothing yet: -1, or NaN where they are numbers."""
        nothing = -1 if self.label_dtype == "int32" else np.nan
        return {REPLAY_LABELS: np.full((self.capacity, *self.label_shape), nothing, self.label_dtype)}

    def _labels_type(self, samples: int) -> relax.TensorType:
        return relax.TensorType((samples, *self.label_shape), self.label_dtype)


def plan_replays(model: Model, config: TrainConfig, frozen: FrozenStage | None) -> Replays | None:
    """Return the replays of a training graph; None where its options have none.

    Parameters
    ----------
    model : Model
        What is trained.
    config : TrainConfig
        Capacity, bits and numbers of samples.
    frozen : FrozenStage or None
        What yields the latents.

    Raises
    ------
    UserError
        If the stage's latents cannot be stored, or an argument of the network has the name of one of ours.
    """
    if config.replays is None or frozen is None:
        return None
    for name in (REPLAY_LATENTS, REPLAY_LABELS, REPLAY_INDICES, REPLAY_SLOTS, REPLAY_ROWS):
        if name in {*frozen.inputs, *frozen.parameters, *model.parameters}:
            raise UserError(
                f"{model.name}: an argument is named '{name}' like one of the replay store: rename it"
            )
    labels = labels_type(model, config, 1)
    _, *label_shape = (int(extent) for extent in labels.shape.values)
    return Replays(
        frozen.replay_format(config.replay_bits),
        config.replays,
        config.replays_per_pass,
        config.samples_per_pass,
        tuple(label_shape),
        str(labels.dtype),
        config.replay_memory == "L3",
    )


def emit_replays(
    builder: relax.BlockBuilder,
    new: tuple[relax.Var, relax.Var],
    store: Sequence[relax.Var],
    indices: relax.Var,
    replays: Replays,
) -> tuple[relax.Var, relax.Var]:
    """Emit the kernels that fetch stored latents and labels and put them behind those of new samples.

    Parameters
    ----------
    builder : relax.BlockBuilder
        Inside a dataflow block.
    new : pair of Var
        Latents, float32, and labels of the new samples.
    store : pair of Var
        Latents, of the store or rows of it, and the store's labels.
    indices : Var
        The slots to replay, int32 ``[replays]``, each below the capacity.
    replays : Replays
        What is replayed.

    Returns
    -------
    latents, labels : Var
        Of all samples, the new ones first.
    """
    latents, labels = new
    form, capacity, count = replays.form, replays.capacity, replays.replayed
    shape = (count, *form.shape)
    if replays.in_l3:
        unpack = unpack_latents(LAYER, "unpack_latents", shape, form.latents)
        gathered = emit_kernel(builder, unpack, [store[0]])
    else:
        gather = gather_latents(LAYER, "gather_latents", shape, capacity, form.latents)
        gathered = emit_kernel(builder, gather, [store[0], indices])
    join = concat(LAYER, "join_latents", [static_shape(latents), shape], 0)
    joined = emit_kernel(builder, join, [latents, gathered])
    dtype = str(labels.ty.dtype)
    gather = gather_labels(LAYER, "gather_labels", static_shape(labels), capacity, count, dtype)
    return joined, emit_kernel(builder, gather, [labels, store[1], indices])
