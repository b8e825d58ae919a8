"""Compare training on the cluster with PyTorch, tensor by tensor."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from tvm_pulp.batches import Batches, load_batches
from tvm_pulp.comparison import LOSS_TOLERANCE, TENSOR_TOLERANCE, CheckReport, Rows
from tvm_pulp.execution import RunResult, read_tensors, replay_slots, samples_of_step, start, step
from tvm_pulp.oracle import Oracle
from tvm_pulp.oracle.integer import integer_output
from tvm_pulp.oracle.replay_store import ReplayStore
from tvm_pulp.package.forward import model_from_json
from tvm_pulp.package.integer_graph import read_integer_graph
from tvm_pulp.package.package import Package
from tvm_pulp.passes.model import Model
from tvm_pulp.passes.train_config import TrainConfig
from tvm_pulp.replay_slots import ReplaySlots, is_filled
from tvm_pulp.runners.base import Runner, Session
from tvm_pulp.runners.simulator import SimulatorRunner
from tvm_pulp.target.errors import UserError
from tvm_pulp.target.functions import REPLAY_LABELS, REPLAY_LATENTS, STORE_REPLAYS

FILLING_STEPS = 16
"""Steps that store samples before the check trains; a larger store is replayed from its first part."""


def check(
    package: Package,
    inputs: str | Path | Mapping[str, np.ndarray],
    steps: int = 1,
    *,
    runner: Runner | None = None,
    progress: bool = False,
) -> CheckReport:
    """Train `steps` batches on the cluster and in PyTorch.

    PyTorch judges in two ways. One run goes its own way from the same start: its losses are compared.
    Another takes over the cluster's parameters before each step, so that every tensor of every step is
    compared after one step of its own, and rounding of earlier steps does not pile up; the same step
    in float64 tells how far rounding alone puts PyTorch off.

    A replay store is filled with the samples first, on the cluster and in NumPy: its bytes must be equal.

    Parameters
    ----------
    package : Package
        Compiled with `train`.
    inputs : path or mapping
        As for `Package.run`.
    steps : int
        Batches.
    runner : Runner or None
        None: the built-in simulator, functional (what it computes does not depend on cycles).

    Raises
    ------
    UserError
        If the package does not train, or the inputs do not fit.
    """
    metadata = package.metadata
    if metadata.train is None:
        raise UserError(
            "the package was compiled for inference only; compile it with --train to check its training"
        )
    if steps < 1:
        raise UserError(f"--steps {steps}: at least one step is needed")
    batches = load_batches(inputs, metadata, "train_step", metadata.batch)
    content = json.loads((package.directory / "src" / "forward.json").read_text())
    model = model_from_json(content, package.initial_tensors())
    train = dict(metadata.train)
    train["trainable"] = tuple(train["trainable"])
    config = TrainConfig(**train)
    free = Oracle(model, config, metadata.trainable)
    stepwise = Oracle(model, config, metadata.trainable)
    exact = Oracle(model, config, metadata.trainable, dtype=torch.float64)
    latents = _latents(package, model) if config.latent_layer is not None else _inputs
    session = start(package, runner or SimulatorRunner(timing=False))
    rows = Rows()
    store = None if config.replays is None else _filled_store(package, session, batches, config)
    where = "the inputs" if isinstance(inputs, Mapping) else str(inputs)
    slots = replay_slots(session, metadata, "train_step", batches.slots, where)
    results, reference_losses = [], []
    for index in tqdm(range(steps), desc="check", unit="step", disable=not progress):
        samples = batches.step(index)
        judged = latents(samples), samples["labels"]
        if store is not None and slots is not None:
            samples |= {slots.name: slots.step(index)}
            judged = _with_replays(*judged, store, slots.step(index), config)
        before = read_tensors(session, metadata)
        stepwise.load(before)
        exact.load(before)
        result = step(session, metadata, samples, "train_step")
        expected, precise = stepwise.step(*judged), exact.step(*judged)
        reference = free.step(*judged)
        results.append(result)
        reference_losses.append(reference.loss)
        rows.add("loss", np.array(result.loss), np.array(reference.loss), LOSS_TOLERANCE, index)
        rows.add("output", result.output, expected.output, TENSOR_TOLERANCE, index, precise.output)
        actual = read_tensors(session, metadata)
        if store is not None:
            filled = is_filled(store.labels)
            rows.add(REPLAY_LATENTS, actual[REPLAY_LATENTS][filled], store.latents[filled], 0.0, index)
            rows.add(REPLAY_LABELS, actual[REPLAY_LABELS], store.labels, 0.0, index)
        values = {**precise.gradients_by_name(), **exact.tensors()}
        for name, value in {**expected.gradients_by_name(), **stepwise.tensors()}.items():
            if name in actual:
                rows.add(name, actual[name], value, TENSOR_TOLERANCE, index, values[name])
    run = RunResult(tuple(results), read_tensors(session, metadata))
    return CheckReport(rows.rows(), run, np.array(reference_losses))


def _filled_store(package: Package, session: Session, batches: Batches, config: TrainConfig) -> ReplayStore:
    """Fill the replay store on the cluster, and the same in NumPy."""
    metadata = package.metadata
    empty = session.read(metadata.tensor("replays", REPLAY_LABELS))
    store = ReplayStore(read_integer_graph(package.directory / "src"), config.replay_bits, empty)
    slots = ReplaySlots(metadata, STORE_REPLAYS, None, empty, "")
    size = samples_of_step(metadata, STORE_REPLAYS)
    filling = dataclasses.replace(batches, batch=size)
    for index in range(min(-(-len(empty) // size), FILLING_STEPS)):
        samples = filling.step(index)
        store.store(_inputs(samples), samples["labels"], slots.step(index))
        step(session, metadata, samples | {slots.name: slots.step(index)}, STORE_REPLAYS)
    return store


def _with_replays(
    inputs: Mapping[str, np.ndarray],
    labels: np.ndarray,
    store: ReplayStore,
    slots: np.ndarray,
    config: TrainConfig,
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Put the replayed latents and labels of each micro-batch behind its new ones."""
    (name,) = inputs
    replayed = store.replay(slots)

    def joined(new: np.ndarray, old: np.ndarray) -> np.ndarray:
        parts = zip(np.split(new, config.passes_per_step), np.split(old, config.passes_per_step), strict=True)
        return np.concatenate([part for pair in parts for part in pair])

    return {name: joined(inputs[name], replayed[0])}, joined(labels, replayed[1])


def _inputs(samples: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Samples less their labels."""
    return {name: array for name, array in samples.items() if name != "labels"}


def _latents(package: Package, model: Model) -> Callable[[Mapping[str, np.ndarray]], dict[str, np.ndarray]]:
    """Return what computes the trained part's input in NumPy, as the integer graph in the package does."""
    graph = read_integer_graph(package.directory / "src")

    def latents(samples: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        return {model.inputs[0]: integer_output(graph, _inputs(samples))}

    return latents
