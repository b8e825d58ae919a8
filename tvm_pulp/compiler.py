"""The whole way from a model to a package."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import tvm
from tqdm import tqdm

from tvm_pulp.build_graph import build_graph
from tvm_pulp.frontends import load_source
from tvm_pulp.make_kernels import make_kernels
from tvm_pulp.package.forward import model_to_json
from tvm_pulp.package.integer_graph import write_integer_graph
from tvm_pulp.package.metadata import KernelCall, Metadata, Tensor
from tvm_pulp.package.package import Package
from tvm_pulp.passes.fuse_epilogue import fuse_epilogue
from tvm_pulp.passes.pack_masks import pack_masks
from tvm_pulp.passes.plan_memory import arena_without_l1, plan_memory
from tvm_pulp.passes.quantized.float_operators import float_reasons
from tvm_pulp.passes.train_config import TrainConfig
from tvm_pulp.passes.training_graph import TrainingGraph
from tvm_pulp.quantization import Quantization
from tvm_pulp.reports.plan import plan_report
from tvm_pulp.target import features as target_features
from tvm_pulp.target import parse, project, toolchain
from tvm_pulp.target.errors import UserError
from tvm_pulp.target.features import Features
from tvm_pulp.target.kernel import Kernel
from tvm_pulp.target.plan import FunctionPlan, MemoryPlan
from tvm_pulp.target.symbols import symbol_of
from tvm_pulp.target.tvm_names import PrimFunc

INFERENCE_BATCH = 1
_LEAST_ARENA_SAVED = 0.1
"""Share of the arena for which masks are worth their cycles."""


def compile(
    model: Any,
    target: str | Path | Mapping[str, Any] | tvm.target.Target = "pulp",
    train: TrainConfig | None = None,
    *,
    quantization: Quantization | None = None,
    input_shapes: Mapping[str, Sequence[int]] | None = None,
    model_format: str | None = None,
    module_name: str = "network",
    cross_compiler: str | None = None,
    cross_compiler_options: str | None = None,
    progress: bool = False,
) -> Package:
    """Compile a network for training (and inference) on a PULP cluster.

    Parameters
    ----------
    model : path, torch.export.ExportedProgram, torch.nn.Module with example inputs, or onnx.ModelProto
        The network, float32 or quantised.
    target : str, Path, mapping or Target
        "pulp -l2-bytes=33554432", JSON, a path to JSON, or the same as a dict.
    train : TrainConfig or None
        What to train and how; None compiles inference only.
    quantization : Quantization or None
        Infer in integers of 8 bits, calibrated on samples; with `train`: the layers up to
        `train.latent_layer` only.
    input_shapes : mapping or None
        For inputs with dynamic shapes.
    model_format : str or None
        "onnx", "pytorch" or "tflite" where the file's suffix does not tell.
    module_name : str
        Prefix of the C symbols.
    cross_compiler, cross_compiler_options : str or None
        C compiler for the chip; None: ziglang from pip.
    progress : bool
        Show a progress bar.

    Returns
    -------
    Package
        With sources and ELF, in a temporary folder until `Package.export`.

    Raises
    ------
    UserError
        A model that cannot be imported, trained or fitted; an unknown target or option; no toolchain.
    """
    if train is not None and train.keep_gradients and train.passes_per_step > 1:
        raise UserError("keep_gradients shows the gradients of one pass: leave micro_batch out to keep them")
    features = target_features(parse(target))
    tools = toolchain.find(cross_compiler, cross_compiler_options)
    imported = load_source(model, input_shapes=input_shapes, model_format=model_format)
    built = build_graph(imported, train, quantization)
    graph = _fuse(built.graph, features)
    count = sum(isinstance(function, PrimFunc) for function in graph.module.functions.values())
    bar = tqdm(total=3 * count, desc="compile", unit="kernel", disable=not progress, delay=1)
    kernels = make_kernels(graph.module, features, lambda: bar.update(2))
    plan = plan_memory(graph, kernels, features)
    holder = tempfile.TemporaryDirectory(prefix="tvm-pulp-")
    directory = Path(holder.name)
    kernels = _called(kernels, plan)
    sources = {name: kernel.source for name, kernel in kernels.items()}
    passes_per_step = 1 if train is None else train.passes_per_step
    project.write(directory, module_name, plan, sources, graph.initial_values, features, passes_per_step)
    elf = tools.build(directory, on_source=bar.update)
    bar.close()
    metadata = _metadata(
        module_name, str(target), graph, kernels, plan, features, str(elf.relative_to(directory))
    )
    if built.integers is not None:
        metadata = replace(metadata, float_layers=float_reasons(built.integers))
    _write_package(directory, graph, kernels, plan, metadata)
    if built.integers is not None:
        write_integer_graph(directory / "src", built.integers)
        (directory / "src" / "quantization.txt").write_text(built.report + "\n")
    return Package(directory, metadata, holder)


def _fuse(graph: TrainingGraph, features: Features) -> TrainingGraph:
    """Fuse kernels, and keep masks of rectifiers' results where the arena gets that much smaller.

    What makes a mask is a kernel of its own, and so is a gradient that reads it: some percent of a step.
    """

    def fused(module: tvm.IRModule) -> TrainingGraph:
        return replace(graph, module=fuse_epilogue(module, features))

    packed = pack_masks(graph.module)
    plain = fused(graph.module)
    if packed is graph.module:
        return plain
    masked = fused(packed)
    saved = 1 - arena_without_l1(masked) / arena_without_l1(plain)
    return masked if saved >= _LEAST_ARENA_SAVED else plain


def _called(kernels: Mapping[str, Kernel], plan: MemoryPlan) -> dict[str, Kernel]:
    """Return the kernels that a plan calls: of each the one for tensors in L2, in L1, or both."""
    called = {call.kernel for function in plan.functions for call in function.calls}
    variants = (k for kernel in kernels.values() for k in (kernel, kernel.in_l1) if k is not None)
    return {kernel.name: kernel for kernel in variants if kernel.name in called}


def _metadata(
    name: str,
    target: str,
    graph: TrainingGraph,
    kernels: Mapping[str, Kernel],
    plan: MemoryPlan,
    features: Features,
    elf: str,
) -> Metadata:
    def macs(kernel: str) -> int:
        return kernels[kernel].macs

    tensors = tuple(
        Tensor(buffer.name, buffer.kind, symbol_of(name, buffer), buffer.shape, buffer.dtype, buffer.level)
        for buffer in plan.buffers
    )
    config = graph.config
    output = next(t for t in tensors if t.kind == "output")
    return Metadata(
        name=name,
        target=target,
        train=None if config is None else asdict(config),
        trainable=graph.trainable,
        batch=INFERENCE_BATCH if config is None else config.batch_size,
        micro_batch=INFERENCE_BATCH if config is None else config.samples_per_pass,
        inference_batch=INFERENCE_BATCH,
        classes=output.shape[-1],
        functions={
            f.name: tuple(KernelCall(c.kernel, c.layer, macs(c.kernel)) for c in f.calls)
            for f in plan.functions
        },
        tensors=tensors,
        memory={"arena": plan.arena_bytes, "named": plan.named_bytes(), "l1": plan.l1_bytes},
        arenas={f.name: f.arena_bytes for f in plan.functions},
        simulator=features.simulator_configuration(),
        elf=elf,
        buffers=_buffers(kernels, plan),
    )


def _buffers(
    kernels: Mapping[str, Kernel], plan: MemoryPlan
) -> dict[str, dict[str, dict[str, tuple[int, int]]]]:
    """Return what each kernel may touch in its scratch and in the arena, for the simulator's checks."""
    found: dict[str, dict[str, dict[str, tuple[int, int]]]] = {}
    for function in plan.functions:
        for number, call in enumerate(function.calls):
            scratch = dict(kernels[call.kernel].l1_buffers)
            places = found.setdefault(call.kernel, {"scratch": scratch, "arena": {}})
            following = (t.tensor for t in function.transfers if t.start == number + 1)
            for buffer in (*call.arguments, *following):
                if buffer.level == "L2" and buffer.offset is not None:
                    _name_place(places["arena"], buffer.name, (buffer.offset, buffer.bytes), function.name)
            for name, place in _stays_around(function, number).items():
                _name_place(places["scratch"], name, place, function.name)
    return found


def _name_place(places: dict[str, tuple[int, int]], name: str, place: tuple[int, int], function: str) -> None:
    if places.setdefault(name, place) != place:
        places[f"{name} in {function}"] = place


def _stays_around(function: FunctionPlan, call: int) -> dict[str, tuple[int, int]]:
    """Return what is in L1 beside a kernel's scratch from the start of a call to that of the next one.

    Transfers for the next call start in between: what then follows in the same bytes shares an entry.
    """
    stays = [s for s in function.stays if s.first <= call + 1 and s.last >= call]
    found: list[tuple[list[str], int, int]] = []
    for stay in sorted(stays, key=lambda stay: stay.buffer.offset or 0):
        start = stay.buffer.offset or 0
        end = start + stay.buffer.bytes
        if found and start < found[-1][2]:
            names, first, last = found[-1]
            found[-1] = ([*names, stay.buffer.name], first, max(last, end))
        else:
            found.append(([stay.buffer.name], start, end))
    return {" then ".join(names): (start, end - start) for names, start, end in found}


def _write_package(
    directory: Path,
    graph: TrainingGraph,
    kernels: Mapping[str, Kernel],
    plan: MemoryPlan,
    metadata: Metadata,
) -> None:
    """Write what the package holds beside the C project: metadata, parameters, graphs as text."""
    (directory / "metadata.json").write_text(json.dumps(metadata.to_json(), indent=1))
    (directory / "parameters").mkdir(exist_ok=True)
    with (directory / "parameters" / "initial.npz").open("wb") as file:
        np.savez(file, **graph.initial_values)  # type: ignore[arg-type]
    source = directory / "src"
    source.mkdir(exist_ok=True)
    (source / "forward.json").write_text(json.dumps(model_to_json(graph.model)))
    (source / "plan.txt").write_text(plan_report(plan) + "\n")
    (source / "relax.txt").write_text(graph.module.script())
    (source / "kernels.txt").write_text("\n\n".join(kernel.text for kernel in kernels.values()))
