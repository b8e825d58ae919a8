import dataclasses
from unittest import mock

import pytest
import torch

from examples.models import mobilenet_digits
from tests.passes.replay_training import built
from tvm_pulp.frontends import load_model
from tvm_pulp.passes.plan_memory import plan_memory
from tvm_pulp.passes.train_config import TrainConfig
from tvm_pulp.passes.training_graph import build_training
from tvm_pulp.reports.plan import plan_report
from tvm_pulp.target import features, parse
from tvm_pulp.target.errors import UserError
from tvm_pulp.target.kernel import Kernel
from tvm_pulp.target.tvm_names import PrimFunc


@pytest.fixture(scope="module")
def graph():
    exported = torch.export.export(mobilenet_digits().train(), (torch.zeros(8, 1, 32, 32),))
    return build_training(load_model(exported), TrainConfig(batch_size=8, momentum=0.9))


@pytest.fixture(scope="module")
def kernels(graph):
    functions = {v.name_hint: f for v, f in graph.module.functions.items() if isinstance(f, PrimFunc)}
    return {
        name: Kernel(name, str(function.attrs["pulp.layer"]), 0, 1000, "", "")
        for name, function in functions.items()
    }


@pytest.fixture(scope="module")
def chip():
    return features(parse("pulp"))


@pytest.fixture(scope="module")
def plan(graph, kernels, chip):
    return plan_memory(graph, kernels, chip)


def test_activations_alive_together_do_not_overlap(plan):
    for function in plan.functions:
        buffers = {b.name: b for c in function.calls for b in c.arguments if b.kind == "activation"}
        placed = list(buffers.values())
        assert placed
        for i, a in enumerate(placed):
            assert a.offset + a.bytes <= function.arena_bytes <= plan.arena_bytes
            for b in placed[:i]:
                together = a.first <= b.last and b.first <= a.last
                assert not together or a.offset + a.bytes <= b.offset or b.offset + b.bytes <= a.offset


def test_every_tensor_of_the_model_has_a_symbol(plan, graph):
    named = {(b.kind, b.name) for b in plan.buffers}
    assert {("parameter", name) for name in graph.model.parameters} <= named
    assert {("state", name) for name in graph.states} <= named
    assert {("labels", "labels"), ("loss", "loss"), ("output", "0"), ("input", "x")} <= named


def test_the_arena_is_shared_over_time(plan):
    function = next(f for f in plan.functions if f.name == "train_step")
    buffers = {b.name: b for c in function.calls for b in c.arguments if b.kind == "activation"}
    assert function.arena_bytes < 0.75 * sum(b.bytes for b in buffers.values())


def test_the_report_names_everything(plan, graph):
    text = plan_report(plan)
    assert all(name in text for name in graph.model.parameters)
    assert f"arena of {plan.functions[0].arena_bytes} bytes" in text


@pytest.fixture(scope="module")
def kernels_in_l1(graph, kernels):
    """Kernels that need no scratch where all their tensors are in L1."""
    functions = {v.name_hint: f for v, f in graph.module.functions.items() if isinstance(f, PrimFunc)}
    return {
        name: dataclasses.replace(
            kernel,
            moved=(True,) * len(functions[name].params),
            in_l1=dataclasses.replace(kernel, name=f"{name}_in_l1", l1_bytes=0),
        )
        for name, kernel in kernels.items()
    }


def test_calls_on_tensors_in_l1_take_the_kernel_for_it(graph, kernels_in_l1, chip):
    plan = plan_memory(graph, kernels_in_l1, chip)
    assert plan.l1_bytes <= chip.kernel_l1_bytes
    for function in plan.functions:
        in_l1 = [call for call in function.calls if call.kernel.endswith("_in_l1")]
        assert in_l1
        assert function.name == "infer" or len(in_l1) < len(function.calls), "the stem does not fit"
        assert all(buffer.level == "L1" for call in in_l1 for buffer in call.arguments)
        others = [call for call in function.calls if not call.kernel.endswith("_in_l1")]
        assert all(buffer.level == "L2" for call in others for buffer in call.arguments)


def test_what_never_leaves_l1_takes_no_l2(graph, kernels_in_l1, chip):
    plan = plan_memory(graph, kernels_in_l1, chip)
    function = next(f for f in plan.functions if f.name == "train_step")
    moved = {transfer.tensor.name for transfer in function.transfers}
    resident = {b.name for c in function.calls for b in c.arguments if b.kind == "activation"} - moved
    in_l2 = {b.name for c in function.calls for b in c.arguments if b.level == "L2"}
    only_in_l1 = resident - in_l2
    assert only_in_l1
    assert all(t.tensor.offset is None or t.tensor.offset < function.arena_bytes for t in function.transfers)


def test_the_report_has_the_tensors_in_l1(graph, kernels_in_l1, chip):
    plan = plan_memory(graph, kernels_in_l1, chip)
    text = plan_report(plan)
    table = text[text.index("train_step: tensors in L1 between kernels") :]
    stay = plan.functions[0].stays[-1]
    row = next(line for line in table.splitlines() if line.startswith(stay.buffer.name))
    assert str(stay.buffer.offset) in row.split()


def test_short_l2_says_what_is_missing_and_what_helps(graph, kernels, chip, plan):
    needed = plan.arena_bytes + sum(b.bytes for b in plan.buffers)
    with pytest.raises(UserError) as caught:
        plan_memory(graph, kernels, dataclasses.replace(chip, l2_bytes=needed - 100))
    text = str(caught.value)
    assert "L2 is 100 bytes short" in text
    assert "--micro-batch 4" in text and "-l2-bytes=" in text
    plan_memory(graph, kernels, dataclasses.replace(chip, l2_bytes=needed))


def test_short_l1_says_what_is_missing(graph, kernels, chip):
    large = {name: dataclasses.replace(k, l1_bytes=chip.kernel_l1_bytes + 16) for name, k in kernels.items()}
    with pytest.raises(UserError, match="L1 is 16 bytes short"):
        plan_memory(graph, large, chip)


@pytest.fixture(scope="module")
def with_replays():
    """A graph with a replay store of 200 samples of 180 latents, and kernels for it."""
    config = TrainConfig(batch_size=2, latent_layer="any", replays=200, replay_bits=8, replay_batch=4)
    graph, _, _ = built(config)
    functions = {v.name_hint: f for v, f in graph.module.functions.items() if isinstance(f, PrimFunc)}
    return graph, {name: Kernel(name, "", 0, 1000, "", "") for name in functions}


def test_the_replay_store_has_a_place_of_its_own(with_replays, chip):
    plan = plan_memory(*with_replays, chip)
    store = {b.name: b for b in plan.buffers if b.kind == "replays"}
    assert {name: (b.level, b.offset, b.bytes) for name, b in store.items()} == {
        "replay_latents": ("L2", None, 200 * 180),
        "replay_labels": ("L2", None, 200 * 4),
    }
    slots = {b.name: b.bytes for b in plan.buffers if b.kind == "slots"}
    assert slots == {"replay_indices": 4 * 4, "replay_slots": 2 * 4}
    assert [f.name for f in plan.functions] == ["train_step", "infer", "store_replays"]
    assert "replay_latents" in plan_report(plan)


def test_short_l2_says_how_many_replays_fit_or_of_how_many_bits(with_replays, chip):
    plan = plan_memory(*with_replays, chip)
    needed = plan.arena_bytes + sum(buffer.bytes for buffer in plan.buffers)
    short = dataclasses.replace(chip, l2_bytes=needed - 5000)
    with (
        mock.patch("tvm_pulp.passes.plan_memory._CODE_BYTES", 0),
        pytest.raises(UserError, match="36800 for stored replays") as error,
    ):
        plan_memory(*with_replays, short)
    # 5000 bytes are 27.2 samples of 184, and 6 bits of 180 latents take 135 bytes
    assert "what would help: --replays 172, --replay-bits 6, --replay-memory L3, " in str(error.value)
