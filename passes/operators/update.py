"""Kernels that write parameters, optimiser state and gradient accumulators in place.

The step is that of `torch.optim.SGD` with dampening 0: ``v = momentum * v + (g + weight_decay * w)``,
``w = w - learning_rate * v``; without momentum ``v`` is the bracket.
"""

from __future__ import annotations

from tvm import te

from tvm_pulp.passes.operators.kernel import Scalar, Shape, argument, make_kernel, number
from tvm_pulp.target.tvm_names import PrimFunc


def sgd(
    layer: str, work: str, shape: Shape, momentum: float, weight_decay: float, clear_gradient: bool
) -> PrimFunc:
    """Make the kernel of an optimiser step.

    Parameters
    ----------
    layer, work
        See `make_kernel`.
    shape
        Of the parameter.
    momentum, weight_decay
        As in `TrainConfig`.
    clear_gradient
        The gradient is an accumulator, to be set to 0 after its use.

    Returns
    -------
    PrimFunc
        Operator class ``"sgd"``: parameter, gradient, learning rate ``[1]`` and, if `momentum` is not 0, the
        momentum. Parameter and momentum are overwritten, and the gradient if it is cleared.
    """
    parameter, gradient = argument("parameter", shape), argument("gradient", shape)
    rate = argument("learning_rate", (1,))
    arguments, outputs, in_place = [parameter, gradient, rate], [], {}

    def decayed(*i: Scalar) -> Scalar:
        return gradient(*i) + number(weight_decay) * parameter(*i) if weight_decay else gradient(*i)

    step = decayed
    if momentum:
        velocity = argument("momentum", shape)
        # The parameter is written from the new momentum, so that the two can be written one after the other
        new_velocity = te.compute(
            shape, lambda *i: number(momentum) * velocity(*i) + decayed(*i), name="new_momentum"
        )
        arguments.append(velocity)
        outputs.append(new_velocity)
        in_place[0] = 3
        step = new_velocity
    outputs.append(te.compute(shape, lambda *i: parameter(*i) - rate[0] * step(*i), name="new_parameter"))
    in_place[len(outputs) - 1] = 0
    if clear_gradient:
        outputs.append(te.compute(shape, lambda *i: number(0.0), name="cleared"))
        in_place[len(outputs) - 1] = 1
    return make_kernel(arguments, outputs, operator="sgd", layer=layer, work=work, in_place=in_place)


def accumulate(layer: str, work: str, shape: Shape) -> PrimFunc:
    """Make the kernel that adds a micro-batch's gradient to the accumulator.

    Returns
    -------
    PrimFunc
        Operator class ``"accumulate"``: accumulator, gradient; the accumulator is overwritten.
    """
    accumulator, gradient = argument("accumulator", shape), argument("gradient", shape)
    total = te.compute(shape, lambda *i: accumulator(*i) + gradient(*i), name="new_accumulator")
    return make_kernel(
        [accumulator, gradient], [total], operator="accumulate", layer=layer, work=work, in_place={0: 0}
    )
