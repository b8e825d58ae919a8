"""Types, numbers and identifiers of TIR in C99."""

from __future__ import annotations

import math
import re

import numpy as np

from tvm_pulp.target.tvm_names import Var

C_TYPES = {
    "float32": "float",
    "float16": "pulp_half",  # see runtime/kernels/pulp_half.h
    "int64": "int64_t",
    "int32": "int32_t",
    "int16": "int16_t",
    "int8": "int8_t",
    "uint64": "uint64_t",
    "uint32": "uint32_t",
    "uint16": "uint16_t",
    "uint8": "uint8_t",
    "bool": "uint8_t",
}

_RESERVED = frozenset(
    "auto break case char const continue default do double else enum extern float for goto if inline int "
    "long register restrict return short signed sizeof static struct switch typedef union unsigned void "
    "volatile while "
    "asm core l1 bool true false main".split()
)


def c_type(dtype: str) -> str:
    """Return the C type of a TIR type such as ``"float32"``.

    Raises
    ------
    ValueError
        For a type that the printer does not know.
    """
    if dtype not in C_TYPES:
        raise ValueError(f"type '{dtype}' cannot be printed as C")
    return C_TYPES[dtype]


def float_literal(value: float) -> str:
    """Print a float32 value so that C reads back exactly the same bits.

    >>> float_literal(0.1)
    '0.1f'
    """
    single = np.float32(value)
    if math.isnan(single):
        return '__builtin_nanf("")'
    if math.isinf(single):
        return "__builtin_inff()" if single > 0 else "(-__builtin_inff())"
    text = str(single)  # the shortest decimal that reads back as this float32
    if "." not in text and "e" not in text:
        text += ".0"
    return f"({text}f)" if text.startswith("-") else text + "f"


def c_identifier(name: str) -> str:
    """Turn a name of the model into a C identifier.

    >>> c_identifier("features.0.weight")
    'features_0_weight'
    """
    text = re.sub(r"[^0-9A-Za-z_]", "_", name) or "value"
    if text[0].isdigit() or text in _RESERVED:
        text = "v_" + text
    return text


class NameTable:
    """Gives every variable and buffer of one C function its own identifier."""

    def __init__(self) -> None:
        self._names: dict[Var, str] = {}
        self._used: set[str] = set()

    def reserve(self, name: str) -> None:
        """Keep a name from being given out."""
        self._used.add(name)

    def __getitem__(self, variable: Var) -> str:
        if variable not in self._names:
            base = c_identifier(str(variable.name))
            name, number = base, 1
            while name in self._used:
                name, number = f"{base}_{number}", number + 1
            self._used.add(name)
            self._names[variable] = name
        return self._names[variable]
