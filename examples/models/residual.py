"""A small residual net (He et al., 2015, arXiv:1512.03385) for digits."""

from __future__ import annotations

import torch
from torch import nn

from .mobilenet import convolution


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions with batch norm and a shortcut, projected by 1x1 where the shape changes."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = convolution(inputs, outputs, 3, stride)
        self.norm1 = nn.BatchNorm2d(outputs)
        self.conv2 = convolution(outputs, outputs, 3)
        self.norm2 = nn.BatchNorm2d(outputs)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or inputs != outputs:
            self.shortcut = convolution(inputs, outputs, 1, stride)
            self.shortcut_norm: nn.Module = nn.BatchNorm2d(outputs)
        else:
            self.shortcut_norm = nn.Identity()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Divide height and width by the stride."""
        y = torch.relu(self.norm1(self.conv1(x)))
        return torch.relu(self.norm2(self.conv2(y)) + self.shortcut_norm(self.shortcut(x)))


class ResidualNet(nn.Module):
    """A 3x3 convolution, three residual blocks of stride 1, 2 and 2, global average pooling, a classifier."""

    input_shape = (1, 32, 32)

    def __init__(self, channels: int = 8, classes: int = 10) -> None:
        super().__init__()
        self.conv = convolution(1, channels, 3, stride=2)
        self.norm = nn.BatchNorm2d(channels)
        self.block1 = ResidualBlock(channels, channels, 1)
        self.block2 = ResidualBlock(channels, 2 * channels, 2)
        self.block3 = ResidualBlock(2 * channels, 4 * channels, 2)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Linear(4 * channels, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map images ``[N, 1, 32, 32]`` to logits ``[N, classes]``."""
        x = torch.relu(self.norm(self.conv(x)))
        x = self.block3(self.block2(self.block1(x)))
        return self.classifier(torch.flatten(self.pool(x), 1))


def residual_digits(channels: int = 8, seed: int = 0) -> ResidualNet:
    """Residual net for 1x32x32 digits, 10 classes, with training-mode batch norm throughout."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return ResidualNet(channels)
