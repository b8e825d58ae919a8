"""ResNet8, the image classifier of MLPerf Tiny (Banbury et al., 2021, arXiv:2106.07597), for CIFAR-10."""

from __future__ import annotations

import torch
from torch import nn

from .mobilenet import convolution


class Block(nn.Module):
    """Two 3x3 convolutions with batch norm and a shortcut, by a 1x1 convolution where the shape changes."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = convolution(inputs, outputs, 3, stride)
        self.norm1 = nn.BatchNorm2d(outputs)
        self.conv2 = convolution(outputs, outputs, 3)
        self.norm2 = nn.BatchNorm2d(outputs)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or inputs != outputs:
            self.shortcut = nn.Conv2d(inputs, outputs, 1, stride)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Divide height and width by the stride."""
        y = torch.relu(self.norm1(self.conv1(x)))
        return torch.relu(self.norm2(self.conv2(y)) + self.shortcut(x))


class ResNet8(nn.Module):
    """A 3x3 convolution, blocks of 16, 32 and 64 channels, global average pooling, a classifier."""

    input_shape = (3, 32, 32)

    def __init__(self, classes: int = 10) -> None:
        super().__init__()
        self.conv = convolution(3, 16, 3)
        self.norm = nn.BatchNorm2d(16)
        self.blocks = nn.Sequential(Block(16, 16, 1), Block(16, 32, 2), Block(32, 64, 2))
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Linear(64, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map images ``[N, 3, 32, 32]`` to logits ``[N, classes]``."""
        x = self.blocks(torch.relu(self.norm(self.conv(x))))
        return self.classifier(torch.flatten(self.pool(x), 1))


def resnet8(seed: int = 0) -> ResNet8:
    """ResNet8 with 12.5 M multiply-accumulates an image."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return ResNet8()
