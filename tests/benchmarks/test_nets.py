import pytest
import torch
from torch import nn

from benchmarks.nets import NETS, measure_batch


@pytest.mark.parametrize(
    ("name", "macs", "outputs"),
    [
        ("ResNet8 (MLPerf Tiny)", 12_501_632, 10),
        ("DS-CNN (MLPerf Tiny)", 2_656_768, 12),
        ("MobileNetV1 0.25 at 96x96", 7_489_664, 2),
    ],
)
def test_networks_are_those_of_mlperf_tiny(name, macs, outputs):
    """The published multiply-accumulates of one sample, those of convolutions and linear layers."""
    network, counted = NETS[name]().eval(), []

    def count(module, _, output):
        counted.append(output.numel() * module.weight[0].numel())

    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            module.register_forward_hook(count)
    assert network(torch.zeros(1, *network.input_shape)).shape == (1, outputs)
    assert sum(counted) == macs


def test_a_step_counts_forward_and_backward():
    record = measure_batch(1)
    assert 2.5 < record["macs"] / 270_000 < 3.2
    assert record["macs"] / record["cycles"] > 1
