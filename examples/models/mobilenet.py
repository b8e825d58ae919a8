"""MobileNetV1 (Howard et al., 2017, arXiv:1704.04861) in full and in a small form for digits."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn


def convolution(inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1) -> nn.Conv2d:
    """Convolution without bias, as the batch norm after it has an offset."""
    return nn.Conv2d(inputs, outputs, kernel, stride, padding=kernel // 2, groups=groups, bias=False)


class Stem(nn.Module):
    """3x3 convolution of stride 2, batch norm, ReLU6."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv = convolution(inputs, outputs, 3, stride=2)
        self.norm = nn.BatchNorm2d(outputs)
        self.activation = nn.ReLU6()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Halve height and width."""
        return self.activation(self.norm(self.conv(x)))


class SeparableBlock(nn.Module):
    """Depthwise 3x3 and pointwise 1x1 convolution, each with batch norm and ReLU6."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.depthwise = convolution(inputs, inputs, 3, stride, groups=inputs)
        self.depthwise_norm = nn.BatchNorm2d(inputs)
        self.depthwise_activation = nn.ReLU6()
        self.pointwise = convolution(inputs, outputs, 1)
        self.pointwise_norm = nn.BatchNorm2d(outputs)
        self.pointwise_activation = nn.ReLU6()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Divide height and width by the stride."""
        x = self.depthwise_activation(self.depthwise_norm(self.depthwise(x)))
        return self.pointwise_activation(self.pointwise_norm(self.pointwise(x)))


class MobileNet(nn.Module):
    """A stem, separable blocks, global average pooling and a linear classifier.

    Parameters
    ----------
    input_shape : sequence of int
        Channels, height, width of an image.
    stem : int
        Channels after the stem.
    blocks : sequence of (int, int)
        Output channels and stride of each block.
    classes : int
        Outputs.
    """

    def __init__(
        self, input_shape: Sequence[int], stem: int, blocks: Sequence[tuple[int, int]], classes: int
    ) -> None:
        super().__init__()
        self.input_shape = tuple(input_shape)
        self.stem = Stem(input_shape[0], stem)
        channels = stem
        layers = []
        for outputs, stride in blocks:
            layers.append(SeparableBlock(channels, outputs, stride))
            channels = outputs
        self.blocks = nn.Sequential(*layers)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Linear(channels, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map images ``[N, C, H, W]`` to logits ``[N, classes]``."""
        x = self.pool(self.blocks(self.stem(x)))
        return self.classifier(torch.flatten(x, 1))


def offset_batch_norms(network: nn.Module) -> None:
    """Draw the offsets of all batch norms from [-0.5, 0.5], as if the net had been trained before.

    With the usual zeros, a positive scale before ReLU6, a depthwise convolution and another batch norm has no
    effect on the output: its gradient is zero but for rounding, and no two float32 implementations agree on
    it.
    """
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.bias, -0.5, 0.5)


def mobilenet_digits(seed: int = 0) -> MobileNet:
    """MobileNetV1-like net for 1x32x32 digits, 10 classes: 0.27 M multiply-accumulates an image."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = MobileNet((1, 32, 32), 8, [(16, 2), (32, 1), (32, 1), (64, 2), (64, 1)], 10)
        offset_batch_norms(network)
    return network


def mobilenet_v1(width: float = 0.25, resolution: int = 96, classes: int = 10, seed: int = 0) -> MobileNet:
    """Full MobileNetV1, its channels scaled by `width`, for images of 3 x `resolution` x `resolution`."""
    blocks = [(64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2)]
    blocks += [(512, 1)] * 5 + [(1024, 2), (1024, 1)]
    scaled = [(max(8, int(channels * width)), stride) for channels, stride in blocks]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = MobileNet((3, resolution, resolution), max(8, int(32 * width)), scaled, classes)
        offset_batch_norms(network)
    return network
