"""Make an exported program simple: Core ATen operators, parameters and buffers as named arguments."""

from __future__ import annotations

import copy
import warnings
from typing import Any

import numpy as np
import torch
from torch.export import ExportedProgram
from torch.export.graph_signature import InputKind

from tvm_pulp.target.errors import UserError

# Operators that stay whole, as the importer's own forms of them are simpler than PyTorch's decompositions.
_KEPT_WHOLE = ("adaptive_avg_pool2d", "hardsigmoid", "hardswish", "prelu", "silu")
# Operators that change nothing in a model that PyTorch-style training is compared with sample by sample.
_RANDOM = {"bernoulli", "rand", "rand_like"}
_IDENTITIES = {"dropout", "feature_dropout", "alpha_dropout", "feature_alpha_dropout", "native_dropout"}


def same_tensors(program: ExportedProgram) -> list[list[str]]:
    """Names of the parameters by the memory that they are in."""
    groups: dict[tuple[int, tuple[int, ...], tuple[int, ...]], list[str]] = {}
    for spec in program.graph_signature.input_specs:
        if spec.kind is InputKind.PARAMETER:
            tensor = program.state_dict[spec.target]
            if tensor.numel():
                key = (tensor.data_ptr(), tuple(tensor.shape), tensor.stride())
                groups.setdefault(key, []).append(spec.target)
    return list(groups.values())


def decomposed(program: ExportedProgram) -> ExportedProgram:
    """A copy in Core ATen operators without in-place operators and dropout."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = copy.deepcopy(program)
    graph = program.graph_module.graph
    renamed = {}
    for node in list(graph.nodes):
        if node.op == "call_function" and operator_of_node(node).rstrip("_") in _IDENTITIES:
            source = node.args[0]
            users = [u for u in node.users if u.op == "call_function" and operator_of_node(u) == "getitem"]
            for user in users:  # native_dropout gives (output, mask)
                user.replace_all_uses_with(source)
                renamed[user.name] = source.name
                graph.erase_node(user)
            node.replace_all_uses_with(source)
            renamed[node.name] = source.name
            graph.erase_node(node)
    for output in program.graph_signature.output_specs:
        while getattr(output.arg, "name", None) in renamed:
            output.arg.name = renamed[output.arg.name]
    program.graph_module.recompile()
    table = torch.export.default_decompositions()
    for kept in _KEPT_WHOLE:
        table.pop(getattr(torch.ops.aten, kept).default, None)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = program.run_decompositions(table)
    _remove_random_masks(program)
    _write_out_alpha(program)
    return program


def _remove_random_masks(program: ExportedProgram) -> None:
    """Remove products with random tensors, which dropouts are in a program that is decomposed already."""
    graph = program.graph_module.graph
    random: set[torch.fx.Node] = set()
    for node in list(graph.nodes):
        from_random = [source for source in node.all_input_nodes if source in random]
        others = [source for source in node.all_input_nodes if source not in random]
        if operator_of_node(node) in _RANDOM or (from_random and not others):
            random.add(node)
        elif operator_of_node(node) == "mul" and len(from_random) == len(others) == 1:
            node.replace_all_uses_with(others[0])
            graph.erase_node(node)
    program.graph_module.recompile()


def _write_out_alpha(program: ExportedProgram) -> None:
    """Turn `x + alpha * y` in one operator, whose factor TVM's importer drops, into a product and a sum."""
    graph = program.graph_module.graph
    for node in list(graph.nodes):
        alpha = node.kwargs.get("alpha", 1) if operator_of_node(node) in ("add", "sub") else 1
        if alpha != 1:
            with graph.inserting_before(node):
                factor = torch.ops.aten.mul.Tensor
                product = graph.call_function(factor, (node.args[1], alpha))
                product.meta = dict(node.meta)
            node.args = (node.args[0], product)
            node.kwargs = {key: value for key, value in node.kwargs.items() if key != "alpha"}
    program.graph_module.recompile()


def take_parameters(
    program: ExportedProgram, name: str
) -> tuple[dict[str, np.ndarray], set[str], dict[str, str]]:
    """Values by name, names of buffers, names by graph argument; has buffers imported as arguments."""
    _check_types(program, name)
    values: dict[str, np.ndarray] = {}
    buffers: set[str] = set()
    argument_names: dict[str, str] = {}
    for spec in program.graph_signature.input_specs:
        if spec.kind not in (InputKind.PARAMETER, InputKind.BUFFER):
            continue
        is_state = spec.target in program.state_dict
        tensor = program.state_dict[spec.target] if is_state else program.constants[spec.target]
        if spec.kind is InputKind.BUFFER:
            if not tensor.is_floating_point():
                continue  # num_batches_tracked: nothing that the forward pass reads
            buffers.add(spec.target)
            program.state_dict[spec.target] = tensor
            program.constants.pop(spec.target, None)  # where those are that no checkpoint holds
            spec.kind = InputKind.PARAMETER
        values[spec.target] = tensor.detach().cpu().numpy().copy()
        argument_names[spec.arg.name] = spec.target
    return values, buffers, argument_names


def _check_types(program: ExportedProgram, name: str) -> None:
    """Raise UserError for an input or parameter that is not float32."""
    placeholders = {node.name: node for node in program.graph.nodes if node.op == "placeholder"}
    for spec in program.graph_signature.input_specs:
        tensor = placeholders[spec.arg.name].meta.get("val")
        is_input = spec.kind is InputKind.USER_INPUT
        if not isinstance(tensor, torch.Tensor) or not (is_input or tensor.is_floating_point()):
            continue
        if tensor.dtype is not torch.float32:
            what = f"input '{spec.arg.name}'" if is_input else f"parameter '{spec.target}'"
            dtype = str(tensor.dtype).removeprefix("torch.")
            raise UserError(
                f"{name}: {what} is of type {dtype}: only float32 models can be trained, so convert it to "
                "float32"
            )


def operator_of_node(node: torch.fx.Node) -> str:
    """Name of the operator of a node without its overload, e.g. `add` of `add.Tensor`."""
    return str(getattr(node.target, "__name__", node.target)).partition(".")[0]


def layer_of_node(node: torch.fx.Node) -> str:
    """Path of the module that a node comes from, or the node's own name for one in the outermost forward."""
    stack: dict[str, Any] = node.meta.get("nn_module_stack") or {}
    path = list(stack.values())[-1][0] if stack else ""
    return path if path and not path.startswith("_") else node.name
