"""Matrix products and linear layers."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from tvm import te

from tvm_pulp.measure.specification import SOURCE, Key, Specification
from tvm_pulp.measure.workloads.workload import DTYPES, STEPS, Cost, Kind, Workload
from tvm_pulp.passes.operators.kernel import Scalar, argument, make_kernel
from tvm_pulp.passes.operators.matmul import Matmul, Operand, matmul
from tvm_pulp.passes.operators.quantized_matmul import quantized_matmul
from tvm_pulp.target.tvm_names import PrimFunc, tirx

_LETTERS = {"n": 0, "t": 1}
TOLERANCES = {"float32": 2e-5, "float16": 1e-3, "int8": 0.0}
"""Largest error of a result, relative to the largest value, by type."""


def _make_matmul(s: Specification) -> Workload:
    m, n, k, batch = (s.number(name) for name in ("m", "n", "k", "batch"))
    transpose_a, transpose_b = (_LETTERS[letter] for letter in s.word("layout"))
    lead, letter = ((batch,), "b") if batch > 1 else ((), "")
    product = Matmul(
        a=Operand("a", lead + ((k, m) if transpose_a else (m, k)), letter + ("km" if transpose_a else "mk")),
        b=Operand("b", lead + ((n, k) if transpose_b else (k, n)), letter + ("nk" if transpose_b else "kn")),
        c=Operand("c", (*lead, m, n), letter + "mn"),
        m=m,
        n=n,
        k=k,
        transpose_a=transpose_a,
        transpose_b=transpose_b,
        batch=batch,
        batch_a=int(batch > 1),
        batch_b=int(batch > 1),
    )
    return make_product(s, product)


def _make_linear(s: Specification) -> Workload:
    """``Y = X · Wᵀ``, as PyTorch stores the weights."""
    batch, inputs, outputs = (s.number(name) for name in ("batch", "inputs", "outputs"))
    forward = Matmul(
        a=Operand("data", (batch, inputs), "mk"),
        b=Operand("weight", (outputs, inputs), "nk"),
        c=Operand("output", (batch, outputs), "mn"),
        m=batch,
        n=outputs,
        k=inputs,
        transpose_b=1,
    )
    products = {
        "forward": forward,
        "data-grad": forward.gradient_a("data_gradient"),
        "weight-grad": forward.gradient_b("weight_gradient"),
    }
    return make_product(s, products[s.word("step")])


def make_product(s: Specification, product: Matmul) -> Workload:
    """Make the workload of a product of the type that the specification says."""
    dtype = s.word("dtype")
    if dtype == "float32":
        function = matmul("kernel", s.kind, product)
    elif dtype == "int8" and not product.reduce_batch and product.batch_a == product.batch_b:
        function = quantized_matmul(
            "kernel", s.kind, product.m, product.n, product.k, None, "int8",
            transpose_data=bool(product.transpose_a), transpose_weight=bool(product.transpose_b),
            batch=product.batch,
        )  # fmt: skip
    else:
        function = _low_precision(s.kind, product, dtype)
    subscripts = ",".join(o.axes.replace("1", "") for o in (product.a, product.b))
    subscripts += "->" + product.c.axes.replace("1", "")

    def expected(arrays: list[np.ndarray]) -> Mapping[int, np.ndarray]:
        operands = [
            array.astype(np.float64).reshape([e for e, x in zip(o.shape, o.axes, strict=True) if x != "1"])
            for array, o in zip(arrays[:2], (product.a, product.b), strict=True)
        ]
        return {2: np.einsum(subscripts, *operands, optimize=True).reshape(product.c.shape)}

    return Workload(s, function, expected, Cost(macs=product.macs), TOLERANCES[dtype])


def _low_precision(work: str, product: Matmul, dtype: str) -> PrimFunc:
    """Half precision summed in single precision, or bytes summed in 32 bits (the result as well)."""
    summed, result = {"float16": ("float32", "float16"), "int8": ("int32", "int32")}[dtype]
    a, b = (argument(o.name, o.shape, dtype) for o in (product.a, product.b))
    extents = dict(zip(product.a.axes + product.b.axes, product.a.shape + product.b.shape, strict=True))
    axes = {x: te.reduce_axis((0, extents[x]), name=x) for x in extents if x not in product.c.axes + "1"}

    def compute(*indices: Scalar) -> Scalar:
        where = {**dict(zip(product.c.axes, indices, strict=True)), **axes, "1": 0}
        factors = [
            tirx.Cast(summed, tensor(*(where[letter] for letter in operand.axes)))
            for tensor, operand in ((a, product.a), (b, product.b))
        ]
        return te.sum(factors[0] * factors[1], axis=list(axes.values()))

    total = te.compute(product.c.shape, compute, name="total" if result != summed else product.c.name)
    if result != summed:
        total = te.compute(product.c.shape, lambda *i: tirx.Cast(result, total(*i)), name=product.c.name)
    return make_kernel(
        [a, b],
        [total],
        operator="matmul",
        layer="kernel",
        work=work,
        macs=product.macs,
        details=product.details(),
    )


_DTYPE = Key("dtype", "float32", DTYPES)

KINDS = {
    "matmul": Kind(
        [
            *(Key(name) for name in "mnk"),
            Key("layout", "nn", ("nn", "tn", "nt", "tt")),
            Key("batch", 1),
            _DTYPE,
            SOURCE,
        ],
        _make_matmul,
    ),
    "linear": Kind(
        [Key("inputs"), Key("outputs"), Key("batch", 1), Key("step", "forward", STEPS), _DTYPE, SOURCE],
        _make_linear,
    ),
}
