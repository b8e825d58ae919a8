"""Matrix products: linear layers, 1x1 convolutions and their gradients, in the layouts of their tensors."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any

from tvm import te

from tvm_pulp.passes.operators.kernel import Scalar, Shape, argument, make_kernel
from tvm_pulp.target.tvm_names import PrimFunc


@dataclass(frozen=True)
class Operand:
    """A matrix of a product, as a tensor whose memory it is.

    Attributes
    ----------
    name : str
        Of the buffer.
    shape : tuple of int
        Of the tensor.
    axes : str
        A letter an axis: axes that bear the same letter in two tensors of a product run together; ``1`` is an
        axis of one element. A 1x1 convolution is ``oc11 · bchw → bohw``.
    """

    name: str
    shape: Shape
    axes: str


@dataclass(frozen=True)
class Matmul:
    """The product ``C[b] = op(A[b]) · op(B[b])`` over row-major matrices, see docs/architecture.md, part 2.

    Attributes
    ----------
    a, b, c : Operand
        The matrices; what `c` has no letter of is summed over.
    m, n, k : int
        op(A) is m x k, op(B) is k x n.
    transpose_a, transpose_b : int
        1 if A is stored as k x m, B as n x k.
    batch : int
        Number of products.
    batch_a, batch_b : int
        1 if each product has its own A, its own B.
    reduce_batch : int
        1 if C is the sum of all products.
    """

    a: Operand
    b: Operand
    c: Operand
    m: int
    n: int
    k: int
    transpose_a: int = 0
    transpose_b: int = 0
    batch: int = 1
    batch_a: int = 0
    batch_b: int = 0
    reduce_batch: int = 0

    @property
    def macs(self) -> int:
        """Multiply-accumulates."""
        return self.batch * self.m * self.n * self.k

    def details(self) -> dict[str, Any]:
        """Attributes of a PrimFunc of this class."""
        return {
            "pulp.matmul": {name: value for name, value in asdict(self).items() if isinstance(value, int)}
        }

    def gradient_a(self, name: str) -> Matmul:
        """Product that gives the gradient of A from the gradient of C (named "output_gradient") and B."""
        gradient = replace(self.c, name="output_gradient")
        result = replace(self.a, name=name)
        reduce_batch = int(self.batch > 1 and not self.batch_a)
        if self.transpose_a:  # A is stored as k x m: its gradient is op(B) · dCᵀ
            return Matmul(
                self.b, gradient, result, self.k, self.m, self.n, self.transpose_b, 1,
                self.batch, self.batch_b, 1 if self.batch > 1 else 0, reduce_batch,
            )  # fmt: skip
        return Matmul(
            gradient, self.b, result, self.m, self.k, self.n, 0, 1 - self.transpose_b,
            self.batch, 1 if self.batch > 1 else 0, self.batch_b, reduce_batch,
        )  # fmt: skip

    def gradient_b(self, name: str) -> Matmul:
        """Product that gives the gradient of B from A and the gradient of C (named "output_gradient")."""
        gradient = replace(self.c, name="output_gradient")
        result = replace(self.b, name=name)
        reduce_batch = int(self.batch > 1 and not self.batch_b)
        if self.transpose_b:  # B is stored as n x k: its gradient is dCᵀ · op(A)
            return Matmul(
                gradient, self.a, result, self.n, self.k, self.m, 1, self.transpose_a,
                self.batch, 1 if self.batch > 1 else 0, self.batch_a, reduce_batch,
            )  # fmt: skip
        return Matmul(
            self.a, gradient, result, self.k, self.n, self.m, 1 - self.transpose_a, 0,
            self.batch, self.batch_a, 1 if self.batch > 1 else 0, reduce_batch,
        )  # fmt: skip


def matmul(layer: str, work: str, product: Matmul) -> PrimFunc:
    """Make the kernel of a matrix product.

    Parameters
    ----------
    layer, work
        See `make_kernel`.
    product
        Matrices and sizes.

    Returns
    -------
    PrimFunc
        Operator class ``"matmul"``: A, B, C.
    """
    a = argument(product.a.name, product.a.shape)
    b = argument(product.b.name, product.b.shape)
    extents = dict(zip(product.a.axes + product.b.axes, product.a.shape + product.b.shape, strict=True))
    summed = {
        letter: te.reduce_axis((0, extents[letter]), name=letter)
        for letter in dict.fromkeys(product.a.axes + product.b.axes)
        if letter not in product.c.axes and letter != "1"
    }

    def compute(*indices: Scalar) -> Scalar:
        where = {**dict(zip(product.c.axes, indices, strict=True)), **summed, "1": 0}
        return te.sum(
            a(*(where[letter] for letter in product.a.axes))
            * b(*(where[letter] for letter in product.b.axes)),
            axis=list(summed.values()),
        )

    c = te.compute(product.c.shape, compute, name=product.c.name)
    return make_kernel(
        [a, b],
        [c],
        operator="matmul",
        layer=layer,
        work=work,
        macs=product.macs,
        details=product.details(),
    )
