"""What a training graph wants of the layers before the latents."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np
from tvm import relax

from tvm_pulp.passes.quantized.replay_format import ReplayFormat


class FrozenStage(Protocol):
    """The layers before the latents, which do not learn; `IntegerStage` is one."""

    @property
    def inputs(self) -> tuple[str, ...]:
        """Names of the network's inputs."""
        ...

    @property
    def parameters(self) -> Mapping[str, np.ndarray]:
        """What its kernels read, by name."""
        ...

    def input_variables(self, batch: int) -> list[relax.Var]:
        """Make variables for the inputs of a batch."""
        ...

    def parameter_variables(self) -> dict[str, relax.Var]:
        """Make variables for the parameters, by name."""
        ...

    def emit(
        self,
        builder: relax.BlockBuilder,
        inputs: Sequence[relax.Var],
        parameters: Mapping[str, relax.Var],
        batch: int,
        dtype: str = "float32",
    ) -> relax.Var:
        """Emit the kernels within a dataflow block; the result are the latents, ``[batch, ...]``.

        `dtype` is "float32", or "uint8" for the bytes that stand for them.
        """
        ...

    def replay_format(self, bits: int) -> ReplayFormat:
        """Choose how the latents are kept for replay."""
        ...
