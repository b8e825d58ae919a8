"""Measure kernels: build one into a program, run it on the simulated cluster, check and count."""

from tvm_pulp.measure.arguments import random_arguments
from tvm_pulp.measure.kernel import Measurement, MeasurementError, measure_kernel

__all__ = ["Measurement", "MeasurementError", "measure_kernel", "random_arguments"]
