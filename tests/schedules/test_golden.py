"""The printed C of a few kernels, whole: what a change of a schedule or of the printer does can be read."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.schedules.matmul_functions import matmul_function
from tvm_pulp.passes.operators.conv2d import Conv2d, conv2d
from tvm_pulp.passes.operators.update import sgd
from tvm_pulp.schedules import lower
from tvm_pulp.schedules.generic import lower_generic
from tvm_pulp.target import Features
from tvm_pulp.target.print_kernel import print_kernel
from tvm_pulp.target.tvm_names import PrimFunc

KERNELS: dict[str, Callable[[Features], PrimFunc]] = {
    "matmul_in_tiles": lambda chip: lower(matmul_function(150, 70, 90, transpose_b=True), chip),
    "sgd_in_place": lambda chip: lower(sgd("layer", "update", (64, 33, 3, 3), 0.9, 5e-4, False), chip),
    "conv2d_generic": lambda chip: lower_generic(
        conv2d("layer", "forward", Conv2d((2, 2), (1, 1, 1, 1)), (2, 8, 17, 15), (12, 8, 3, 3)), chip
    ),
}


@pytest.mark.parametrize("name", KERNELS)
def test_printed_kernels(name: str, chip: Features, golden: Callable[[str, str], None]) -> None:
    golden(f"{name}.c", print_kernel(KERNELS[name](chip), name))
