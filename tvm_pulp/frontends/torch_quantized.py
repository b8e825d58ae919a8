"""Import of PyTorch's quantised exports (PT2E, `convert_pt2e` of `torchao`)."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch.export import ExportedProgram
from torch.export.graph_signature import InputKind, InputSpec

from tvm_pulp.frontends.torch_export import import_exported_program, imported_program
from tvm_pulp.frontends.torch_program import layer_of_node, operator_of_node
from tvm_pulp.passes.model import Model
from tvm_pulp.passes.quantized.integer_stage import ImportedStage

_NAMESPACE = "quantized_decomposed"


def is_quantized(program: ExportedProgram) -> bool:
    """Tell whether a program holds operators that quantise."""
    return any(_quantizes(node) for node in program.graph.nodes)


def import_quantized_program(
    program: ExportedProgram,
    name: str,
    *,
    input_shapes: Mapping[str, Sequence[int]] | None = None,
    batch: int = 1,
) -> Model | ImportedStage:
    """Turn a quantised program into what an integer graph is made of.

    One whose weights alone are quantised, or whose data are at run time, becomes a float model.

    Parameters
    ----------
    program : ExportedProgram
        Of a module that `convert_pt2e` yielded; it is not changed.
    name : str
        Name of the model.
    input_shapes : mapping, optional
        Shapes by input name, needed where dimensions beside the batch are dynamic.
    batch : int
        Batch size of a float model.

    Raises
    ------
    UserError
        For an operator that can be computed neither in integers nor in float.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = copy.deepcopy(program)
    remove_dynamic_quantisers(program)
    scales = fold_weights(program)
    if not is_quantized(program):
        for spec in program.graph_signature.input_specs:
            if spec.target in scales:
                spec.kind = InputKind.PARAMETER
                program.state_dict[spec.target] = torch.nn.Parameter(program.state_dict[spec.target])
        return import_exported_program(program, name, input_shapes=input_shapes, batch=batch)
    model = imported_program(program, name, input_shapes=input_shapes, batch=1, quantized=True)
    return ImportedStage(model, scales, divides=False)


def remove_dynamic_quantisers(program: ExportedProgram) -> None:
    """Remove the quantisation of data by a scale of run time (`choose_qparams`), in place."""
    graph = program.graph_module.graph
    for node in list(graph.nodes):
        operator = operator_of_node(node)
        if _quantizes(node) and operator.startswith("quantize"):
            settings = [a for a in node.args[1:] if isinstance(a, torch.fx.Node)]
            if any(
                operator_of_node(s).startswith("choose_qparams") for a in settings for s in a.all_input_nodes
            ):
                for reader in list(node.users):
                    reader.replace_all_uses_with(node.args[0])
    _remove_unread(program)


def fold_weights(program: ExportedProgram) -> dict[str, np.ndarray]:
    """Compute what quantises or dequantises parameters; the results are parameters, in place.

    Returns
    -------
    dict of str to ndarray of float32
        Scales of the parameters, of shapes that broadcast to theirs.
    """
    graph, specs = program.graph_module.graph, program.graph_signature.input_specs
    by_argument = {spec.arg.name: spec for spec in specs if spec.kind is not InputKind.USER_INPUT}
    constants: dict[torch.fx.Node, torch.Tensor] = {}
    origins: dict[torch.fx.Node, torch.fx.Node] = {}
    scales: dict[str, np.ndarray] = {}
    for node in list(graph.nodes):
        if node.op == "placeholder" and node.name in by_argument:
            constants[node], origins[node] = _value(program, by_argument[node.name]), node
        elif _quantizes(node) and all(source in constants for source in node.all_input_nodes):
            arguments = [constants[a] if isinstance(a, torch.fx.Node) else a for a in node.args]
            constants[node] = node.target(*arguments)
            placeholder = origins[node] = origins[node.args[0]]
            if not operator_of_node(node).startswith("dequantize"):
                continue
            spec = by_argument[placeholder.name]
            if not spec.target.endswith(".weight") or spec.target not in scales:
                reader = next(iter(node.users))
                spec.target = _unique(f"{layer_of_node(reader)}.weight", scales)
                spec.kind, spec.persistent = InputKind.BUFFER, True
            program.state_dict[spec.target] = constants[node]
            placeholder.meta["val"] = placeholder.meta["val"].to(torch.float32)
            scales[spec.target] = _along_axis(node, arguments)
            node.replace_all_uses_with(placeholder)
    _remove_unread(program)
    return scales


def _quantizes(node: torch.fx.Node) -> bool:
    return getattr(node.target, "namespace", None) == _NAMESPACE


def _value(program: ExportedProgram, spec: InputSpec) -> torch.Tensor:
    stored = program.state_dict if spec.target in program.state_dict else program.constants
    return stored[spec.target].detach()


def _along_axis(node: torch.fx.Node, arguments: Sequence[Any]) -> np.ndarray:
    scale = np.asarray(arguments[1], np.float32)
    if "per_channel" not in operator_of_node(node):
        return scale.reshape(())
    rank, axis = arguments[0].ndim, int(arguments[3])
    return scale.reshape([-1 if index == axis % rank else 1 for index in range(rank)])


def _unique(name: str, used: Mapping[str, np.ndarray]) -> str:
    candidate, count = name, 1
    while candidate in used:
        count += 1
        candidate = f"{name}_{count}"
    return candidate


def _remove_unread(program: ExportedProgram) -> None:
    """Remove what nothing reads: quantisers of parameters, their scales, the float weights of before."""
    graph = program.graph_module.graph
    inputs = {s.arg.name for s in program.graph_signature.input_specs if s.kind is InputKind.USER_INPUT}
    for node in reversed(list(graph.nodes)):
        if node.op != "output" and not node.users and node.name not in inputs:
            graph.erase_node(node)
    kept = {node.name for node in graph.nodes if node.op == "placeholder"}
    specs = program.graph_signature.input_specs
    specs[:] = [spec for spec in specs if spec.arg.name in kept]
    program.graph_module.recompile()
