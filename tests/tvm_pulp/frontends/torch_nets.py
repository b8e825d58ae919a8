"""Small PyTorch nets for the tests of importers."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional


class ConvNet(nn.Module):
    """Convolutions with and without bias, batch norm, ReLU6, dropout, pooling, a shortcut, a classifier."""

    shape = (3, 8, 8)

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 8, 3, stride=2, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(8, momentum=0.2, eps=1e-3)
        self.depthwise = nn.Conv2d(8, 8, 3, padding=1, groups=8)
        self.block = nn.Sequential(
            nn.Conv2d(8, 8, 1, bias=False), nn.BatchNorm2d(8), nn.ReLU6(inplace=True), nn.Dropout()
        )
        self.dropout = nn.Dropout(inplace=True)
        self.classifier = nn.Linear(8, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = functional.relu(self.norm1(self.conv1(x)), inplace=True)
        x = x + self.block(functional.relu6(self.depthwise(x)))
        x = functional.max_pool2d(x, 2)
        x = functional.adaptive_avg_pool2d(x, 1)
        return self.classifier(self.dropout(torch.flatten(x, 1)))


def conv_net(seed: int = 0) -> ConvNet:
    """A `ConvNet` whose batch norms differ from one another and from those of a fresh net."""
    generator = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = ConvNet()
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            for tensor in (module.weight, module.bias, module.running_mean, module.running_var):
                tensor.data.copy_(torch.rand(tensor.shape, generator=generator) + 0.5)
    return net
