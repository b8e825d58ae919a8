"""Target tags, the C printers and toolchain discovery for PULP clusters."""

from tvm_pulp.target.features import Features, features
from tvm_pulp.target.parse import parse

__all__ = ["Features", "features", "parse"]
