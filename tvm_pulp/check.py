"""Compare training on the cluster with PyTorch, tensor by tensor."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from tvm_pulp.batches import load_batches
from tvm_pulp.comparison import LOSS_TOLERANCE, TENSOR_TOLERANCE, CheckReport, Rows
from tvm_pulp.execution import RunResult, read_tensors, start, step
from tvm_pulp.oracle import Oracle
from tvm_pulp.oracle.integer import integer_output
from tvm_pulp.package.forward import model_from_json
from tvm_pulp.package.integer_graph import read_integer_graph
from tvm_pulp.package.package import Package
from tvm_pulp.passes.model import Model
from tvm_pulp.passes.train_config import TrainConfig
from tvm_pulp.runners.base import Runner
from tvm_pulp.runners.simulator import SimulatorRunner
from tvm_pulp.target.errors import UserError


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
    results, reference_losses = [], []
    for index in tqdm(range(steps), desc="check", unit="step", disable=not progress):
        samples = batches.step(index)
        labels = latents(samples), samples["labels"]
        before = read_tensors(session, metadata)
        stepwise.load(before)
        exact.load(before)
        result = step(session, metadata, samples, "train_step")
        expected, precise = stepwise.step(*labels), exact.step(*labels)
        reference = free.step(*labels)
        results.append(result)
        reference_losses.append(reference.loss)
        rows.add("loss", np.array(result.loss), np.array(reference.loss), LOSS_TOLERANCE, index)
        rows.add("output", result.output, expected.output, TENSOR_TOLERANCE, index, precise.output)
        actual = read_tensors(session, metadata)
        values = {**precise.gradients_by_name(), **exact.tensors()}
        for name, value in {**expected.gradients_by_name(), **stepwise.tensors()}.items():
            if name in actual:
                rows.add(name, actual[name], value, TENSOR_TOLERANCE, index, values[name])
    run = RunResult(tuple(results), read_tensors(session, metadata))
    return CheckReport(rows.rows(), run, np.array(reference_losses))


def _inputs(samples: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Samples less their labels."""
    return {name: array for name, array in samples.items() if name != "labels"}


def _latents(package: Package, model: Model) -> Callable[[Mapping[str, np.ndarray]], dict[str, np.ndarray]]:
    """Return what computes the trained part's input in NumPy, as the integer graph in the package does."""
    graph = read_integer_graph(package.directory / "src")

    def latents(samples: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        return {model.inputs[0]: integer_output(graph, _inputs(samples))}

    return latents
