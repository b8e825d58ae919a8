"""Sweeps over the elements of a channel that batch normalisation in training mode is made of.

Forward: the sum, the squared deviations from the mean, then ``y = activation(x * factor + shift)``.
Backward: with ``d = x - mean`` the sums of the gradient g (where the activation let its input through) and of
``g * d``, then ``dx = g * factor + d * slope + shift``.
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

    @property
    def sweeps(self) -> int:
        """Sweeps over the data."""
        return 2 if self.backward else 3


def _forward_streams(activation: int, separate: bool) -> list[Stream]:
    load = Step("load", "value", ("x",))
    total = Stream("pulp_norm_sum", ("x",), (), ("total",), (load, Step("add", "total", ("total", "value"))))
    deviations = Stream(
        "pulp_norm_deviations",
        ("x",),
        ("mean",),
        ("total",),
        (
            load,
            Step("subtract", "deviation", ("value", "mean")),
            Step("multiply_add", "total", ("deviation", "deviation", "total")),
        ),
    )
    steps = [load, Step("multiply_add", "normal", ("value", "factor", "shift"))]
    if activation != NONE:
        steps.append(Step("rectify", "positive", (steps[-1].result,)))
    if activation == CLIP:
        steps.append(Step("limit", "limited", (steps[-1].result, "limit")))
    pointers = ("x", "y") if separate else ("x",)
    steps.append(Step("store", "", (pointers[-1], steps[-1].result)))
    scalars = ("factor", "shift", "limit") if activation == CLIP else ("factor", "shift")
    return [total, deviations, Stream("pulp_norm_apply", pointers, scalars, (), tuple(steps))]


def _masked(activation: int, source: str = "g") -> tuple[list[Step], str]:
    """Loads of data and gradient, the deviation, and the gradient where the activation is open."""
    steps = [Step("load", "value", ("x",)), Step("load", "gradient", (source,))]
    if activation == NONE:
        return [*steps, Step("subtract", "deviation", ("value", "mean"))], "gradient"
    steps.append(Step("multiply_add", "normal", ("value", "factor", "shift")))
    steps.append(Step("subtract", "deviation", ("value", "mean")))
    if activation == RELU:
        steps.append(Step("where_positive", "open", ("normal", "gradient")))
    else:
        steps.append(Step("where_between", "open", ("normal", "gradient", "last")))
    return steps, "open"


def _mask_scalars(activation: int) -> tuple[str, ...]:
    return {NONE: (), RELU: ("factor", "shift"), CLIP: ("factor", "shift", "last")}[activation]


def _backward_streams(activation: int, resident: bool, separate: bool) -> list[Stream]:
    masked, gradient = _masked(activation)
    keeps = resident and activation != NONE  # the masked gradient, for the second sweep
    result_at = "r" if separate else "g"
    sums = [
        Step("add", "total", ("total", gradient)),
        Step("multiply_add", "products", (gradient, "deviation", "products")),
    ]
    kept = [Step("store", "", (result_at, gradient))] if keeps else []
    scalars = ("mean", *_mask_scalars(activation))
    pointers = dict.fromkeys(("x", "g", result_at) if keeps else ("x", "g"))
    first = Stream("pulp_norm_sums", (*pointers,), scalars, ("total", "products"), (*masked, *kept, *sums))
    # in a resident tile the gradient has been masked by the first sweep
    source = result_at if keeps else "g"
    masked, gradient = _masked(NONE if resident else activation, source)
    result = [
        Step("multiply_add", "moved", ("deviation", "slope", "move")),
        Step("multiply_add", "result", (gradient, "weight", "moved")),
        Step("store", "", (result_at, "result")),
    ]
    scalars = ("mean", "slope", "move")
    if resident or activation == NONE:
        scalars += ("weight",)
    else:  # the factor of the normalisation is that of the gradient
        scalars += _mask_scalars(activation)
        result[1] = Step("multiply_add", "result", (gradient, "factor", "moved"))
    pointers = dict.fromkeys(("x", source, result_at))
    return [first, Stream("pulp_norm_gradient", (*pointers,), scalars, (), (*masked, *result))]


def streams(s: NormSizes, resident: bool, separate: bool = False) -> list[Stream]:
    """Return the sweeps over the elements, in order.

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
    for stream in streams(s, resident):
        floats = sum(step.operation in ("add", "subtract", "multiply_add") for step in stream.body)
        found.append(float(max(instructions(stream), 2 * floats)))
    return found
