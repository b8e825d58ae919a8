"""A kernel to be measured: its computation, what it must give, and what it costs at least."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from tvm_pulp.measure.specification import Key, Specification
from tvm_pulp.target.features import Features
from tvm_pulp.target.tvm_names import PrimFunc, buffer_dtype

DTYPES = ("float32", "float16", "int8")

STEPS = ("forward", "data-grad", "weight-grad")

FLOATS = "floats"
"""Key of kernels between floats and bytes: where the floats are, apart from the other tensors."""

Expected = Callable[[list[np.ndarray]], Mapping[int, np.ndarray]]
"""From the arguments before a call to what it must leave in some of them, by number, in float64."""


@dataclass(frozen=True)
class Cost:
    """What a call must do at least.

    Attributes
    ----------
    macs : int
        Multiply-accumulates as networks are counted, those with the zeros of a padding included; 0 for
        kernels that are not made of them.
    padding_macs : int
        Those of them with a zero of the padding, which nobody needs to compute.
    float_operations : int
        Operations of the FPUs otherwise: additions, multiplications, fused ones.
    instructions : int
        All instructions that the computation needs: loads, operations, stores.
    """

    macs: int = 0
    padding_macs: int = 0
    float_operations: int = 0
    instructions: int = 0

    def cycles(self, features: Features, dtype: str) -> float:
        """Return the fewest cycles that the cores need.

        FPUs start one operation a cycle; half-precision instructions work on two numbers, dot products of
        bytes (on the cores' own units) on four.
        """
        if self.macs:
            a_cycle = {
                "float32": features.fpus,
                "float16": 2 * features.fpus,
                "int8": 4 * features.cores,
            }
            return (self.macs - self.padding_macs) / a_cycle[dtype]
        return max(self.float_operations / features.fpus, self.instructions / features.cores)


@dataclass(frozen=True)
class Workload:
    """A kernel to be measured.

    Attributes
    ----------
    specification : Specification
        What it was made from.
    function : PrimFunc
        The computation, not lowered.
    expected : callable
        The reference, by NumPy.
    cost : Cost
        What a call must do at least.
    tolerance : float
        Largest error of a result, relative to its largest value.
    in_place : bool
        Whether what is written is read, too.
    """

    specification: Specification
    function: PrimFunc
    expected: Expected
    cost: Cost
    tolerance: float = 2e-5
    in_place: bool = False

    @property
    def dtype(self) -> str:
        """Type of the operands."""
        return str(self.specification.values.get("dtype", "float32"))

    @property
    def resident(self) -> list[str]:
        """Names of the tensors in L1."""
        parameters = {str(parameter.name): buffer_dtype(parameter) for parameter in self.function.params}
        if self.specification.word("source") == "l1":
            return list(parameters)
        if self.specification.values.get(FLOATS) == "l1":
            return [name for name, dtype in parameters.items() if dtype.startswith("float")]
        return []


@dataclass(frozen=True)
class Kind:
    """A kind of kernel: its keys, and how a workload is made of their values."""

    keys: Sequence[Key]
    make: Callable[[Specification], Workload]
