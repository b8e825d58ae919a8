"""Networks with operators that the examples lack."""

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
