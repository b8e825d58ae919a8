"""Cross-entropy of logits and class numbers: log-softmax and negative log-likelihood in one; its gradient;
both at once.

``loss = scale * Σ_n (log Σ_c exp(x[n,c]) - x[n, label[n]])``, a row's largest logit subtracted first.
"""

from __future__ import annotations

from collections.abc import Sequence

from tvm import te

from tvm_pulp.passes.operators.kernel import Scalar, Shape, argument, make_kernel, number
from tvm_pulp.passes.operators.reduction import staged_sum
from tvm_pulp.target.tvm_names import PrimFunc, tirx


def cross_entropy(layer: str, work: str, shape: Shape, scale: float) -> PrimFunc:
    """Make the kernel of the loss.

    Parameters
    ----------
    layer, work
        See `make_kernel`.
    shape
        Of the logits, ``[batch, classes]``.
    scale
        Factor of the sum over the batch.

    Returns
    -------
    PrimFunc
        Operator class ``"cross_entropy"``: logits, labels (int32 ``[batch]``); loss ``[1]``.
    """
    logits, labels = _arguments(shape)
    loss = _loss(logits, labels, shape, scale, *_row_statistics(logits, shape))
    return _kernel("cross_entropy", layer, work, [logits, labels], [loss], scale)


def _loss(
    logits: te.Tensor, labels: te.Tensor, shape: Shape, scale: float, largest: te.Tensor, total: te.Tensor
) -> te.Tensor:
    along = te.reduce_axis((0, shape[1]), name="class_number")
    zero = number(0.0)
    # A sum with one term that counts: reading logits[n, labels[n]] would leave the bounds to the data
    chosen = te.compute(
        shape[:1],
        lambda n: te.sum(tirx.Select(labels[n] == along, logits[n, along], zero), axis=along),
        name="chosen",
    )

    def sample_loss(n: Scalar, _: Scalar) -> Scalar:
        return tirx.log(total[n]) + (largest[n] - chosen[n])

    losses = staged_sum(sample_loss, (shape[0], 1), [0], "losses", [1])
    return te.compute((1,), lambda i: losses[i] * number(scale), name="loss")


def cross_entropy_gradient(layer: str, work: str, shape: Shape, scale: float) -> PrimFunc:
    """Make the kernel of the gradient by the logits, ``scale * (softmax(logits) - one_hot(labels))``.

    Returns
    -------
    PrimFunc
        Operator class ``"cross_entropy_gradient"``: logits, labels (int32 ``[batch]``); logits gradient.
    """
    logits, labels = _arguments(shape)
    gradient = _gradient(logits, labels, shape, scale, *_row_statistics(logits, shape))
    return _kernel("cross_entropy_gradient", layer, work, [logits, labels], [gradient], scale)


def cross_entropy_training(layer: str, work: str, shape: Shape, scale: float) -> PrimFunc:
    """Make the kernel of both, which computes the exponentials once.

    Returns
    -------
    PrimFunc
        Operator class ``"cross_entropy_training"``: logits, labels (int32 ``[batch]``); loss ``[1]``, logits
        gradient.
    """
    logits, labels = _arguments(shape)
    statistics = _row_statistics(logits, shape)
    loss = _loss(logits, labels, shape, scale, *statistics)
    gradient = _gradient(logits, labels, shape, scale, *statistics)
    return _kernel("cross_entropy_training", layer, work, [logits, labels], [loss, gradient], scale)


def _arguments(shape: Shape) -> tuple[te.Tensor, te.Tensor]:
    return argument("logits", shape), argument("labels", shape[:1], "int32")


def _kernel(
    operator: str,
    layer: str,
    work: str,
    arguments: Sequence[te.Tensor],
    outputs: Sequence[te.Tensor],
    scale: float,
) -> PrimFunc:
    details = {"pulp.cross_entropy": {"scale": scale}}
    return make_kernel(arguments, outputs, operator=operator, layer=layer, work=work, details=details)


def _gradient(
    logits: te.Tensor, labels: te.Tensor, shape: Shape, scale: float, largest: te.Tensor, total: te.Tensor
) -> te.Tensor:
    def compute(n: Scalar, c: Scalar) -> Scalar:
        probability = tirx.exp(logits[n, c] - largest[n]) / total[n]
        return number(scale) * (probability - tirx.Select(labels[n] == c, number(1.0), number(0.0)))

    return te.compute(shape, compute, name="logits_gradient")


def _row_statistics(logits: te.Tensor, shape: Shape) -> tuple[te.Tensor, te.Tensor]:
    """Largest logit of each sample, and the sum of the exponentials of the others' distances to it."""
    first = te.reduce_axis((0, shape[1]), name="class_number")
    largest = te.compute(shape[:1], lambda n: te.max(logits[n, first], axis=first), name="largest")
    second = te.reduce_axis((0, shape[1]), name="class_number")
    total = te.compute(
        shape[:1], lambda n: te.sum(tirx.exp(logits[n, second] - largest[n]), axis=second), name="total"
    )
    return largest, total
