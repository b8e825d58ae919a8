"""Real nets and real input for the end-to-end tests, each compiled once."""

import pytest
import torch

import tvm_pulp
from examples.digits import digits
from examples.models import mobilenet_digits, residual_digits
from tests.e2e.settings import CONFIG, MOBILENET_SEED, PROJECT, RESIDUAL_SEED, SAMPLES


@pytest.fixture(scope="session")
def samples():
    """Digits as a package wants them: "x" and "labels"."""
    images, labels = digits()
    return {"x": images[:SAMPLES], "labels": labels[:SAMPLES]}


@pytest.fixture
def mobilenet():
    """A net of its own for each test: a forward pass in training mode changes its running statistics."""
    return mobilenet_digits(seed=MOBILENET_SEED).train()


@pytest.fixture
def residual():
    return residual_digits(seed=RESIDUAL_SEED).train()


@pytest.fixture(scope="session")
def exported_mobilenet(samples):
    network = mobilenet_digits(seed=MOBILENET_SEED).train()
    return torch.export.export(network, (torch.from_numpy(samples["x"][:8]),))


@pytest.fixture(scope="session")
def mobilenet_package(exported_mobilenet):
    return tvm_pulp.compile(exported_mobilenet, target="pulp", train=tvm_pulp.TrainConfig(**CONFIG))


@pytest.fixture(scope="session")
def resnet8():
    path = PROJECT.parent / "shared" / "data" / "mlperf_tiny_resnet8_float32.tflite"
    if not path.is_file():
        pytest.skip("the trained ResNet8 of MLPerf Tiny lies in ../shared/data, which is absent here")
    return path
