"""Load a model from a file or from memory, whatever its format."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tvm_pulp.passes.model import Model
from tvm_pulp.passes.quantized.graph import QuantizedGraph
from tvm_pulp.passes.quantized.integer_stage import QuantizedNetwork
from tvm_pulp.target.errors import UserError

Imported = Model | QuantizedNetwork
FORMATS = {".onnx": "onnx", ".pt2": "pytorch", ".tflite": "tflite"}


def load_network(
    path_or_object: Any,
    *,
    input_shapes: Mapping[str, Sequence[int]] | None = None,
    batch: int = 1,
    model_format: str | None = None,
) -> Model | QuantizedGraph:
    """Import a network: one in float32 into its canonical form, a quantised one into an integer graph.

    Parameters
    ----------
    path_or_object : path, ExportedProgram, torch.nn.Module or onnx.ModelProto
        A file (`.onnx`, `.pt2` of torch.export, `.tflite`) or a model in memory. A module needs
        `input_shapes`; it is exported in the mode (train or eval) that it is in.
    input_shapes : mapping, optional
        Shape by input name, e.g. ``{"x": [1, 3, 32, 32]}``, where the model leaves dimensions beside the
        batch open.
    batch : int
        Batch size of a model in float32, whatever the file was written for; integer graphs have 1.
    model_format : str, optional
        "onnx", "pytorch" or "tflite" where the file's suffix does not tell.

    Returns
    -------
    Model or QuantizedGraph
        Activations NCHW, named parameters, supported operators only.

    Raises
    ------
    UserError
        One line that names what is wrong with the file, a layer or a parameter, and what to do.
    """
    imported = load_source(path_or_object, input_shapes=input_shapes, batch=batch, model_format=model_format)
    return imported if isinstance(imported, Model) else imported.graph(1)


def load_source(
    path_or_object: Any,
    *,
    input_shapes: Mapping[str, Sequence[int]] | None = None,
    batch: int = 1,
    model_format: str | None = None,
) -> Imported:
    """Import a network as `load_network` does, but leave a quantised one so that it can be cut in two."""
    if batch < 1:
        raise UserError(f"batch size {batch} is not possible: give 1 or more")
    if isinstance(path_or_object, str | Path):
        return _load_file(Path(path_or_object), model_format, input_shapes, batch)
    kind = type(path_or_object)
    packages = {base.__module__.partition(".")[0] for base in kind.__mro__}
    if "onnx" in packages and kind.__name__ == "ModelProto":
        return _load_onnx(path_or_object, identifier(path_or_object.graph.name), input_shapes, batch)
    if "torch" in packages:
        return _load_torch(path_or_object, input_shapes, batch)
    raise UserError(
        f"cannot import a {kind.__module__}.{kind.__qualname__}: give a path, a "
        "torch.export.ExportedProgram, "
        "a torch.nn.Module or an onnx.ModelProto"
    )


def load_model(
    path_or_object: Any,
    *,
    input_shapes: Mapping[str, Sequence[int]] | None = None,
    batch: int = 1,
    model_format: str | None = None,
) -> Model:
    """Import a network in float32, see `load_network`; UserError for a quantised one."""
    network = load_network(path_or_object, input_shapes=input_shapes, batch=batch, model_format=model_format)
    if not isinstance(network, Model):
        raise UserError(
            f"{network.name}: the model is quantised: a float32 model is needed to train, so convert it "
            "without optimisations"
        )
    return network


def identifier(text: str) -> str:
    """Make a C identifier of a name."""
    name = re.sub(r"\W+", "_", text, flags=re.ASCII).strip("_") or "network"
    return f"network_{name}" if name[0].isdigit() else name


def _load_file(
    path: Path, model_format: str | None, input_shapes: Mapping[str, Sequence[int]] | None, batch: int
) -> Imported:
    if model_format is not None and model_format not in FORMATS.values():
        raise UserError(f"unknown model format '{model_format}': choose one of {', '.join(FORMATS.values())}")
    if not path.is_file():
        raise UserError(f"{path}: no such file")
    found = model_format or FORMATS.get(path.suffix.lower())
    name = identifier(path.stem)
    if found == "onnx":
        from tvm_pulp.frontends.onnx_import import read_onnx

        return _load_onnx(read_onnx(path), name, input_shapes, batch)
    if found == "pytorch":
        from tvm_pulp.frontends.torch_export import read_pt2

        return _load_program(read_pt2(path), name, input_shapes, batch)
    if found == "tflite":
        from tvm_pulp.frontends.tflite_file import load_tflite

        return load_tflite(path, name, input_shapes=input_shapes, batch=batch)
    raise UserError(
        f"{path}: the suffix '{path.suffix}' is not known: use {', '.join(FORMATS)} or give the model format"
    )


def _load_onnx(
    proto: Any, name: str, input_shapes: Mapping[str, Sequence[int]] | None, batch: int
) -> Imported:
    from tvm_pulp.frontends.onnx_import import import_onnx
    from tvm_pulp.frontends.onnx_quantized import import_quantized_onnx, is_quantized

    if is_quantized(proto):
        return import_quantized_onnx(proto, name, input_shapes=input_shapes, batch=batch)
    return import_onnx(proto, name, input_shapes=input_shapes, batch=batch)


def _load_torch(program: Any, input_shapes: Mapping[str, Sequence[int]] | None, batch: int) -> Imported:
    import torch

    from tvm_pulp.frontends.torch_export import export_module

    if isinstance(program, torch.nn.Module):
        name = identifier(type(program).__name__)
        return _load_program(export_module(program, input_shapes), name, None, batch)
    if isinstance(program, torch.export.ExportedProgram):
        return _load_program(program, "network", input_shapes, batch)
    raise UserError(
        f"cannot import a {type(program).__qualname__}: give a torch.export.ExportedProgram or a "
        "torch.nn.Module"
    )


def _load_program(
    program: Any, name: str, input_shapes: Mapping[str, Sequence[int]] | None, batch: int
) -> Imported:
    from tvm_pulp.frontends.torch_export import import_exported_program
    from tvm_pulp.frontends.torch_quantized import import_quantized_program, is_quantized

    if is_quantized(program):
        return import_quantized_program(program, name, input_shapes=input_shapes, batch=batch)
    return import_exported_program(program, name, input_shapes=input_shapes, batch=batch)
