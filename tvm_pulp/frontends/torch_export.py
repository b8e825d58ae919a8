"""Import of PyTorch: a module, an exported program in memory, or one in a `.pt2` file."""

from __future__ import annotations

import importlib
import inspect
import logging
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch.export import ExportedProgram
from tvm import IRModule
from tvm.error import InternalError

from tvm_pulp.frontends.clean_up import clean_up
from tvm_pulp.frontends.shapes import bind_shapes
from tvm_pulp.frontends.torch_converters import Importer
from tvm_pulp.frontends.torch_program import decomposed, same_tensors, take_parameters
from tvm_pulp.passes.check_parameters import refuse_shared
from tvm_pulp.passes.model import Model
from tvm_pulp.passes.name_bindings import name_bindings
from tvm_pulp.passes.rewrite import closed_on_error, reason
from tvm_pulp.target.errors import UserError


def read_pt2(path: Path) -> ExportedProgram:
    """Read an exported program from a `.pt2` file; UserError if it is damaged."""
    # registers the operators of quantised programs
    importlib.import_module("torch.ao.quantization.fx._decomposed")
    logger = logging.getLogger("torch.export")
    level = logger.level
    logger.setLevel(logging.CRITICAL)  # it logs the traceback of what the error below tells
    try:
        return torch.export.load(path)
    except Exception as error:  # whatever zip, JSON or pickle raise on a damaged file
        raise UserError(
            f"{path}: not a readable torch.export program ({reason(error)[:120]}): "
            "write it again with torch.export.save"
        ) from error
    finally:
        logger.setLevel(level)


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
    refuse_shared(name, same_tensors(program))
    return imported_program(program, name, input_shapes=input_shapes, batch=batch)


def imported_program(
    program: ExportedProgram,
    name: str,
    *,
    input_shapes: Mapping[str, Sequence[int]] | None,
    batch: int,
    quantized: bool = False,
) -> Model:
    """Import as `import_exported_program` does; if `quantized`, what quantises may occur."""
    program = decomposed(program)
    values, buffers, argument_names = take_parameters(program, name)
    importer = Importer(name)
    try:
        with warnings.catch_warnings(), closed_on_error(lambda: importer.block_builder):
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
    return clean_up(bind_shapes(model, input_shapes, batch), batch, quantized)
