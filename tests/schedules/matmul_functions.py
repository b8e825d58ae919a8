"""PrimFuncs of the matmul class, written directly in TE."""

from __future__ import annotations

import numpy as np
from tvm import te

from tvm_pulp.target.tvm_names import PrimFunc


def matmul_function(
    m: int, n: int, k: int, *, transpose_a: bool = False, transpose_b: bool = False, batch: int = 1,
    batch_a: bool = False, batch_b: bool = False, reduce_batch: bool = False, dtype: str = "float32",
) -> PrimFunc:  # fmt: skip
    """Make ``C[b] = op(A[b]) · op(B[b])``, or its sum over the batch; the sums are of float32."""
    a_shape = ((batch,) if batch_a else ()) + ((k, m) if transpose_a else (m, k))
    b_shape = ((batch,) if batch_b else ()) + ((n, k) if transpose_b else (k, n))
    a, b = te.placeholder(a_shape, dtype, name="a"), te.placeholder(b_shape, dtype, name="b")
    term, image = te.reduce_axis((0, k), name="k"), te.reduce_axis((0, batch), name="image")

    def product(which: object, i: object, j: object) -> object:
        row = (term, i) if transpose_a else (i, term)
        column = (j, term) if transpose_b else (term, j)
        values = a[((which,) if batch_a else ()) + row], b[((which,) if batch_b else ()) + column]
        first, second = (value.astype("float32") for value in values)
        return first * second

    if reduce_batch:
        c = te.compute((m, n), lambda i, j: te.sum(product(image, i, j), axis=[image, term]), name="c")
    elif batch > 1:
        c = te.compute((batch, m, n), lambda q, i, j: te.sum(product(q, i, j), axis=[term]), name="c")
    else:
        c = te.compute((m, n), lambda i, j: te.sum(product(0, i, j), axis=[term]), name="c")
    if dtype != "float32":
        total = c
        c = te.compute(total.shape, lambda *i: total[i].astype(dtype), name="rounded")
    sizes = {
        "m": m, "n": n, "k": k, "transpose_a": int(transpose_a), "transpose_b": int(transpose_b),
        "batch": batch, "batch_a": int(batch_a), "batch_b": int(batch_b), "reduce_batch": int(reduce_batch),
    }  # fmt: skip
    return te.create_prim_func([a, b, c]).with_attrs(
        {
            "global_symbol": "product", "pulp.operator": "matmul", "pulp.layer": "layer",
            "pulp.macs": batch * m * n * k, "pulp.matmul": sizes,
        }
    )  # fmt: skip


def matmul_expected(function: PrimFunc, arrays: list[np.ndarray]) -> np.ndarray:
    """Return C by NumPy in float64."""
    sizes = {str(key): int(value) for key, value in function.attrs["pulp.matmul"].items()}
    a, b = (array.astype(np.float64) for array in arrays[:2])
    if sizes["transpose_a"]:
        a = a.swapaxes(-1, -2)
    if sizes["transpose_b"]:
        b = b.swapaxes(-1, -2)
    product = a @ b
    return product.sum(axis=0) if sizes["reduce_batch"] else product
