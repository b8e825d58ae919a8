import numpy as np
import pytest
import torch
from torch import nn

from tests.passes.small_models import operators, run
from tvm_pulp.frontends import load_model
from tvm_pulp.passes.fold_batch_norm import fold_batch_norm


class Net(nn.Module):
    """Convolution with and without bias before a batch norm; a batch norm that stands alone."""

    def __init__(self):
        super().__init__()
        self.biased = nn.Conv2d(3, 4, 3, padding=1)
        self.plain = nn.Conv2d(4, 6, 3, groups=2, bias=False)
        self.norms = nn.ModuleList(nn.BatchNorm2d(channels, eps=1e-3) for channels in (4, 6, 6))
        self.last = nn.Conv2d(6, 2, 1)

    def forward(self, x):
        x = torch.relu(self.norms[0](self.biased(x)))
        y = self.plain(x)
        return self.last(torch.relu(self.norms[1](y)) + self.norms[2](torch.tanh(y)))


class Shared(nn.Module):
    """A convolution whose output is read beside the batch norm."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.norms = nn.ModuleList([nn.BatchNorm2d(4)])

    def forward(self, x):
        y = self.conv(x)
        return y + self.norms[0](y)


def randomised(network, seed=0):
    torch.manual_seed(seed)
    for norm in network.norms:
        nn.init.uniform_(norm.running_mean, -1, 1)
        nn.init.uniform_(norm.running_var, 0.5, 2)
        nn.init.uniform_(norm.weight, -2, 2)
        nn.init.uniform_(norm.bias, -1, 1)
    return network.eval()


@pytest.mark.parametrize("network", [Net, Shared])
def test_same_function_without_batch_norm(network):
    network = randomised(network())
    x = torch.randn(1, 3, 8, 8)
    model = load_model(torch.export.export(network, (x,)))
    folded = fold_batch_norm(model)
    assert "nn.batch_norm" in operators(model) and "nn.batch_norm" not in operators(folded)
    np.testing.assert_allclose(run(folded, x.numpy()), network(x).detach().numpy(), rtol=1e-5, atol=1e-5)


def test_parameters_that_are_folded_in_are_gone():
    model = load_model(torch.export.export(randomised(Net()), (torch.randn(1, 3, 8, 8),)))
    folded = fold_batch_norm(model)
    statistics = {f"norms.{n}.running_{what}" for n in range(3) for what in ("mean", "var")}
    gone = set(model.parameters) - set(folded.parameters)
    assert gone == statistics | {"biased.bias", "norms.0.weight"}
    assert operators(folded).count("nn.conv2d") == operators(model).count("nn.conv2d") + 2
    assert not folded.buffers
