"""The report of cycles and memory: which function ran, and where replays are."""

from __future__ import annotations

import numpy as np

from tests.tvm_pulp.examples_of_metadata import metadata
from tvm_pulp.execution import RunResult, StepResult
from tvm_pulp.package.metadata import KernelCall, Metadata, Tensor
from tvm_pulp.reports.times import time_report


def with_store(level: str) -> Metadata:
    plain = metadata()
    store = (
        Tensor("replay_latents", "replays", "network_replay_latents", (10, 12), "uint8", level),
        Tensor("replay_labels", "replays", "network_replay_labels", (10,), "int32"),
    )
    functions = {**plain.functions, "store_replays": (KernelCall("pack", "replay", 24),)}
    return metadata(tensors=(*plain.tensors, *store), functions=functions)


def ran(*functions: str) -> RunResult:
    cycles = {name: np.array([60], np.uint32) for name in functions}
    return RunResult((StepResult(1.0, np.zeros((4, 3)), 60, cycles),), {})


def test_a_store_in_l2_is_told_apart_from_parameters() -> None:
    report = time_report(with_store("L2"), ran("train_step"))
    assert report.startswith("train_step: 60 cycles a step")
    assert "L2 40 for parameters" in report and report.endswith("+ 160 for stored replays")


def test_a_store_in_l3_has_its_labels_in_l2() -> None:
    report = time_report(with_store("L3"), ran("train_step"))
    assert "L2 160 for parameters" in report
    assert report.endswith("+ 40 for stored replays, L3 120 for their latents")


def test_storing_is_reported_as_such() -> None:
    assert time_report(with_store("L2"), ran("store_replays")).startswith("store_replays: 60 cycles a step")
    assert ", 24 MAC, 0.40 MAC/cycle" in time_report(with_store("L2"), ran("store_replays"))


def test_without_replays_nothing_is_said_of_them() -> None:
    assert "replays" not in time_report(metadata(), ran("train_step"))
