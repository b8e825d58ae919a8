"""What a package says of itself: `metadata.json` of the Model Library Format, version 7."""

from __future__ import annotations

import datetime
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from tvm_pulp.target.errors import UserError

VERSION = 7  # of the Model Library Format


@dataclass(frozen=True)
class Tensor:
    """A tensor with a symbol of its own.

    Attributes
    ----------
    name : str
        Name in the model, e.g. "features.0.weight" or "momentum:features.0.weight".
    kind : str
        "input", "labels", "loss", "output", "parameter", "state", "gradient", "replays", "slots" or "rows".
    symbol : str
        Symbol in the ELF.
    shape : tuple of int
        As the largest function that uses it sees it.
    dtype : str
        NumPy name.
    level : str
        "L2", or "L3": the symbol holds the address in external memory, once the program has run.
    """

    name: str
    kind: str
    symbol: str
    shape: tuple[int, ...]
    dtype: str
    level: str = "L2"

    @property
    def elements(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)

    @property
    def bytes(self) -> int:
        """Size in memory."""
        return self.elements * np.dtype(self.dtype).itemsize


@dataclass(frozen=True)
class KernelCall:
    """One kernel call of a function: kernel name, layer it comes from, multiply-accumulates."""

    kernel: str
    layer: str
    macs: int


@dataclass(frozen=True)
class Metadata:
    """All that a runner, the oracle and a report need to know without TVM.

    Attributes
    ----------
    name : str
        Module name, prefix of the symbols.
    target : str
        Target as given, for people.
    train : mapping or None
        Fields of `TrainConfig`; None for an inference-only package.
    trainable : tuple of str
        Parameters that are updated.
    batch, micro_batch, inference_batch : int
        Samples a step, a call of gradient_step, a call of infer.
    classes : int
        Values of a label.
    functions : mapping of str to tuple of KernelCall
        In call order.
    tensors : tuple of Tensor
        Everything with a symbol.
    memory : mapping of str to int
        Bytes: "arena", "named", "l1".
    arenas : mapping of str to int
        Bytes of activations and gradients a function.
    simulator : mapping
        Configuration of the simulator that follows the target.
    elf : str
        Path of the ELF in the package.
    buffers : mapping
        Kernel → "scratch" and "arena" → buffer → offset and size in bytes, of all calls of the kernel.
    float_layers : mapping of str to str
        Layers of a network that came quantised which compute in float32, and why.
    """

    name: str
    target: str
    train: Mapping[str, Any] | None
    trainable: tuple[str, ...]
    batch: int
    micro_batch: int
    inference_batch: int
    classes: int
    functions: Mapping[str, tuple[KernelCall, ...]]
    tensors: tuple[Tensor, ...]
    memory: Mapping[str, int]
    arenas: Mapping[str, int]
    simulator: Mapping[str, Any]
    elf: str
    buffers: Mapping[str, Mapping[str, Mapping[str, Sequence[int]]]] = field(default_factory=dict)
    float_layers: Mapping[str, str] = field(default_factory=dict)

    def of_kind(self, *kinds: str) -> tuple[Tensor, ...]:
        """Tensors of these kinds, in order."""
        return tuple(t for t in self.tensors if t.kind in kinds)

    def tensor(self, kind: str, name: str) -> Tensor:
        """The tensor of that kind and name."""
        return next(t for t in self.tensors if (t.kind, t.name) == (kind, name))

    def macs(self, function: str) -> int:
        """Multiply-accumulates of one call of a function."""
        return sum(call.macs for call in self.functions[function])

    def to_json(self) -> dict[str, Any]:
        """The content of `metadata.json`; the date follows SOURCE_DATE_EPOCH where it is set."""
        epoch = os.environ.get("SOURCE_DATE_EPOCH")
        now = (
            datetime.datetime.fromtimestamp(int(epoch), datetime.timezone.utc)
            if epoch
            else datetime.datetime.now(datetime.timezone.utc)
        )
        io_bytes = sum(t.bytes for t in self.of_kind("input", "labels", "slots", "loss", "output"))
        constants = sum(t.bytes for t in self.of_kind("parameter"))
        main = [
            {
                "device": 1,
                "function": name,
                "workspace_size_bytes": arena,
                "constants_size_bytes": constants,
                "io_size_bytes": io_bytes,
                "inputs": {t.name: _describe(t) for t in self.of_kind("input", "labels", "slots")},
                "outputs": {t.name: _describe(t) for t in self.of_kind("loss", "output")},
            }
            for name, arena in self.arenas.items()
        ]
        operators = [
            {"function": name, "function_name": call.kernel, "layer": call.layer, "macs": call.macs}
            for name, calls in self.functions.items()
            for call in calls
        ]
        module = {
            "model_name": self.name,
            "export_datetime": now.strftime("%Y-%m-%d %H:%M:%SZ"),
            "target": [self.target],
            "executors": ["aot"],
            "style": "full-model",
            "memory": {"functions": {"main": main, "operator_functions": operators}},
        }
        own = asdict(self)
        return {"version": VERSION, "modules": {self.name: module}, "pulp": own}


def from_json(content: Any, where: str) -> Metadata:
    """Read `metadata.json`.

    Raises
    ------
    UserError
        If it is not a package of this compiler.
    """
    try:
        if content["version"] != VERSION:
            raise UserError(
                f"{where} is Model Library Format {content['version']}; this compiler reads {VERSION}"
            )
        own = dict(content["pulp"])
        own["functions"] = {
            name: tuple(KernelCall(**call) for call in calls) for name, calls in own["functions"].items()
        }
        own["tensors"] = tuple(Tensor(**{**t, "shape": tuple(t["shape"])}) for t in own["tensors"])
        own["trainable"] = tuple(own["trainable"])
        return Metadata(**own)
    except (KeyError, TypeError) as error:
        raise UserError(
            f"{where} is not a package of tvmc compile --target pulp ({error!r}); compile it again"
        ) from error


def _describe(tensor: Tensor) -> dict[str, Any]:
    shape: Sequence[int] = tensor.shape
    return {"dtype": tensor.dtype, "shape": list(shape), "size": tensor.bytes, "symbol": tensor.symbol}
