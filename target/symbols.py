"""Names in C for names in models: readable, unique and a function of the name alone.

`features.0.weight` becomes `features__0__weight`: a dot is two underscores, all else that C allows stays.
A name that this would not keep apart from others, or that C does not allow, gets its checksum at the end.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterable

from tvm_pulp.target.errors import UserError
from tvm_pulp.target.plan import Buffer

_PLAIN = re.compile(r"[A-Za-z0-9]+(?:[._][A-Za-z0-9]+)*")
_STATE = re.compile(r"(?P<what>[A-Za-z0-9]+):(?P<name>.+)", re.DOTALL)
_CHECKSUM = re.compile(r"_h[0-9a-f]{8}$")
_KEYWORDS = frozenset(
    "auto break case char const continue default do double else enum extern float for goto if inline int "
    "long register restrict return short signed sizeof static struct switch typedef union unsigned void "
    "volatile while main".split()
)


def mangle(name: str) -> str:
    """Turn a name into a part of a C identifier; different names give different parts.

    >>> mangle("features.0.running_mean")
    'features__0__running_mean'
    >>> mangle("a/b")
    'a_b_h09cd3158'
    """
    if _PLAIN.fullmatch(name) and not _CHECKSUM.search(name):
        return name.replace(".", "__")
    readable = re.sub(r"[^A-Za-z0-9]+", "_", name).strip("_")
    return f"{readable}_h{zlib.crc32(name.encode()):08x}"


def symbol_of(model: str, buffer: Buffer) -> str:
    """The C symbol of a named tensor.

    Parameters
    ----------
    model
        Module name, the prefix of all symbols.
    buffer
        A tensor of any kind but "activation".

    Returns
    -------
    str
        `<model>_<kind>_<name>`; `<model>_labels`, `<model>_loss` and `<model>_replay_...`. The state
        "momentum:a.b" becomes `<model>_state_momentum_a__b`.
    """
    if buffer.kind in ("labels", "loss"):
        return f"{model}_{buffer.kind}"
    if buffer.kind in ("replays", "slots", "rows"):
        return f"{model}_{buffer.name}"
    state = _STATE.fullmatch(buffer.name) if buffer.kind == "state" else None
    name = f"{state['what']}_{mangle(state['name'])}" if state else mangle(buffer.name)
    return f"{model}_{buffer.kind}_{name}"


def symbol_table(model: str, buffers: Iterable[Buffer]) -> dict[str, str]:
    """C symbol → name in the model, the way back from `symbol_of`.

    Raises
    ------
    UserError
        If two tensors would have the same symbol.
    """
    table: dict[str, str] = {}
    for buffer in buffers:
        symbol = symbol_of(model, buffer)
        if table.setdefault(symbol, buffer.name) != buffer.name:
            raise UserError(
                f'"{buffer.name}" and "{table[symbol]}" both become {symbol} in C; rename one in the model'
            )
    return table


def check_model_name(model: str) -> None:
    """Refuse a module name that cannot start C symbols.

    Raises
    ------
    UserError
        If it is not a C identifier.
    """
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_]*", model) or model in _KEYWORDS:
        raise UserError(f'module name "{model}" is not a C identifier; use letters, digits and underscores')
