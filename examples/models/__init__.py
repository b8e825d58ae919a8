"""Networks of the examples, the demo, the benchmarks and the tests, as PyTorch modules."""

from .ds_cnn import DsCnn, ds_cnn
from .mobilenet import MobileNet, mobilenet_digits, mobilenet_v1
from .residual import ResidualNet, residual_digits
from .resnet8 import ResNet8, resnet8

__all__ = [
    "DsCnn",
    "MobileNet",
    "ResNet8",
    "ResidualNet",
    "ds_cnn",
    "mobilenet_digits",
    "mobilenet_v1",
    "residual_digits",
    "resnet8",
]
