"""Printed expressions mean in C what they mean in TIR."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tvm_pulp.target.c_names import NameTable
from tvm_pulp.target.print_expressions import ExpressionPrinter
from tvm_pulp.target.tvm_names import Expr, Select, Var, arith, const, decl_buffer, load, tirx

KERNELS = Path(__file__).resolve().parents[2] / "runtime" / "kernels"
A, B = Var("a", "int32"), Var("b", "int32")
LIMITS = {"a": (-20, 20), "b": (0, 9)}


def printer() -> ExpressionPrinter:
    analyzer = arith.Analyzer()
    for var, (low, high) in zip((A, B), LIMITS.values(), strict=True):
        analyzer.update(var, arith.ConstIntBound(low, high), True)
    return ExpressionPrinter(NameTable(), analyzer)


def test_elements_are_flat_and_simplified() -> None:
    buffer = decl_buffer((4, 8), "float32", name="x")
    assert printer()(load(buffer, [B, A + 3])) == "x[b * 8 + a + 3]"
    assert printer()(tirx.address_of(load(buffer, [0, 0]))) == "x"


def test_rounding_of_float_sums_is_kept() -> None:
    x, y, z = (Var(name, "float32") for name in "xyz")
    assert printer()(x + (y + z)) == "x + (y + z)"
    assert printer()(x - (y - z)) == "x - (y - z)"
    assert printer()((x + y) * z) == "(x + y) * z"


def expressions() -> st.SearchStrategy[tuple[Expr, str]]:
    """Draw an integer expression and the same in Python."""
    leaves = st.sampled_from([(A, "a"), (B, "b")]) | st.integers(-30, 30).map(
        lambda v: (const(v, "int32"), f"({v})")
    )

    def grow(inner: st.SearchStrategy) -> st.SearchStrategy:
        pairs = st.tuples(inner, inner)
        divisors = st.sampled_from([1, 2, 3, 4, 7, 8])
        return st.one_of(
            pairs.map(lambda p: (p[0][0] + p[1][0], f"({p[0][1]} + {p[1][1]})")),
            pairs.map(lambda p: (p[0][0] - p[1][0], f"({p[0][1]} - {p[1][1]})")),
            pairs.map(lambda p: (tirx.min(p[0][0], p[1][0]), f"min({p[0][1]}, {p[1][1]})")),
            pairs.map(lambda p: (tirx.max(p[0][0], p[1][0]), f"max({p[0][1]}, {p[1][1]})")),
            pairs.map(
                lambda p: (
                    Select(p[0][0] < p[1][0], p[0][0], p[1][0]),
                    f"({p[0][1]} if {p[0][1]} < {p[1][1]} else {p[1][1]})",
                )
            ),
            st.tuples(inner, divisors).map(lambda p: (p[0][0] * p[1], f"({p[0][1]} * {p[1]})")),
            st.tuples(inner, divisors).map(
                lambda p: (tirx.floordiv(p[0][0], p[1]), f"({p[0][1]} // {p[1]})")
            ),
            st.tuples(inner, divisors).map(lambda p: (tirx.floormod(p[0][0], p[1]), f"({p[0][1]} % {p[1]})")),
        )

    return st.recursive(leaves, grow, max_leaves=8)


@settings(max_examples=3, deadline=None)
@given(st.lists(expressions(), min_size=60, max_size=60))
def test_integer_arithmetic(tmp_path_factory: pytest.TempPathFactory, drawn: list[tuple[Expr, str]]) -> None:
    folder = tmp_path_factory.mktemp("expressions")
    show = printer()
    lines = [f'printf("%d ", (int)({show(tir)}));' for tir, _ in drawn]
    text = '#include <stdio.h>\n#include "pulp_math.h"\nint main(void) {\n'
    text += (
        "for (int a = -20; a <= 20; a += 3) for (int b = 0; b < 10; b += 3) {\n" + "\n".join(lines) + "\n}}\n"
    )
    (folder / "test.c").write_text(text)
    command = ["gcc", "-Werror=parentheses", "-I", str(KERNELS), "test.c", "-o", "test"]
    subprocess.run(command, cwd=folder, check=True)
    got = [
        int(v) for v in subprocess.run([str(folder / "test")], capture_output=True, text=True).stdout.split()
    ]
    want = [
        eval(python, {"a": a, "b": b})
        for a in range(-20, 21, 3)
        for b in range(0, 10, 3)
        for _, python in drawn
    ]
    assert got == want
