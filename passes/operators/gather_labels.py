"""Labels of a batch of new and replayed samples: the new ones' as they come, the others' out of the store."""

from __future__ import annotations

from tvm import te

from tvm_pulp.passes.operators.kernel import Scalar, Shape, argument, make_kernel
from tvm_pulp.target.tvm_names import PrimFunc, tirx


def gather_labels(layer: str, work: str, shape: Shape, capacity: int, replays: int, dtype: str) -> PrimFunc:
    """Make the kernel that appends the labels of chosen samples of a store to those of new samples.

    Parameters
    ----------
    layer, work
        See `make_kernel`.
    shape
        Of the new samples' labels, samples first.
    capacity
        Samples in the store.
    replays
        Samples chosen of it.
    dtype
        Of a label.

    Returns
    -------
    PrimFunc
        Operator class ``"gather_labels"``: labels (`shape`), store (``[capacity, ...]``), indices (int32,
        ``[replays]``, each below the capacity), output (``[samples + replays, ...]``).
    """
    new, *inner = shape
    labels = argument("labels", shape, dtype)
    store = argument("store", (capacity, *inner), dtype)
    indices = argument("indices", (replays,), "int32")

    def compute(n: Scalar, *i: Scalar) -> Scalar:
        return tirx.if_then_else(n < new, labels(n, *i), store(indices[n - new], *i))

    output = te.compute((new + replays, *inner), compute, name="output")
    return make_kernel([labels, store, indices], [output], operator="gather_labels", layer=layer, work=work)
