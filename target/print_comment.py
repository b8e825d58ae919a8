"""The comment above a kernel: its operator and layer, its tensors, tile, L1 and multiply-accumulates."""

from __future__ import annotations

from typing import Any

from tvm_pulp.target.tvm_names import PrimFunc, buffer_dtype, buffer_shape


def attributes_of(function: PrimFunc) -> dict[str, Any]:
    """Return a function's attributes by name."""
    return {str(key): value for key, value in function.attrs.items()} if function.attrs is not None else {}


def kernel_comment(symbol: str, function: PrimFunc) -> list[str]:
    """Return the lines of the comment above a kernel of a C name."""
    get = attributes_of(function).get
    arguments = get("pulp.arguments")
    if arguments is None:
        shapes = [
            f"{p.name} {'x'.join(map(str, buffer_shape(p)))} {buffer_dtype(p)}" for p in function.params
        ]
    else:
        shapes = [str(text) for text in arguments]
    lines = [f"/* {symbol}: {get('pulp.operator', 'kernel')} of layer {get('pulp.layer', '(none)')}"]
    lines += [f" *   {shape}" for shape in shapes]
    if get("pulp.tile"):
        lines += [f" * tile: {get('pulp.tile')}"]
    lines += [
        f" * L1: {int(get('pulp.l1_bytes', 0))} bytes; multiply-accumulates: {int(get('pulp.macs', 0))}"
    ]
    lines += [f" * note: {note}" for note in get("pulp.notes", ())]
    return [*lines, " */"]
