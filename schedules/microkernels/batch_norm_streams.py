"""Sweeps over the elements of a channel that batch normalisation in training mode is made of.

Forward: the sum and the sum of squares, then ``y = activation(x * factor + shift)``. Backward: the sums of
the gradient g (where the activation let its input through) and of ``g * x``, then
``dx = g * factor + x * slope + shift``. Where the sums of squares or products would lose too much to the
mean, a *careful* sweep subtracts it from each element first.
"""

from __future__ import annotations

from dataclasses import dataclass

from tvm_pulp.schedules.microkernels.stream import Step, Stream, instructions

NONE, RELU, CLIP = 0, 1, 2
"""What follows the normalisation: nothing, ``max(y, 0)``, or ``min(max(y, 0), limit)``."""


@dataclass(frozen=True)
class NormSizes:
    """What the code of a batch norm depends on.

    Attributes
    ----------
    images, channels, pixels : int
        Of the data ``[images][channels][pixels]``.
    activation : int
        `NONE`, `RELU` or `CLIP`.
    limit : float
        Upper bound of `CLIP`.
    epsilon : float
        Added to the variance (forward).
    backward : bool
        Gradients instead of the normalisation.
    biased : bool
        A bias a channel has been left out of the data.
    """

    images: int
    channels: int
    pixels: int
    activation: int
    limit: float
    epsilon: float
    backward: bool
    biased: bool


SWEEPS = 2
"""Sweeps over the data, for the sums and for the results."""


@dataclass(frozen=True)
class NormStreams:
    """The loops of a batch norm: sums, results, and the careful form of the sums."""

    sums: Stream
    results: Stream
    careful: Stream


def _forward_streams(activation: int, separate: bool) -> NormStreams:
    load = Step("load", "value", ("x",))
    sums = (
        load,
        Step("add", "total", ("total", "value")),
        Step("multiply_add", "squares", ("value", "value", "squares")),
    )
    careful = (
        load,
        Step("subtract", "deviation", ("value", "mean")),
        Step("add", "total", ("total", "deviation")),
        Step("multiply_add", "squares", ("deviation", "deviation", "squares")),
    )
    steps = [load, Step("multiply_add", "normal", ("value", "factor", "shift"))]
    if activation != NONE:
        steps.append(Step("rectify", "positive", (steps[-1].result,)))
    if activation == CLIP:
        steps.append(Step("limit", "limited", (steps[-1].result, "limit")))
    pointers = ("x", "y") if separate else ("x",)
    steps.append(Step("store", "", (pointers[-1], steps[-1].result)))
    scalars = ("factor", "shift", "limit") if activation == CLIP else ("factor", "shift")
    return NormStreams(
        Stream("pulp_norm_sums", ("x",), (), ("total", "squares"), sums),
        Stream("pulp_norm_apply", pointers, scalars, (), tuple(steps)),
        Stream("pulp_norm_deviations", ("x",), ("mean",), ("total", "squares"), careful),
    )


def _masked(activation: int, source: str = "g") -> tuple[list[Step], str]:
    """Loads of data and gradient, and the gradient where the activation is open."""
    steps = [Step("load", "value", ("x",)), Step("load", "gradient", (source,))]
    if activation == NONE:
        return steps, "gradient"
    steps.append(Step("multiply_add", "normal", ("value", "factor", "shift")))
    if activation == RELU:
        steps.append(Step("where_positive", "open", ("normal", "gradient")))
    else:
        steps.append(Step("where_between", "open", ("normal", "gradient", "last")))
    return steps, "open"


def mask_scalars(activation: int) -> tuple[str, ...]:
    """Return the scalars that a mask is computed by, the first of each stream that masks a gradient."""
    return {NONE: (), RELU: ("factor", "shift"), CLIP: ("factor", "shift", "last")}[activation]


def _backward_streams(activation: int, resident: bool, separate: bool) -> NormStreams:
    keeps = resident and activation != NONE  # the masked gradient, for the second sweep
    result_at = "r" if separate else "g"

    def sums(name: str, careful: bool) -> Stream:
        masked, gradient = _masked(activation)
        kept = [Step("store", "", (result_at, gradient))] if keeps else []
        total = Step("add", "total", ("total", gradient))
        deviation = [Step("subtract", "deviation", ("value", "mean"))] if careful else []
        factor = "deviation" if careful else "value"
        product = Step("multiply_add", "products", (gradient, factor, "products"))
        scalars = (*mask_scalars(activation), "mean") if careful else mask_scalars(activation)
        pointers = dict.fromkeys(("x", "g", result_at) if keeps else ("x", "g"))
        body = (*masked, *kept, total, *deviation, product)
        return Stream(name, (*pointers,), scalars, ("total", "products"), body)

    # in a resident tile the gradient has been masked by the first sweep
    source = result_at if keeps else "g"
    masks = not resident and activation != NONE
    masked, gradient = _masked(activation if masks else NONE, source)
    weight = "factor" if masks else "weight"  # the factor of the normalisation is that of the gradient
    steps = [
        *masked,
        Step("multiply_add", "moved", ("value", "slope", "move")),
        Step("multiply_add", "result", (gradient, weight, "moved")),
        Step("store", "", (result_at, "result")),
    ]
    scalars = (*mask_scalars(activation), "slope", "move") if masks else ("slope", "move", "weight")
    pointers = dict.fromkeys(("x", source, result_at))
    return NormStreams(
        sums("pulp_norm_sums", careful=False),
        Stream("pulp_norm_gradient", (*pointers,), scalars, (), tuple(steps)),
        sums("pulp_norm_careful_sums", careful=True),
    )


def streams(s: NormSizes, resident: bool, separate: bool = False) -> NormStreams:
    """Return the sweeps over the elements.

    Parameters
    ----------
    s
        Sizes.
    resident
        Whether all elements of a channel are there in each sweep.
    separate
        Whether results go to a place of their own: forward a pointer ``y``, backward ``r``, which also takes
        the masked gradient of a resident tile.
    """
    if s.backward:
        return _backward_streams(s.activation, resident, separate)
    return _forward_streams(s.activation, separate)


def cycles_an_element(s: NormSizes, resident: bool) -> list[float]:
    """Return for each sweep the cycles that a worker takes for an element: two workers share a FPU."""
    found = []
    loops = streams(s, resident)
    for stream in (loops.sums, loops.results):
        floats = sum(step.operation in ("add", "subtract", "multiply_add") for step in stream.body)
        found.append(float(max(instructions(stream), 2 * floats)))
    return found
