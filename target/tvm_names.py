"""The one place that imports TVM's TIR names.

They are in flux between releases (``BufferLoad`` became ``TensorLoad``, ``LetStmt`` became ``Bind``,
``Allocate`` became ``AllocBuffer``, blocks moved to ``tvm.s_tir``, ``tvm.arith`` became ``tvm.sym``), so
everything else imports them from here.
"""

from __future__ import annotations

from typing import Any

from tvm import s_tir, te, tirx
from tvm import sym as arith
from tvm.ir import Call, IRModule, Op, Range, StringImm, TensorLoad, TensorRegion
from tvm.s_tir import SBlock as Block
from tvm.s_tir import SBlockRealize as BlockRealize
from tvm.s_tir import Schedule
from tvm.script.ir_builder import IRBuilder
from tvm.script.ir_builder import tirx as T
from tvm.tirx import (
    EQ,
    GE,
    GT,
    LE,
    LT,
    NE,
    Add,
    AllocBuffer,
    And,
    AttrStmt,
    Bind,
    BitwiseAnd,
    BitwiseNot,
    BitwiseOr,
    BitwiseXor,
    BufferStore,
    Cast,
    DeclBuffer,
    Div,
    Evaluate,
    FloatImm,
    FloorDiv,
    FloorMod,
    For,
    ForKind,
    IfThenElse,
    IntImm,
    IterVar,
    Let,
    LShift,
    Max,
    Min,
    Mod,
    Mul,
    Not,
    Or,
    PrimFunc,
    Reduce,
    RShift,
    Select,
    SeqStmt,
    Stmt,
    Sub,
    Var,
    While,
    address_of,
    call_extern,
    call_pure_extern,
    const,
    decl_buffer,
    if_then_else,
)
from tvm.tirx.buffer import is_buffer_var

BufferLoad = TensorLoad
BufferRegion = TensorRegion

Expr = Any
"""An expression node (TVM's own ``Expr`` also covers Relax)."""
Buffer = Any
"""A buffer: in this release a ``Var`` whose ``ty`` is a ``BufferType``."""

BINARY_NODES: tuple[Any, ...] = (
    Add, Sub, Mul, Div, Mod, FloorDiv, FloorMod, Min, Max,
    EQ, NE, LT, LE, GT, GE, And, Or, BitwiseAnd, BitwiseOr, BitwiseXor, LShift, RShift,
)  # fmt: skip


def load(buffer: Buffer, indices: list[Expr]) -> Expr:
    """Read one element of a buffer; the node's class is ``BufferLoad``."""
    return tirx.BufferLoad(buffer, indices)


def buffer_shape(buffer: Buffer) -> tuple[int, ...]:
    """Return the static shape of a buffer as Python integers."""
    return tuple(int(extent) for extent in buffer.ty.shape)


def buffer_dtype(buffer: Buffer) -> str:
    """Return the element type of a buffer, e.g. ``"float32"``."""
    return str(buffer.ty.dtype)


def buffer_scope(buffer: Buffer) -> str:
    """Return the storage scope of a buffer: ``"global"`` (L2), ``"global.l1"`` or ``"local"``."""
    return str(buffer.ty.storage_scope) or "global"


def dtype_bytes(dtype: str) -> int:
    """Return the size in bytes of one element of a type."""
    return 1 if dtype == "bool" else int(dtype.lstrip("abcdefghijklmnopqrstuvwxyz")) // 8


def expr_dtype(expression: Expr) -> str:
    """Return the type of a scalar expression, e.g. ``"int32"``; ``"string"`` for a name in a call."""
    return "string" if isinstance(expression, StringImm) else str(expression.ty.dtype)


__all__ = [
    "BINARY_NODES",
    "EQ",
    "GE",
    "GT",
    "LE",
    "LT",
    "NE",
    "Add",
    "AllocBuffer",
    "And",
    "AttrStmt",
    "Bind",
    "BitwiseAnd",
    "BitwiseNot",
    "BitwiseOr",
    "BitwiseXor",
    "Block",
    "BlockRealize",
    "Buffer",
    "BufferLoad",
    "BufferRegion",
    "BufferStore",
    "Call",
    "Cast",
    "DeclBuffer",
    "Div",
    "Evaluate",
    "Expr",
    "FloatImm",
    "FloorDiv",
    "FloorMod",
    "For",
    "ForKind",
    "IRBuilder",
    "IRModule",
    "IfThenElse",
    "IntImm",
    "IterVar",
    "LShift",
    "Let",
    "Max",
    "Min",
    "Mod",
    "Mul",
    "Not",
    "Op",
    "Or",
    "PrimFunc",
    "RShift",
    "Range",
    "Reduce",
    "Schedule",
    "Select",
    "SeqStmt",
    "Stmt",
    "StringImm",
    "Sub",
    "T",
    "Var",
    "While",
    "address_of",
    "arith",
    "buffer_dtype",
    "buffer_scope",
    "buffer_shape",
    "call_extern",
    "call_pure_extern",
    "const",
    "decl_buffer",
    "dtype_bytes",
    "expr_dtype",
    "if_then_else",
    "is_buffer_var",
    "load",
    "s_tir",
    "te",
    "tirx",
]  # fmt: skip
