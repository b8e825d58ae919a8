"""Operations on an element of a stream: their instructions and C."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Operation:
    """Instructions and C of an operation; ``{d}`` is the result, ``{0}`` ... the sources.

    Of several instructions only the first may read source 0, which may share the result's register.
    ``in_place``: those where neither source 0 nor 1 is needed any more; they may overwrite source 0, and the
    result takes the register of source 1.
    """

    instructions: tuple[str, ...]
    c: str
    in_place: tuple[str, ...] = ()


OPERATIONS = {
    "add": Operation(("fadd.s {d}, {0}, {1}",), "{0} + {1}"),
    "subtract": Operation(("fsub.s {d}, {0}, {1}",), "{0} - {1}"),
    "multiply": Operation(("fmul.s {d}, {0}, {1}",), "{0} * {1}"),
    "multiply_add": Operation(("fmadd.s {d}, {0}, {1}, {2}",), "{0} * {1} + {2}"),
    "multiply_subtract": Operation(("fnmsub.s {d}, {0}, {1}, {2}",), "{2} - {0} * {1}"),
    "maximum": Operation(("fmax.s {d}, {0}, {1}",), "{0} > {1} ? {0} : {1}"),
    "minimum": Operation(("fmin.s {d}, {0}, {1}",), "{0} < {1} ? {0} : {1}"),
    # the larger of the source and 0, the source within 0 .. source 1: floats are in integer registers, and
    # those above 0 are in order as integers, without the FPU
    "rectify": Operation(("P_MAX({d}, {0}, zero)",), "{0} > 0.0f ? {0} : 0.0f"),
    "clip": Operation(("P_CLIPUR({d}, {0}, {1})",), "{0} > 0.0f ? {0} < {1} ? {0} : {1} : 0.0f"),
    # source 1 where source 0 is above 0, else 0: as integers, too, positive floats are above 0. In place,
    # source 1 less itself or less nothing
    "where_positive": Operation(
        ("slti {d}, {0}, 1", "addi {d}, {d}, -1", "and {d}, {d}, {1}"),
        "{0} > 0.0f ? {1} : 0.0f",
        ("slti {0}, {0}, 1", "P_MSU({1}, {1}, {0})"),
    ),
    # source 1 where 0 < source 0 <= source 2, else 0: positive floats are in order as integers
    "where_between": Operation(
        ("addi {d}, {0}, -1", "sltu {d}, {d}, {2}", "neg {d}, {d}", "and {d}, {d}, {1}"),
        "{0} > 0.0f && {0} <= {2} ? {1} : 0.0f",
    ),
    # source 1 where the next bit of a mask is set, else 0
    "where_bit": Operation(
        ("srai {d}, {0}, 31", "slli {0}, {0}, 1", "and {d}, {d}, {1}"),
        "({0}[i % 4] >> (31 - i / 4)) & 1 ? {1} : 0.0f",
    ),
    # the next bit of a mask, source 1; the result is a scratch register
    "pack_positive": Operation(
        ("slt {d}, zero, {0}", "slli {1}, {1}, 1", "or {1}, {1}, {d}"), "({0} > 0.0f)"
    ),
    "pack_between": Operation(
        ("addi {d}, {0}, -1", "sltu {d}, {d}, {2}", "slli {1}, {1}, 1", "or {1}, {1}, {d}"),
        "({0} > 0.0f && {0} <= {2})",
    ),
}
PACKS = ("pack_positive", "pack_between")
"""Operations that make the next bit of a mask."""
