"""Import of PyTorch: a module, an exported program in memory, or one in a `.pt2` file."""

from __future__ import annotations

import copy
import inspect
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.export import ExportedProgram
from torch.export.graph_signature import InputKind
from tvm import IRModule, relax
from tvm.error import InternalError
from tvm.relax.frontend.torch.exported_program_translator import ExportedProgramImporter

from tvm_pulp.frontends.clean_up import clean_up
from tvm_pulp.frontends.shapes import bind_shapes
from tvm_pulp.passes.check_parameters import refuse_shared
from tvm_pulp.passes.model import Model
from tvm_pulp.passes.name_bindings import name_bindings
from tvm_pulp.passes.rewrite import reason
from tvm_pulp.target.errors import UserError

# Operators that stay whole, as the importer's own forms of them are simpler than PyTorch's decompositions.
_KEPT_WHOLE = ("adaptive_avg_pool2d", "hardsigmoid", "hardswish", "silu")
# Operators that change nothing in a model that PyTorch-style training is compared with sample by sample.
_IDENTITIES = {"dropout", "feature_dropout", "alpha_dropout", "feature_alpha_dropout", "native_dropout"}


def read_pt2(path: Path) -> ExportedProgram:
    """Read an exported program from a `.pt2` file; UserError if it is damaged."""
    try:
        return torch.export.load(path)
    except Exception as error:  # whatever zip, JSON or pickle raise on a damaged file
        raise UserError(
            f"{path}: not a readable torch.export program ({reason(error)[:120]}): "
            "write it again with torch.export.save"
        ) from error


def export_module(
    module: torch.nn.Module, input_shapes: Mapping[str, Sequence[int]] | None
) -> ExportedProgram:
    """Export a module in its present mode (train or eval) for float32 inputs of the given shapes."""
    names = [
        name
        for name, parameter in inspect.signature(module.forward).parameters.items()
        if parameter.default is inspect.Parameter.empty
    ]
    missing = [name for name in names if name not in (input_shapes or {})]
    if input_shapes is None or missing:
        raise UserError(
            f"{type(module).__name__}: the shapes of its inputs are not known: give input_shapes, "
            f"for example {{'{(missing or names or ['x'])[0]}': [1, 3, 32, 32]}}"
        )
    example = {name: torch.zeros(tuple(shape)) for name, shape in input_shapes.items()}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return torch.export.export(module, (), kwargs=example)
    except Exception as error:  # torch.export raises many types for what it cannot trace
        raise UserError(
            f"{type(module).__name__}: torch.export cannot export it: {reason(error)[:200]}"
        ) from error


def import_exported_program(
    program: ExportedProgram,
    name: str,
    *,
    input_shapes: Mapping[str, Sequence[int]] | None = None,
    batch: int = 1,
) -> Model:
    """Turn an exported program into a `Model`.

    Parameters
    ----------
    program : ExportedProgram
        Exported in train or eval mode, with or without dynamic dimensions; it is not changed.
    name : str
        Name of the model.
    input_shapes : mapping, optional
        Shapes by input name, needed where dimensions beside the batch are dynamic.
    batch : int
        Batch size of the model.

    Returns
    -------
    Model
        In canonical form; parameters and buffers under their names in the state dict.

    Raises
    ------
    UserError
        For an operator that is not supported, a dynamic dimension, or bad parameters.
    """
    refuse_shared(name, _same_tensors(program))
    program = _decomposed(program)
    values, buffers, argument_names = _take_parameters(program)
    importer = _Importer(name)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            module = importer.from_exported_program(program, True, True, False, None)
    except (AssertionError, AttributeError, InternalError, KeyError, TypeError, ValueError) as error:
        raise UserError(
            f"{name}: operator {importer.current} cannot be imported: {reason(error)[:200]}"
        ) from error
    function = name_bindings(module["main"], importer.names, values, argument_names)
    inputs = tuple(v.name for v in function.params if v.name not in values)
    parameters = {v.name: values[v.name] for v in function.params if v.name in values}
    model = Model(name, IRModule({"main": function}), inputs, parameters, frozenset(buffers))
    return clean_up(bind_shapes(model, input_shapes, batch), batch)


def _same_tensors(program: ExportedProgram) -> list[list[str]]:
    """Names of the parameters by the memory that they are in."""
    groups: dict[tuple[int, tuple[int, ...], tuple[int, ...]], list[str]] = {}
    for spec in program.graph_signature.input_specs:
        if spec.kind is InputKind.PARAMETER:
            tensor = program.state_dict[spec.target]
            if tensor.numel():
                key = (tensor.data_ptr(), tuple(tensor.shape), tensor.stride())
                groups.setdefault(key, []).append(spec.target)
    return list(groups.values())


def _decomposed(program: ExportedProgram) -> ExportedProgram:
    """A copy in Core ATen operators without in-place operators and dropout."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = copy.deepcopy(program)
    graph = program.graph_module.graph
    renamed = {}
    for node in list(graph.nodes):
        if node.op == "call_function" and _operator(node).rstrip("_") in _IDENTITIES:
            source = node.args[0]
            users = [u for u in node.users if u.op == "call_function" and _operator(u) == "getitem"]
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
    _write_out_alpha(program)
    return program


def _write_out_alpha(program: ExportedProgram) -> None:
    """Turn `x + alpha * y` in one operator, whose factor TVM's importer drops, into a product and a sum."""
    graph = program.graph_module.graph
    for node in list(graph.nodes):
        alpha = node.kwargs.get("alpha", 1) if _operator(node) in ("add", "sub") else 1
        if alpha != 1:
            with graph.inserting_before(node):
                factor = torch.ops.aten.mul.Tensor
                product = graph.call_function(factor, (node.args[1], alpha))
                product.meta = dict(node.meta)
            node.args = (node.args[0], product)
            node.kwargs = {key: value for key, value in node.kwargs.items() if key != "alpha"}
    program.graph_module.recompile()


def _take_parameters(program: ExportedProgram) -> tuple[dict[str, np.ndarray], set[str], dict[str, str]]:
    """Values by name, names of buffers, names by graph argument; has buffers imported as arguments."""
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


def _operator(node: torch.fx.Node) -> str:
    """Name of the operator of a node without its overload, e.g. `add` of `add.Tensor`."""
    return str(getattr(node.target, "__name__", node.target)).partition(".")[0]


def _layer(node: torch.fx.Node) -> str:
    """Path of the module that a node comes from, or the node's own name for one in the outermost forward."""
    stack: dict[str, Any] = node.meta.get("nn_module_stack") or {}
    path = list(stack.values())[-1][0] if stack else ""
    return path if path and not path.startswith("_") else node.name


class _Importer(ExportedProgramImporter):
    """TVM's importer, told to name what it emits after the model and to import batch norm whole."""

    def __init__(self, model_name: str) -> None:
        self.model_name = model_name
        self.names: dict[relax.Var, str] = {}
        self.results: dict[str, tuple[relax.Var, str]] = {}
        self.current = ""
        super().__init__()
        self.convert_map = {key: self._named(convert) for key, convert in self.convert_map.items()}

    def create_convert_map(self) -> dict[str, Any]:
        """Add to TVM's map what it lacks or drops."""
        return {
            **super().create_convert_map(),
            "_native_batch_norm_legit_functional.default": lambda node: self._batch_norm(node, 6),
            "_native_batch_norm_legit.default": lambda node: self._batch_norm(node, 6),
            "_native_batch_norm_legit_no_training.default": lambda node: self._batch_norm(node, 5),
            "batch_norm.default": lambda node: self._batch_norm(node, 6)[0],
            "avg_pool2d.default": self._average_pool,
        }

    def _named(self, convert: Any) -> Any:
        def convert_and_name(node: torch.fx.Node) -> Any:
            self.current = f"{_operator(node)} in layer '{_layer(node)}'"
            result = convert(node)
            if isinstance(result, relax.Var) and result not in self.names:
                layer = _layer(node)
                if layer in self.results:  # the layer's name goes to its last operator
                    earlier, operator = self.results[layer]
                    self.names[earlier] = f"{layer}.{operator}"
                self.names[result] = layer
                self.results[layer] = result, _operator(node)
            return result

        return convert_and_name

    def _batch_norm(self, node: torch.fx.Node, momentum_at: int) -> relax.Tuple:  # type: ignore[override]
        """All forms of batch norm; whether it trains is not the exporter's matter but decided later."""
        data, scale, offset, mean, variance = (
            self.env.get(a) if a is not None else None for a in node.args[:5]
        )
        if mean is None or variance is None:
            raise UserError(
                f"{self.model_name}: layer '{_layer(node)}' is a batch norm without running statistics: "
                "use track_running_stats=True"
            )
        channels = int(data.ty.shape[1])
        ones = relax.const(np.ones(channels, "float32"))
        zeros = relax.const(np.zeros(channels, "float32"))
        result = self.block_builder.emit(
            relax.op.nn.batch_norm(
                data,
                ones if scale is None else scale,
                zeros if offset is None else offset,
                mean,
                variance,
                axis=1,
                epsilon=node.args[momentum_at + 1],
                scale=scale is not None,
                center=offset is not None,
                momentum=node.args[momentum_at],
                training=False,
            )
        )
        output = self.block_builder.emit(relax.TupleGetItem(result, 0))
        self.names[result] = _layer(node)
        self.names[output] = _layer(node) + ".output"
        # New running statistics are returned for a node that updates buffers, which nothing reads here.
        return relax.Tuple([output, mean, variance, mean, variance])

    def _average_pool(self, node: torch.fx.Node) -> relax.Var:
        divisor = node.args[6] if len(node.args) > 6 else node.kwargs.get("divisor_override")
        if divisor is not None:
            raise UserError(
                f"{self.model_name}: layer '{_layer(node)}' (avg_pool2d) sets divisor_override, "
                "which is not supported: scale the result instead"
            )
        return self._avg_pool2d(node)

    def _check_unsupported_func_type(self, nodes: list[torch.fx.Node]) -> None:
        for node in nodes:
            if node.op == "call_function" and node.target.__name__ not in self.convert_map:
                raise UserError(
                    f"{self.model_name}: operator {_operator(node)} in layer '{_layer(node)}' is not "
                    "supported"
                )
