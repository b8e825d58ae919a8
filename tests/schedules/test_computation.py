"""What a PrimFunc of TE blocks is read as, and what is refused."""

from __future__ import annotations

import pytest
from tvm import te

from tvm_pulp.schedules.computation import read_computations
from tvm_pulp.target.errors import UserError
from tvm_pulp.target.tvm_names import const, tirx

X = te.placeholder((4, 8), "int32", name="x")


def product(x):
    wide = tirx.Cast("int64", x) * const(1 << 20, "int64")
    return tirx.Cast("int32", wide >> const(20, "int64"))


def precise(x):
    return tirx.Cast("int32", tirx.Cast("float64", x) * const(0.1, "float64"))


@pytest.mark.parametrize(("compute", "dtype"), [(product, "int64"), (precise, "float64")])
def test_data_computed_in_64_bits_are_refused(compute, dtype):
    y = te.compute((4, 8), lambda i, j: compute(X[i, j]), name="scaled")
    function = te.create_prim_func([X, y]).with_attr("global_symbol", "layer_infer")
    with pytest.raises(UserError, match=f"kernel 'layer_infer': block 'scaled' computes in {dtype}"):
        read_computations(function)


def test_a_sum_in_64_bits_is_refused():
    k = te.reduce_axis((0, 8), name="k")
    total = te.compute((4,), lambda i: te.sum(tirx.Cast("int64", X[i, k]), axis=k), name="total")
    y = te.compute((4,), lambda i: tirx.Cast("int32", total[i] >> const(2, "int64")), name="y")
    with pytest.raises(UserError, match="block 'total' computes in int64"):
        read_computations(te.create_prim_func([X, y]))


def test_index_arithmetic_in_64_bits_is_narrowed():
    y = te.compute((4, 8), lambda i, j: X[i, tirx.Cast("int32", 7 - tirx.Cast("int64", j))], name="reversed")
    (computation,) = read_computations(te.create_prim_func([X, y]))
    assert "int64" not in str(computation.value)
