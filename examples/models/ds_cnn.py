"""DS-CNN, the keyword spotter of MLPerf Tiny (Zhang et al., 2017, arXiv:1711.07128)."""

from __future__ import annotations

import torch
from torch import nn

from .mobilenet import convolution


class DepthwiseBlock(nn.Module):
    """Depthwise 3x3 and pointwise 1x1 convolution, each with batch norm and ReLU."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.depthwise = convolution(channels, channels, 3, groups=channels)
        self.depthwise_norm = nn.BatchNorm2d(channels)
        self.pointwise = convolution(channels, channels, 1)
        self.pointwise_norm = nn.BatchNorm2d(channels)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Keep the shape."""
        x = torch.relu(self.depthwise_norm(self.depthwise(x)))
        return torch.relu(self.pointwise_norm(self.pointwise(x)))


class DsCnn(nn.Module):
    """A 10x4 convolution of stride 2, four depthwise separable blocks, global pooling, a classifier."""

    input_shape = (1, 49, 10)

    def __init__(self, channels: int = 64, classes: int = 12) -> None:
        super().__init__()
        self.pad = nn.ZeroPad2d((1, 1, 4, 5))  # what TensorFlow's "same" gives for 49 x 10
        self.conv = nn.Conv2d(1, channels, (10, 4), stride=2, bias=False)
        self.norm = nn.BatchNorm2d(channels)
        self.blocks = nn.Sequential(*(DepthwiseBlock(channels) for _ in range(4)))
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Linear(channels, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map spectrograms ``[N, 1, 49, 10]`` to logits ``[N, classes]``."""
        x = self.blocks(torch.relu(self.norm(self.conv(self.pad(x)))))
        return self.classifier(torch.flatten(self.pool(x), 1))


def ds_cnn(seed: int = 0) -> DsCnn:
    """DS-CNN with 2.7 M multiply-accumulates a spectrogram."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return DsCnn()
