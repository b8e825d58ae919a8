"""What to train and how: the options of a training run."""

from __future__ import annotations

import math
import numbers
from dataclasses import dataclass

from tvm_pulp.passes.quantized.uint_q import check_bits
from tvm_pulp.target.errors import UserError

LOSSES = ("cross-entropy", "mse")
OPTIMIZERS = ("sgd",)
REPLAY_MEMORIES = ("L2", "L3")


@dataclass(frozen=True)
class TrainConfig:
    """Options of a training run; checked when made.

    Parameters
    ----------
    loss
        ``"cross-entropy"`` (mean over the batch, from logits or from a softmax at the end of the model;
        labels are int32 class numbers ``[batch]``) or ``"mse"`` (mean over all elements; labels are float32
        like the model's output).
    optimizer
        ``"sgd"``: the update of ``torch.optim.SGD`` with dampening 0, no Nesterov momentum.
    learning_rate
        Factor of the step, above 0; the initial value of the state ``"learning_rate"``.
    momentum
        In [0, 1); 0 keeps no momentum.
    weight_decay
        At least 0; added to the gradient as ``weight_decay * parameter``.
    batch_size
        Samples of a training step (mini-batch).
    micro_batch
        Samples of one forward and backward pass; must divide `batch_size`. None means `batch_size`; a smaller
        one accumulates gradients over the mini-batch and saves activation memory. Batch normalisation then
        sees a micro-batch at a time, as it would in PyTorch.
    trainable
        Patterns (``fnmatch``, e.g. ``"classifier.*"``) of parameter names to train.
    freeze_until
        Name of the last layer that stays frozen: it and all layers before it are not trained; None freezes
        none.
    latent_layer
        Name or number of the layer whose output the training starts from, see `split_at_latent`: it and all
        before it are frozen, and computed in integers. None: the training starts from the inputs.
    replays
        Samples that the replay store holds; None: there is no store. Each step then learns from `batch_size`
        new samples and `replay_batch` stored ones. Needs a `latent_layer`; at least the samples of a pass.
    replay_bits
        Bits of a stored value, 8 to 1, see `tvm_pulp.passes.quantized.uint_q`.
    replay_batch
        Replayed samples of a training step; None: as many as new ones. Micro-batches share them evenly.
    replay_memory
        Where the store is, ``"L2"`` or ``"L3"``: the external memory, out of which a step fetches its replays
        while the frozen stage computes. Labels are in L2.
    keep_gradients
        Return the gradients of the mini-batch too (after loss and output), for checks.

    Raises
    ------
    UserError
        Naming the option and the values that it takes.
    """

    loss: str = "cross-entropy"
    optimizer: str = "sgd"
    learning_rate: float = 0.01
    momentum: float = 0.0
    weight_decay: float = 0.0
    batch_size: int = 1
    micro_batch: int | None = None
    trainable: tuple[str, ...] = ("*",)
    freeze_until: str | None = None
    latent_layer: str | None = None
    replays: int | None = None
    replay_bits: int = 8
    replay_batch: int | None = None
    replay_memory: str = "L2"
    keep_gradients: bool = False

    def __post_init__(self) -> None:
        if self.loss not in LOSSES:
            raise UserError(f"unknown loss {self.loss!r}: choose one of {', '.join(LOSSES)}")
        if self.optimizer not in OPTIMIZERS:
            raise UserError(f"unknown optimizer {self.optimizer!r}: choose one of {', '.join(OPTIMIZERS)}")
        _check_number("learning_rate", self.learning_rate)
        if not self.learning_rate > 0:
            raise UserError(f"learning_rate is {self.learning_rate}: it must be above 0")
        _check_number("momentum", self.momentum)
        if not 0 <= self.momentum < 1:
            raise UserError(f"momentum is {self.momentum}: it must be at least 0 and below 1")
        _check_number("weight_decay", self.weight_decay)
        if not self.weight_decay >= 0:
            raise UserError(f"weight_decay is {self.weight_decay}: it must be at least 0")
        _check_count("batch_size", self.batch_size)
        if self.micro_batch is not None:
            _check_count("micro_batch", self.micro_batch)
            if self.batch_size % self.micro_batch:
                raise UserError(
                    f"micro_batch {self.micro_batch} does not divide batch_size {self.batch_size}: "
                    "choose a divisor of the batch size"
                )
        if isinstance(self.trainable, str) or not all(isinstance(p, str) for p in self.trainable):
            raise UserError(
                f"trainable is {self.trainable!r}: give a tuple of patterns, e.g. ('classifier.*',)"
            )
        if not self.trainable:
            raise UserError("trainable is empty: give at least one name pattern, e.g. '*' for all parameters")
        object.__setattr__(self, "trainable", tuple(self.trainable))
        self._check_replays()

    def _check_replays(self) -> None:
        if self.replay_memory not in REPLAY_MEMORIES:
            raise UserError(
                f"unknown replay_memory {self.replay_memory!r}: choose one of {', '.join(REPLAY_MEMORIES)}"
            )
        if self.replays is None:
            if self.replay_batch is not None:
                raise UserError(
                    f"replay_batch is {self.replay_batch}, but there is no replay store: give replays, too"
                )
            return
        _check_count("replays", self.replays)
        _check_count("replay_bits", self.replay_bits)
        check_bits(self.replay_bits)
        if self.latent_layer is None:
            raise UserError(
                f"replays is {self.replays}, but no latent_layer says whose output is stored: name the layer"
            )
        if self.replay_batch is None:
            object.__setattr__(self, "replay_batch", min(self.batch_size, self.replays))
        assert self.replay_batch is not None
        _check_count("replay_batch", self.replay_batch)
        if self.replay_batch > self.replays:
            raise UserError(
                f"replay_batch {self.replay_batch} is more than the {self.replays} replays that are stored: "
                "replay fewer samples a step, or store more"
            )
        if self.replay_batch % self.passes_per_step:
            raise UserError(
                f"replay_batch {self.replay_batch} is not shared evenly by {self.passes_per_step} "
                "micro-batches: choose a multiple of their number"
            )
        if self.replays < self.samples_per_pass:
            raise UserError(
                f"replays is {self.replays}: the store must hold the {self.samples_per_pass} new samples of "
                "a pass at least: store more, or use a smaller batch_size or micro_batch"
            )

    @property
    def samples_per_pass(self) -> int:
        """New samples of a forward and backward pass: `micro_batch`, or `batch_size` if it is None."""
        return self.batch_size if self.micro_batch is None else self.micro_batch

    @property
    def passes_per_step(self) -> int:
        """Forward and backward passes of one training step."""
        return self.batch_size // self.samples_per_pass

    @property
    def replays_per_pass(self) -> int:
        """Replayed samples of one forward and backward pass."""
        return 0 if self.replay_batch is None else self.replay_batch // self.passes_per_step

    @property
    def trained_per_pass(self) -> int:
        """Samples that one forward and backward pass learns from: new ones, then replayed ones."""
        return self.samples_per_pass + self.replays_per_pass

    @property
    def trained_per_step(self) -> int:
        """Samples of a training step, new and replayed, over which the loss is averaged."""
        return self.trained_per_pass * self.passes_per_step


def _check_number(name: str, value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, numbers.Real) or not math.isfinite(value):
        raise UserError(f"{name} is {value!r}: it must be a finite number")


def _check_count(name: str, value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, numbers.Integral) or value < 1:
        raise UserError(f"{name} is {value!r}: it must be a whole number of at least 1")
