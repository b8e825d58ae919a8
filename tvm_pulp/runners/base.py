"""The interface of everything that can run a package's ELF."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from tvm_pulp.package.metadata import Tensor
from tvm_pulp.package.package import Package

NOTHING = -1  # a command that only opens the program and closes it


@dataclass(frozen=True)
class FunctionRun:
    """One call of a function.

    Attributes
    ----------
    cycles : int
        On core 0, from the fork to the join; 0 where the runner counts none.
    kernel_cycles : ndarray of uint32, [calls]
        Cycles of each kernel call.
    """

    cycles: int
    kernel_cycles: np.ndarray


class Session(Protocol):
    """A loaded program whose memory stays between calls."""

    def write(self, tensor: Tensor, values: np.ndarray) -> None:
        """Write a tensor; fewer elements than it has fill its start."""

    def read(self, tensor: Tensor) -> np.ndarray:
        """Read a tensor whole, in its shape and type."""

    def call(self, function: str) -> FunctionRun:
        """Run one function to its end."""


class Runner(Protocol):
    """Opens sessions."""

    def start(self, package: Package) -> Session:
        """Load the package's ELF."""
