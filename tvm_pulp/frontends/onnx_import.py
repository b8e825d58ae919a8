"""Import of ONNX: a file or a `ModelProto` in memory."""

from __future__ import annotations

import contextlib
import io
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path

import onnx
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
from tvm import IRModule
from tvm.error import InternalError, OpError

from tvm_pulp.frontends.clean_up import clean_up
from tvm_pulp.frontends.onnx_converters import Importer
from tvm_pulp.frontends.onnx_prepare import prepare
from tvm_pulp.passes.model import Model
from tvm_pulp.passes.name_bindings import name_bindings
from tvm_pulp.passes.rewrite import closed_on_error, reason
from tvm_pulp.target.errors import UserError


def read_onnx(path: Path) -> onnx.ModelProto:
    """Read a model with its external data; UserError if it is damaged."""
    try:
        return onnx.load(path)
    except (DecodeError, onnx.checker.ValidationError, OSError, ValueError) as error:
        raise UserError(f"{path}: not an ONNX model ({reason(error)[:160]}): export it again") from error


def import_onnx(
    proto: onnx.ModelProto,
    name: str,
    *,
    input_shapes: Mapping[str, Sequence[int]] | None = None,
    batch: int = 1,
) -> Model:
    """Turn an ONNX model into a `Model`.

    Parameters
    ----------
    proto : onnx.ModelProto
        Opset 11 or later is what is tested; it is not changed. Exported in training, preserve or eval mode.
    name : str
        Name of the model.
    input_shapes : mapping, optional
        Shapes by input name, needed where dimensions beside the batch are dynamic.
    batch : int
        Batch size of the model.

    Returns
    -------
    Model
        In canonical form; float initialisers are its parameters, under their names.

    Raises
    ------
    UserError
        For an operator that is not supported, a dynamic dimension, or bad parameters.
    """
    return prepared_model(proto, name, input_shapes=input_shapes, batch=batch)


def prepared_model(
    proto: onnx.ModelProto,
    name: str,
    *,
    input_shapes: Mapping[str, Sequence[int]] | None,
    batch: int,
    quantized: bool = False,
) -> Model:
    """Import as `import_onnx` does; if `quantized`, what quantises may occur, and inputs of bytes."""
    prepared = prepare(proto, name, input_shapes, batch, quantized)
    importer = Importer(name)
    try:
        # TVM's importer prints what it fails on, which the error tells anyway.
        with (
            warnings.catch_warnings(),
            contextlib.redirect_stdout(io.StringIO()),
            closed_on_error(lambda: importer.bb),
        ):
            warnings.simplefilter("ignore")
            function = importer.from_onnx(prepared.graph, prepared.opset)["main"]
    except (AssertionError, AttributeError, InternalError, KeyError, OpError, TypeError, ValueError) as error:
        raise UserError(
            f"{name}: operator {importer.current} cannot be imported: {reason(error)[:200]}"
        ) from error
    values = {variable: array.numpy() for variable, array in importer.parameters.items()}
    function = name_bindings(function, importer.names, values)
    inputs = tuple(v.name for v in function.params if v.name not in values)
    parameters = {v.name: values[v.name] for v in function.params if v.name in values}
    return clean_up(Model(name, IRModule({"main": function}), inputs, parameters), batch, quantized)
