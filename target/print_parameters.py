"""Print the assembly that places tensors with initial values in L2, where the loader writes them."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from tvm_pulp.target.plan import Buffer, MemoryPlan
from tvm_pulp.target.print_header import comment, shape_text
from tvm_pulp.target.symbols import symbol_of

PARAMETERS = "parameters"
"""Folder of the values."""


def is_stored(values: np.ndarray) -> bool:
    """Tell whether initial values need a file: not if all their bits are zero."""
    return any(np.ascontiguousarray(values).tobytes())


def is_initialised(buffer: Buffer, values: Mapping[str, np.ndarray]) -> bool:
    """Tell whether the loader writes a tensor: parameters and states, of the replay store the labels."""
    return buffer.kind in ("parameter", "state") or (buffer.kind == "replays" and buffer.name in values)


def print_parameters(model: str, plan: MemoryPlan, values: Mapping[str, np.ndarray]) -> str:
    """Print the assembly that places the initial values, bit by bit from files, in L2."""
    lines = [
        "/* Initial values of parameters and states. The loader writes them, the program changes them. */"
    ]
    for buffer in plan.buffers:
        if not is_initialised(buffer, values):
            continue
        symbol = symbol_of(model, buffer)
        stored = is_stored(values[buffer.name])
        content = f'.incbin "{PARAMETERS}/{symbol}.bin"' if stored else f".zero {buffer.bytes}"
        lines += ["", f"/* {comment(buffer.name)}: {buffer.dtype} {shape_text(buffer.shape)} */"]
        lines += stored_tensor(symbol, buffer.bytes, content)
    return "\n".join([*lines, ""])


def stored_tensor(symbol: str, size: int, content: str) -> list[str]:
    """Give the lines of assembly that place a tensor of so many bytes, written by the loader, in L2."""
    return [
        f'  .section .data.tensors.{symbol}, "aw", %progbits',
        "  .balign 16",
        f"  .globl {symbol}",
        f"  .type {symbol}, %object",
        f"  .size {symbol}, {size}",
        f"{symbol}:",
        f"  {content}",
    ]
