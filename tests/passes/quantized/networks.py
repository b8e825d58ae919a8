"""Networks with operators and windows that the examples lack."""

import torch
from torch import nn


class Varied(nn.Module):
    """Groups, dilation, concatenation, tables, padded averages, a flattened image."""

    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(3, 6, 3, padding=2, dilation=2, groups=3)
        self.second = nn.Conv2d(3, 4, (1, 3), stride=2)
        self.linear = nn.Linear(80, 7)

    def forward(self, x):
        y = torch.nn.functional.max_pool2d(self.first(x), 3, stride=2, padding=1)
        z = torch.sigmoid(self.second(torch.nn.functional.pad(x, (1, 1, 0, 0))))
        y = torch.cat([torch.tanh(y), 0.5 * z - 0.1], dim=1)
        y = torch.nn.functional.avg_pool2d(y, 3, stride=2, padding=1, count_include_pad=False)
        return torch.relu(self.linear(torch.cat([y.flatten(1), (y - 1).flatten(1)], 1)))


def _normalized(convolution: nn.Conv2d, activation: nn.Module) -> nn.Sequential:
    return nn.Sequential(convolution, nn.BatchNorm2d(convolution.out_channels), activation)


class Windows(nn.Module):
    """Blocks as in MobileNetV3 and MCUNet: depthwise windows of 5x5 and 7x7; dilations, groups."""

    def __init__(self):
        super().__init__()
        self.stem = _normalized(nn.Conv2d(3, 8, 3, 2, 1), nn.ReLU6())
        self.expand = _normalized(nn.Conv2d(8, 24, 1), nn.ReLU())
        self.spatial = _normalized(nn.Conv2d(24, 24, 5, padding=2, groups=24), nn.ReLU())
        self.project = nn.Conv2d(24, 8, 1)
        self.wide = _normalized(nn.Conv2d(8, 8, 7, 2, 3, groups=8), nn.ReLU6())
        self.rows = _normalized(nn.Conv2d(8, 8, (1, 5), padding=(0, 2), groups=8), nn.ReLU6())
        self.groups = _normalized(nn.Conv2d(8, 16, 3, padding=1, groups=2), nn.ReLU())
        self.dilated_depthwise = nn.Conv2d(16, 16, 3, padding=2, dilation=2, groups=16)
        self.dilated = nn.Conv2d(16, 12, 3, padding=(3, 2), dilation=(3, 2))
        self.linear = nn.Linear(48, 9)

    def forward(self, x):
        x = self.stem(x)
        x = x + self.project(self.spatial(self.expand(x)))
        x = self.groups(self.rows(self.wide(x)))
        x = torch.relu(self.dilated(self.dilated_depthwise(x)))
        return self.linear(torch.nn.functional.max_pool2d(x, 4).flatten(1))
