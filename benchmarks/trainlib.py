"""PULP-TrainLib's rows on the same shapes."""

from __future__ import annotations

import csv
import re
from dataclasses import dataclass
from pathlib import Path

TABLE = Path(__file__).parent / "trainlib.csv"
TARGET = "pulp -l1-bytes=262144"
"""L1 raised for both: several of TrainLib's shapes, and its im2col buffers, exceed 64 KiB."""

_STEPS = {"FW": "forward", "WG": "weight-grad", "IG": "data-grad", "BW": "data-grad"}


@dataclass(frozen=True)
class Row:
    """A layer and step of TrainLib's, and the same work as `tvmc bench` names it.

    Attributes
    ----------
    layer, shape, step : str
        As TrainLib's table has them.
    work : int
        Multiply-accumulates; elements of relu and sgd.
    cycles : float
        Of its best variant.
    right : bool
        Whether its result was right.
    kernel : str
        For `make_workload`.
    """

    layer: str
    shape: str
    step: str
    work: int
    cycles: float
    right: bool
    kernel: str


def read_rows() -> list[Row]:
    """Read the table."""
    lines = [line for line in TABLE.read_text().splitlines() if not line.startswith("#")]
    return [
        Row(
            r["layer"],
            r["shape"],
            r["step"],
            int(r["macs"]),
            float(r["cycles"]),
            r["ok"] == "1",
            kernel_of(r["layer"], r["shape"], r["step"]),
        )
        for r in csv.DictReader(lines)
    ]


def kernel_of(layer: str, shape: str, step: str) -> str:
    """Return the specification of a row's work; data in L1 as there.

    Raises
    ------
    ValueError
        For a layer that is not known.
    """
    sizes = [int(number) for number in re.findall(r"\d+", shape)]
    kind, suffix = layer.partition("-")[0], f",step={_STEPS.get(step, step)},source=l1"
    if kind == "pw":
        dtype = ",dtype=float16" if layer.endswith("fp16") else ""
        cin, cout, h, w = sizes
        return f"conv2d:cin={cin},cout={cout},h={h},w={w},kernel=1{dtype}{suffix}"
    if kind == "dw3x3":
        channels, h, w = sizes
        return f"depthwise:channels={channels},h={h},w={w}{suffix}"
    if kind == "conv2d":
        cin, cout, h, w, kernel, pad, stride = sizes
        text = f"cin={cin},cout={cout},h={h},w={w},kernel={kernel},pad={pad},stride={stride}"
        return f"conv2d:{text}{suffix}"
    if kind == "linear":
        return f"linear:inputs={sizes[0]},outputs={sizes[1]}{suffix}"
    if kind == "relu":
        return f"relu:elements={sizes[0]}{suffix}"
    if kind == "softmax+CE loss":
        return f"cross_entropy:classes={sizes[0]},step=forward,source=l1"
    if kind == "softmax+CE grad":
        return f"cross_entropy:classes={sizes[0]}{suffix}"
    if kind == "sgd":
        return f"sgd:elements={sizes[0]},source=l1"
    raise ValueError(f"TrainLib's layer {layer!r} is not known")
