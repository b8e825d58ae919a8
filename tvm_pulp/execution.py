"""Train or infer with a package, batch after batch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tqdm import tqdm

from tvm_pulp.batches import load_batches
from tvm_pulp.package.metadata import Metadata
from tvm_pulp.package.package import Package
from tvm_pulp.replay_slots import ReplaySlots
from tvm_pulp.runners.base import FunctionRun, Runner, Session
from tvm_pulp.target.errors import UserError
from tvm_pulp.target.functions import REPLAY_LABELS, STORE_REPLAYS

KEPT = ("parameter", "state", "replays")  # kinds of tensors that a run hands on to the next one
GRADIENT = "gradient:"  # begins the name of a kept gradient, and of the state that accumulates one


@dataclass(frozen=True)
class StepResult:
    """One step.

    Attributes
    ----------
    loss : float
        Mean over the batch, before the update; NaN for infer and store_replays.
    output : ndarray, [samples, ...]
        Of the model: logits in training (of a pass's new samples, then of those replayed), as the model
        defines it in infer, nothing of store_replays.
    cycles : int
        On the cluster.
    kernel_cycles : mapping of str to ndarray
        By function, summed over its calls in the step.
    """

    loss: float
    output: np.ndarray
    cycles: int
    kernel_cycles: Mapping[str, np.ndarray]


@dataclass(frozen=True)
class RunResult:
    """All steps, and the tensors after the last one.

    Attributes
    ----------
    steps : tuple of StepResult
        In order.
    tensors : mapping of str to ndarray
        Parameters, running statistics and optimiser state after the last step.
    """

    steps: tuple[StepResult, ...]
    tensors: Mapping[str, np.ndarray]

    @property
    def losses(self) -> np.ndarray:
        """Loss of every step, float64 `[steps]`."""
        return np.array([step.loss for step in self.steps])

    @property
    def cycles(self) -> np.ndarray:
        """Cycles of every step, int64 `[steps]`."""
        return np.array([step.cycles for step in self.steps], np.int64)

    @property
    def outputs(self) -> np.ndarray:
        """Outputs of all samples, `[samples, ...]`."""
        return np.concatenate([step.output for step in self.steps])


def run(
    package: Package,
    inputs: str | Path | Mapping[str, np.ndarray],
    steps: int | None = None,
    *,
    function: str | None = None,
    tensors: Mapping[str, np.ndarray] | None = None,
    runner: Runner | None = None,
    progress: bool = False,
) -> RunResult:
    """Run a package over samples.

    Parameters
    ----------
    package : Package
        Compiled network.
    inputs : path or mapping
        npz file or arrays: one under each input's name, `[samples, ...]`, and "labels" to train or to store.
        Where there is a replay store, "replay_indices" or "replay_slots" may say which slots, see
        `ReplaySlots`.
    steps : int or None
        How many; None: one pass over the samples.
    function : str or None
        "train_step" (default of a package that trains), "infer", or "store_replays", which fills the replay
        store.
    tensors : mapping or None
        Parameters, optimiser state and replay store to start from, as an earlier run gave them.
    runner : Runner or None
        Where; None: the built-in simulator.
    progress : bool
        Show a progress bar.

    Raises
    ------
    UserError
        Inputs that do not fit the model; a run that fails.
    """
    metadata = package.metadata
    function = _function(metadata, function)
    batch = samples_of_step(metadata, function)
    batches = load_batches(inputs, metadata, function, batch)
    if steps is None:
        steps = -(-len(batches) // batch)
    if steps < 1:
        raise UserError(f"--steps {steps}: at least one step is needed")
    session = start(package, runner)
    restore(session, metadata, tensors or {})
    where = "the inputs" if isinstance(inputs, Mapping) else str(inputs)
    slots = replay_slots(session, metadata, function, batches.slots, where)
    results = []
    for index in tqdm(range(steps), desc=function, unit="step", disable=not progress):
        samples = batches.step(index) | ({} if slots is None else {slots.name: slots.step(index)})
        results.append(step(session, metadata, samples, function))
    return RunResult(tuple(results), read_tensors(session, metadata))


def samples_of_step(metadata: Metadata, function: str) -> int:
    """New samples that a step takes."""
    samples = {"infer": metadata.inference_batch, STORE_REPLAYS: metadata.micro_batch}
    return samples.get(function, metadata.batch)


def replay_slots(
    session: Session, metadata: Metadata, function: str, given: np.ndarray | None, where: str
) -> ReplaySlots | None:
    """Choose slots of the replay store for the steps of a run; None where they need none."""
    if function == "infer" or not metadata.of_kind("slots"):
        return None
    labels = session.read(metadata.tensor("replays", REPLAY_LABELS))
    return ReplaySlots(metadata, function, given, labels, where)


def start(package: Package, runner: Runner | None) -> Session:
    """Open a session, on the built-in simulator if no runner is given."""
    if runner is None:
        from tvm_pulp.runners.simulator import SimulatorRunner

        runner = SimulatorRunner()
    return runner.start(package)


def restore(session: Session, metadata: Metadata, tensors: Mapping[str, np.ndarray]) -> None:
    """Write parameters, optimiser state and replay store by name.

    Raises
    ------
    UserError
        On a name or a shape that the package does not have.
    """
    known = {t.name: t for t in metadata.of_kind(*KEPT)}
    for name, values in tensors.items():
        if name not in known:
            raise UserError(f"the package has no tensor {name!r}; it has {', '.join(known)}")
        if np.shape(values) != known[name].shape:
            raise UserError(
                f"{name!r} has shape {list(np.shape(values))}; it must be {list(known[name].shape)}"
            )
        session.write(known[name], values)


def read_tensors(session: Session, metadata: Metadata) -> dict[str, np.ndarray]:
    """Parameters, running statistics, optimiser state, replay store and kept gradients by name.

    The accumulators of micro-batches are left out: they are zero between steps.
    """
    kinds = {**dict.fromkeys(KEPT, ""), "gradient": GRADIENT}
    tensors = [t for t in metadata.of_kind(*kinds) if not (t.kind == "state" and t.name.startswith(GRADIENT))]
    return {kinds[t.kind] + t.name: session.read(t) for t in tensors}


def step(
    session: Session, metadata: Metadata, samples: Mapping[str, np.ndarray], function: str
) -> StepResult:
    """One batch: one call, or micro-batches and an update."""
    if function == "infer":
        return _infer(session, metadata, samples)
    if function == STORE_REPLAYS:
        return _store(session, metadata, samples)
    if "train_step" in metadata.functions:
        runs, loss, output = _call(session, metadata, samples, "train_step")
        return StepResult(loss, output, runs.cycles, {"train_step": runs.kernel_cycles})
    losses, outputs, calls = [], [], []
    for part in _micro_batches(samples, metadata.batch // metadata.micro_batch):
        runs, loss, output = _call(session, metadata, part, "gradient_step")
        losses.append(loss)
        outputs.append(output)
        calls.append(runs)
    update = session.call("update_step")
    kernels = {
        "gradient_step": np.sum([c.kernel_cycles for c in calls], axis=0),
        "update_step": update.kernel_cycles,
    }
    cycles = sum(c.cycles for c in calls) + update.cycles
    return StepResult(float(np.sum(losses)), np.concatenate(outputs), cycles, kernels)


def _function(metadata: Metadata, function: str | None) -> str:
    trains = metadata.train is not None
    function = function or ("train_step" if trains else "infer")
    if function not in ("train_step", "infer", STORE_REPLAYS):
        raise UserError(f"no function {function!r}; there are train_step, infer and {STORE_REPLAYS}")
    if function == "train_step" and not trains:
        raise UserError("the package was compiled for inference only; compile it with --train")
    if function == STORE_REPLAYS and STORE_REPLAYS not in metadata.functions:
        raise UserError("the package has no replay store; compile it with --replays")
    return function


def _micro_batches(samples: Mapping[str, np.ndarray], count: int) -> Iterator[dict[str, np.ndarray]]:
    """Cut each array into as many equal parts."""
    for number in range(count):
        yield {name: np.split(array, count)[number] for name, array in samples.items()}


def _call(
    session: Session, metadata: Metadata, samples: Mapping[str, np.ndarray], function: str
) -> tuple[FunctionRun, float, np.ndarray]:
    _write(session, metadata, samples)
    result = session.call(function)
    loss = float(session.read(metadata.of_kind("loss")[0])[0])
    return result, loss, session.read(metadata.of_kind("output")[0])


def _write(session: Session, metadata: Metadata, samples: Mapping[str, np.ndarray]) -> None:
    for tensor in metadata.of_kind("input", "labels", "slots"):
        if tensor.name in samples:
            session.write(tensor, samples[tensor.name])


def _store(session: Session, metadata: Metadata, samples: Mapping[str, np.ndarray]) -> StepResult:
    _write(session, metadata, samples)
    result = session.call(STORE_REPLAYS)
    nothing = np.zeros((0, *metadata.of_kind("output")[0].shape[1:]), np.float32)
    return StepResult(float("nan"), nothing, result.cycles, {STORE_REPLAYS: result.kernel_cycles})


def _infer(session: Session, metadata: Metadata, samples: Mapping[str, np.ndarray]) -> StepResult:
    _write(session, metadata, samples)
    result = session.call("infer")
    tensor = metadata.of_kind("output")[0]
    count = metadata.inference_batch
    output = session.read(tensor).reshape(-1)
    per_sample = tensor.elements // tensor.shape[0]
    values = output[: count * per_sample].reshape(count, *tensor.shape[1:])
    return StepResult(float("nan"), values, result.cycles, {"infer": result.kernel_cycles})
