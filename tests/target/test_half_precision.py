"""Arithmetic of float16, printed as C and run, against NumPy's, bit by bit."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tvm import te

from tests.schedules.host_harness import HostKernel
from tvm_pulp.schedules.generic import lower_generic
from tvm_pulp.target import Features, features, parse
from tvm_pulp.target.c_names import NameTable
from tvm_pulp.target.half_precision import half_bits, in_single_precision
from tvm_pulp.target.print_expressions import ExpressionPrinter
from tvm_pulp.target.tvm_names import PrimFunc, Var, arith, const, if_then_else, tirx

X, Y = Var("x", "float16"), Var("y", "float16")


@pytest.fixture(scope="module")
def chip() -> Features:
    return features(parse("pulp"))


def printed(expression: object) -> str:
    return ExpressionPrinter(NameTable(), arith.Analyzer())(expression)


def elementwise(result: object) -> PrimFunc:
    a, b = (te.placeholder((4096,), "float16", name=name) for name in "ab")
    assert callable(result)
    return te.create_prim_func([a, b, te.compute((4096,), lambda i: result(a(i), b(i)), name="c")])


TENTH = np.float16(0.1)
OPERATIONS = {
    "sum": (lambda a, b: a + b, np.add),
    "difference": (lambda a, b: a - b, np.subtract),
    "product": (lambda a, b: a * b, np.multiply),
    "quotient": (lambda a, b: a / b, np.divide),
    "smaller": (tirx.min, np.minimum),
    "choice": (
        lambda a, b: if_then_else(a < b, a, const(0.1, "float16")),
        lambda a, b: np.where(a < b, a, TENTH),
    ),
    "root": (lambda a, b: tirx.sqrt(tirx.abs(a)), lambda a, b: np.sqrt(np.abs(a))),
}


@pytest.mark.parametrize("name", OPERATIONS)
def test_an_operation_is_rounded_once(name: str, chip: Features, tmp_path: Path) -> None:
    in_tir, in_numpy = OPERATIONS[name]
    function = elementwise(in_tir)
    random = np.random.default_rng(1)
    a, b = (random.standard_normal(4096) * 2.0 ** random.integers(-20, 12, 4096) for _ in range(2))
    arrays = [a.astype(np.float16), b.astype(np.float16), np.zeros(4096, np.float16)]
    HostKernel(lower_generic(function, chip), tmp_path)(arrays)
    with np.errstate(all="ignore"):
        np.testing.assert_array_equal(arrays[2], in_numpy(*arrays[:2]).astype(np.float16))


def test_conversions_are_calls() -> None:
    assert printed(tirx.Cast("float32", X)) == "pulp_half_to_float(x)"
    assert printed(tirx.Cast("int32", X)) == "(int32_t)pulp_half_to_float(x)"
    assert printed(tirx.Cast("float16", Var("i", "int32"))) == "pulp_float_to_half((float)i)"
    assert printed(const(1.0, "float16")) == "0x3c00" == hex(half_bits(1.0))


def test_other_expressions_stay_as_they_are() -> None:
    single = Var("s", "float32")
    assert in_single_precision(single + single) is None
    assert in_single_precision(single < single) is None
    assert in_single_precision(X) is None
    assert printed(if_then_else(X < Y, X, Y)) == "pulp_half_to_float(x) < pulp_half_to_float(y) ? x : y"
