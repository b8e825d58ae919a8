"""A replay store in L3: its place, and when a function fetches or stores rows of it."""

from __future__ import annotations

import dataclasses

import pytest

from tests.passes.replay_training import built
from tvm_pulp.passes.plan_memory import plan_memory
from tvm_pulp.passes.train_config import TrainConfig
from tvm_pulp.reports.plan import plan_report
from tvm_pulp.target import Features, features, parse
from tvm_pulp.target.errors import UserError
from tvm_pulp.target.kernel import Kernel
from tvm_pulp.target.plan import MemoryPlan
from tvm_pulp.target.tvm_names import PrimFunc

CONFIG = TrainConfig(
    batch_size=4, micro_batch=2, latent_layer="any", replays=200, replay_batch=6, replay_memory="L3"
)


def planned(chip: Features) -> MemoryPlan:
    graph, _, _ = built(CONFIG)
    functions = {v.name_hint: f for v, f in graph.module.functions.items() if isinstance(f, PrimFunc)}
    return plan_memory(graph, {name: Kernel(name, "", 0, 1000, "", "") for name in functions}, chip)


@pytest.fixture(scope="module")
def plan() -> MemoryPlan:
    return planned(features(parse("pulp")))


def test_latents_are_in_l3_and_labels_in_l2(plan: MemoryPlan) -> None:
    store = {b.name: (b.level, b.offset, b.bytes) for b in plan.buffers if b.kind == "replays"}
    assert store == {"replay_latents": ("L3", 16, 200 * 180), "replay_labels": ("L2", None, 200 * 4)}
    assert plan.named_bytes("L3") == 200 * 180
    (rows,) = (b for b in plan.buffers if b.kind == "rows")
    assert (rows.level, rows.shape) == ("L2", (3, 180))
    assert "L3: 36000 bytes" in plan_report(plan)


def test_rows_are_fetched_from_the_start_and_there_when_they_are_used(plan: MemoryPlan) -> None:
    step = next(f for f in plan.functions if f.name == "gradient_step")
    assert step.external is not None and step.external.to_l2
    assert (step.external.count, step.external.row_bytes, step.external.slots.name) == (
        3,
        180,
        "replay_indices",
    )
    first = next(n for n, c in enumerate(step.calls) if any(b.kind == "rows" for b in c.arguments))
    assert (step.external.start, step.external.ready) == (0, first)


def test_rows_are_stored_at_the_end(plan: MemoryPlan) -> None:
    store = next(f for f in plan.functions if f.name == "store_replays")
    assert store.external is not None and not store.external.to_l2
    assert (store.external.count, store.external.slots.name) == (2, "replay_slots")
    assert store.external.ready == len(store.calls)
    assert all(f.external is None for f in plan.functions if f.name in ("update_step", "infer"))


@pytest.mark.parametrize(
    ("l3_bytes", "helps"), [(18016, "--replays 100, -l3-bytes=65536"), (0, "-l3-bytes=65536")]
)
def test_short_l3_says_what_helps(l3_bytes: int, helps: str) -> None:
    chip = dataclasses.replace(features(parse("pulp")), l3_bytes=l3_bytes)
    with pytest.raises(UserError, match=r"L3 is .* bytes short: the stored replays need 36016") as error:
        planned(chip)
    assert str(error.value).endswith(f"what would help: {helps}")
