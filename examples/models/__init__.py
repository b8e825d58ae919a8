"""Networks of the examples, the demo and the tests, as PyTorch modules."""

from .mobilenet import MobileNet, mobilenet_digits, mobilenet_v1
from .residual import ResidualNet, residual_digits

__all__ = ["MobileNet", "ResidualNet", "mobilenet_digits", "mobilenet_v1", "residual_digits"]
