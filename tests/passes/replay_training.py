"""A small network that trains with replays on the host: its graph, and the store in NumPy.

Its frozen stage takes bytes and gives them a scale, so that no kernel of integers has to run on the host.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from tvm_pulp.frontends.load import load_model
from tvm_pulp.oracle.replay_store import ReplayStore
from tvm_pulp.passes.model import Model
from tvm_pulp.passes.quantized.graph import QuantizedGraph, QuantizedInput, QuantizedTensor
from tvm_pulp.passes.quantized.integer_stage import Stage
from tvm_pulp.passes.train_config import TrainConfig
from tvm_pulp.passes.training_graph import TrainingGraph, build_training

SHAPE = (5, 6, 6)
CLASSES = 3


class Network(nn.Module):
    """What is behind the latents."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(5, 4, 3, stride=2)
        self.classifier = nn.Linear(16, CLASSES)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.classifier(torch.flatten(torch.relu(self.conv(x)), 1))


@dataclass(frozen=True)
class BytesStage(Stage):
    """A frozen stage without layers: its latents are its inputs, as numbers."""

    model: Model
    zero_point: int

    def graph(self, batch: int) -> QuantizedGraph:
        """The input, with a scale and a zero point."""
        latents = QuantizedTensor("bytes", (batch, *SHAPE), 0.02, self.zero_point)
        return QuantizedGraph(
            "net", ("x",), (QuantizedInput("x", latents, "x", latents.shape, "uint8"),), latents
        )


def samples(count: int, loss: str = "cross-entropy") -> dict[str, np.ndarray]:
    """Bytes and labels of a loss."""
    random = np.random.default_rng(3)
    x = random.integers(0, 256, (count, *SHAPE)).astype(np.uint8)
    if loss == "mse":
        return {"x": x, "labels": random.standard_normal((count, CLASSES)).astype(np.float32)}
    return {"x": x, "labels": random.integers(0, CLASSES, count).astype(np.int32)}


def built(config: TrainConfig, zero_point: int = 0) -> tuple[TrainingGraph, BytesStage, ReplayStore]:
    """The training graph of the network, its frozen stage, and its empty store in NumPy."""
    torch.manual_seed(1)
    model = load_model(Network(), input_shapes={"x": [1, *SHAPE]}, batch=1)
    stage = BytesStage(model, zero_point)
    graph = build_training(model, config, stage)
    store = ReplayStore(stage.graph(1), config.replay_bits, graph.replays["replay_labels"])
    return graph, stage, store
