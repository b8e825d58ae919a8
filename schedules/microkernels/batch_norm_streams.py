"""Sweeps over the elements of a channel that batch normalisation in training mode is made of.

Forward: the sum and the sum of squares, then ``y = activation(x * factor + shift)``. Backward: the sums of
the gradient g (where the activation let its input through) and of ``g * x``, then
``dx = g * factor + x * slope + shift``. Where the sums of squares or products would lose too much to the
mean, a *careful* sweep subtracts it from each element first.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from tvm_pulp.schedules.microkernels.joined_stream import join_streams
from tvm_pulp.schedules.microkernels.stream_definition import Step, Stream, instructions

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


class Kept(Enum):
    """Which elements stay in L1 from the first sweep to the second, with what the first has made of them."""

    NONE = 0
    SOME = 1
    ALL = 2


@dataclass(frozen=True)
class NormStreams:
    """The loops of a batch norm: sums, results, and the careful form of the sums.

    ``kept_results`` gives the results of elements that have stayed in L1, where only some have and these are
    treated differently.
    """

    sums: Stream
    results: Stream
    careful: Stream
    kept_results: Stream | None = None

    def all(self) -> list[Stream]:
        """Return all that there are."""
        return [s for s in (self.sums, self.careful, self.kept_results, self.results) if s is not None]


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
    if activation == CLIP:
        steps.append(Step("clip", "clipped", (steps[-1].result, "limit")))
    elif activation != NONE:
        steps.append(Step("rectify", "positive", (steps[-1].result,)))
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


def _backward_streams(activation: int, kept: Kept, separate: bool) -> NormStreams:
    keeps = kept is not Kept.NONE and activation != NONE  # the masked gradient, for the second sweep
    result_at = "r" if separate else "g"

    def sums(name: str, careful: bool) -> Stream:
        masked, gradient = _masked(activation)
        store = [Step("store", "", (result_at, gradient))] if keeps else []
        total = Step("add", "total", ("total", gradient))
        deviation = [Step("subtract", "deviation", ("value", "mean"))] if careful else []
        factor = "deviation" if careful else "value"
        product = Step("multiply_add", "products", (gradient, factor, "products"))
        scalars = (*mask_scalars(activation), "mean") if careful else mask_scalars(activation)
        pointers = dict.fromkeys(("x", "g", result_at) if keeps else ("x", "g"))
        body = (*masked, *store, total, *deviation, product)
        return Stream(name, (*pointers,), scalars, ("total", "products"), body)

    def results(name: str, masks: bool) -> Stream:
        source = result_at if keeps and not masks else "g"
        masked, gradient = _masked(activation if masks else NONE, source)
        weight = "factor" if masks else "weight"  # the factor of the normalisation is that of the gradient
        steps = (
            *masked,
            Step("multiply_add", "moved", ("value", "slope", "move")),
            Step("multiply_add", "result", (gradient, weight, "moved")),
            Step("store", "", (result_at, "result")),
        )
        scalars = (*mask_scalars(activation), "slope", "move") if masks else ("slope", "move", "weight")
        return Stream(name, (*dict.fromkeys(("x", source, result_at)),), scalars, (), steps)

    both = keeps and kept is Kept.SOME
    return NormStreams(
        sums("pulp_norm_sums", careful=False),
        results("pulp_norm_gradient", masks=activation != NONE and kept is not Kept.ALL),
        sums("pulp_norm_careful_sums", careful=True),
        results("pulp_norm_kept_gradient", masks=False) if both else None,
    )


def streams(s: NormSizes, kept: Kept, separate: bool = False) -> NormStreams:
    """Return the sweeps over the elements.

    Parameters
    ----------
    s
        Sizes.
    kept
        Which elements stay in L1 between the sweeps.
    separate
        Whether results go to a place of their own: forward a pointer ``y``, backward ``r``, which also takes
        the masked gradient of what is kept.
    """
    if s.backward:
        return _backward_streams(s.activation, kept, separate)
    return _forward_streams(s.activation, separate)


def both_sweeps(s: NormSizes) -> Stream:
    """Return the loop that sums up some elements and gives the results of as many others (forward)."""
    loops = _forward_streams(s.activation, separate=False)
    return join_streams("pulp_norm_both", loops.sums, loops.results)


def cycles_an_element(s: NormSizes, kept: Kept) -> tuple[float, float, float]:
    """Return the cycles that a worker takes for an element: sums, results, and results of what was kept."""

    def cycles(stream: Stream) -> float:
        """Count instructions; two workers share a FPU."""
        floats = sum(step.operation in ("add", "subtract", "multiply_add") for step in stream.body)
        return float(max(instructions(stream), 2 * floats))

    loops = streams(s, kept)
    return cycles(loops.sums), cycles(loops.results), cycles(loops.kept_results or loops.results)
