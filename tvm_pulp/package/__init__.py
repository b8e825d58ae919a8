"""The package that `tvmc compile` writes: a Model Library Format tar."""

from tvm_pulp.package.archive import load
from tvm_pulp.package.package import Package

__all__ = ["Package", "load"]
