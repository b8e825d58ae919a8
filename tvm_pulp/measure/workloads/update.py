"""The optimiser's step."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from tvm_pulp.measure.specification import SOURCE, Key, Specification
from tvm_pulp.measure.workloads.workload import Cost, Kind, Workload
from tvm_pulp.passes.operators.update import sgd

MOMENTUM = 0.9


def _make_sgd(s: Specification) -> Workload:
    elements, momentum = s.number("elements"), s.word("momentum") == "yes"
    function = sgd("kernel", "sgd", (elements,), MOMENTUM if momentum else 0.0, 0.0, False)

    def expected(arrays: list[np.ndarray]) -> Mapping[int, np.ndarray]:
        parameter, gradient, rate, *velocity = (array.astype(np.float64) for array in arrays)
        if not momentum:
            return {0: parameter - rate * gradient}
        new = MOMENTUM * velocity[0] + gradient
        return {0: parameter - rate * new, 3: new}

    # a fused operation for each tensor that is written
    written = 2 if momentum else 1
    cost = Cost(float_operations=written * elements, instructions=elements * (3 * written + 1))
    return Workload(s, function, expected, cost, in_place=True)


KINDS = {"sgd": Kind([Key("elements"), Key("momentum", "no", ("no", "yes")), SOURCE], _make_sgd)}
