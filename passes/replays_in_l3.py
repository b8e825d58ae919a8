"""Plan a replay store in L3: which rows of it a function fetches or stores, and when."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from tvm_pulp.passes.train_config import TrainConfig
from tvm_pulp.target.functions import (
    REPLAY_INDICES,
    REPLAY_LATENTS,
    REPLAY_ROWS,
    REPLAY_SLOTS,
    STORE_REPLAYS,
)
from tvm_pulp.target.plan import L3_RESERVED_BYTES, Buffer, ExternalRows, FunctionPlan


def plan_replays_in_l3(
    functions: Sequence[FunctionPlan], named: Mapping[tuple[str, str], Buffer], config: TrainConfig
) -> tuple[list[FunctionPlan], Buffer]:
    """Add the copies of rows to the plans of functions that replay or store them.

    A step starts them first of all, and needs them where the rows are used or brought to L1.

    Parameters
    ----------
    functions : sequence of FunctionPlan
        Planned, with the rows as a named tensor in L2.
    named : mapping of (str, str) to Buffer
        Named tensors by kind and name.
    config : TrainConfig
        With a store in L3.

    Returns
    -------
    functions : list of FunctionPlan
    store : Buffer
        The tensor in L3.
    """
    assert config.replays is not None
    rows = named["rows", REPLAY_ROWS]
    shape = (config.replays, rows.shape[1])
    store = Buffer(
        REPLAY_LATENTS, "replays", "L3", L3_RESERVED_BYTES, shape[0] * shape[1], shape, rows.dtype, 0, 0
    )
    planned = []
    for function in functions:
        uses = [n for n, c in enumerate(function.calls) if REPLAY_ROWS in {b.name for b in c.arguments}]
        uses += [t.start for t in function.transfers if t.tensor.name == REPLAY_ROWS and t.to_l1]
        if uses and function.name == STORE_REPLAYS:
            end, slots = len(function.calls), named["slots", REPLAY_SLOTS]
            external = ExternalRows(store, rows, slots, config.samples_per_pass, False, end, end)
            function = replace(function, external=external)
        elif uses:
            indices, count = named["slots", REPLAY_INDICES], config.replays_per_pass
            function = replace(
                function, external=ExternalRows(store, rows, indices, count, True, 0, min(uses))
            )
        planned.append(function)
    return planned, store
