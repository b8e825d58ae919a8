"""Print scalar TIR expressions as C99.

Integer division and remainder of TIR round down; C's round towards zero, so they are printed as ``/`` and
``%`` only where the dividend is known not to be negative.
"""

from __future__ import annotations

from tvm_pulp.target.c_names import NameTable, c_type, float_literal
from tvm_pulp.target.expressions import call_name
from tvm_pulp.target.half_precision import half_bits, in_single_precision
from tvm_pulp.target.print_pointers import HoistedRead, WalkingPointer, flat_index
from tvm_pulp.target.tvm_names import (
    EQ,
    GE,
    GT,
    LE,
    LT,
    NE,
    Add,
    And,
    BitwiseAnd,
    BitwiseOr,
    BitwiseXor,
    Buffer,
    BufferLoad,
    Call,
    Cast,
    Div,
    Expr,
    FloatImm,
    FloorDiv,
    FloorMod,
    IntImm,
    Let,
    LShift,
    Max,
    Min,
    Mod,
    Mul,
    Not,
    Or,
    RShift,
    Select,
    Sub,
    Var,
    arith,
    expr_dtype,
)

# C's precedence, highest binds tightest
_PRIMARY, _UNARY, _MULTIPLY, _ADD, _SHIFT, _COMPARE, _EQUAL = 15, 14, 13, 12, 11, 10, 9
_BIT_AND, _BIT_XOR, _BIT_OR, _AND, _OR, _CONDITIONAL = 8, 7, 6, 5, 4, 3

# Level of an operator → of operands that get parentheses without need: compilers warn of them otherwise.
_MISREAD_IN_BITS = frozenset((_ADD, _COMPARE, _EQUAL, _BIT_AND, _BIT_XOR))
_MISREAD = {_OR: frozenset((_AND,)), _SHIFT: frozenset((_ADD,)), _EQUAL: frozenset((_COMPARE,))}
_MISREAD |= {level: _MISREAD_IN_BITS for level in (_BIT_AND, _BIT_XOR, _BIT_OR)}

_BINARY = {
    Add: ("+", _ADD),
    Sub: ("-", _ADD),
    Mul: ("*", _MULTIPLY),
    Div: ("/", _MULTIPLY),
    Mod: ("%", _MULTIPLY),
    LT: ("<", _COMPARE),
    LE: ("<=", _COMPARE),
    GT: (">", _COMPARE),
    GE: (">=", _COMPARE),
    EQ: ("==", _EQUAL),
    NE: ("!=", _EQUAL),
    BitwiseAnd: ("&", _BIT_AND),
    BitwiseXor: ("^", _BIT_XOR),
    BitwiseOr: ("|", _BIT_OR),
    And: ("&&", _AND),
    Or: ("||", _OR),
    LShift: ("<<", _SHIFT),
    RShift: (">>", _SHIFT),
}

# the functions of runtime/kernels/pulp_math.h
_MATH_CALLS = {
    "exp": "pulp_expf",
    "exp2": "pulp_exp2f",
    "log": "pulp_logf",
    "log2": "pulp_log2f",
    "log1p": "pulp_log1pf",
    "tanh": "pulp_tanhf",
    "sigmoid": "pulp_sigmoidf",
    "sqrt": "pulp_sqrtf",
    "rsqrt": "pulp_rsqrtf",
    "pow": "pulp_powf",
    "erf": "pulp_erff",
    "floor": "pulp_floorf",
    "ceil": "pulp_ceilf",
    "round": "pulp_roundf",
    "nearbyint": "pulp_nearbyintf",
    "trunc": "pulp_truncf",
    "fabs": "__builtin_fabsf",
    "copysign": "__builtin_copysignf",
}
_INFIX_CALLS = {
    "shift_left": ("<<", _SHIFT),
    "shift_right": (">>", _SHIFT),
    "bitwise_and": ("&", _BIT_AND),
    "bitwise_or": ("|", _BIT_OR),
    "bitwise_xor": ("^", _BIT_XOR),
}


class ExpressionPrinter:
    """Prints expressions; knows the ranges of the variables in scope through ``analyzer``."""

    def __init__(self, names: NameTable, analyzer: arith.Analyzer) -> None:
        self.names = names
        self.analyzer = analyzer
        self.pointers: list[WalkingPointer] = []
        self.reads: list[HoistedRead] = []

    def __call__(self, expression: Expr) -> str:
        """Return C for an expression."""
        return self._print(expression)[0]

    def element(self, buffer: Buffer, indices: list[Expr]) -> str:
        """Return C for one element of a buffer, e.g. ``x[4 * i + j]``."""
        index = flat_index(buffer, indices, self.analyzer)
        for read in self.reads:
            if read.buffer.same_as(buffer) and self._constant(index - read.index) == 0:
                return self.names[read.variable]
        for pointer in self.pointers:
            if pointer.buffer.same_as(buffer):
                distance = self._constant(index - (pointer.step * pointer.loop + pointer.base))
                if distance is not None:
                    return f"{self.names[pointer.variable]}[{distance}]"
        return f"{self.names[buffer]}[{self(index)}]"

    def _constant(self, value: Expr) -> int | None:
        value = self.analyzer.simplify(value)
        return int(value.value) if isinstance(value, IntImm) else None

    def address(self, load: Expr) -> str:
        """Return C for the address of an element, e.g. ``x + (4 * i + j)``."""
        return self.offset(load.source, flat_index(load.source, list(load.indices), self.analyzer))

    def offset(self, buffer: Buffer, index: Expr) -> str:
        """Return C for a pointer to the element at a flat index."""
        if isinstance(index, IntImm) and int(index.value) == 0:
            return self.names[buffer]
        text, level = self._print(index)
        return f"{self.names[buffer]} + {text if level >= _MULTIPLY else f'({text})'}"

    def _at(self, expression: Expr, level: int) -> str:
        """Print with parentheses where the expression binds less tightly than ``level``."""
        text, own = self._print(expression)
        return text if own >= level else f"({text})"

    def _print(self, node: Expr) -> tuple[str, int]:
        if isinstance(node, IntImm):
            value = int(node.value)
            return (str(value), _PRIMARY) if value >= 0 else (f"({value})", _PRIMARY)
        if isinstance(node, FloatImm):
            number, is_half = float(node.value), expr_dtype(node) == "float16"
            return hex(half_bits(number)) if is_half else float_literal(number), _PRIMARY
        if isinstance(node, Var):
            return self.names[node], _PRIMARY
        wider = in_single_precision(node)
        if wider is not None:
            return self._print(wider)
        if isinstance(node, BufferLoad):
            return self.element(node.source, list(node.indices)), _PRIMARY
        if isinstance(node, FloorDiv | FloorMod):
            return self._floor_division(node)
        if isinstance(node, Min | Max):
            return self._extremum(node)
        if type(node) in _BINARY:
            return self._infix(node.a, node.b, *_BINARY[type(node)])
        if isinstance(node, Not):
            return "!" + self._at(node.a, _UNARY), _UNARY
        if isinstance(node, Select):
            return self._conditional(node.condition, node.true_value, node.false_value)
        if isinstance(node, Cast) and "float16" in (expr_dtype(node), expr_dtype(node.value)):
            return self._half_conversion(node)
        if isinstance(node, Cast):
            return f"({c_type(expr_dtype(node))}){self._at(node.value, _UNARY)}", _UNARY
        if isinstance(node, Let):
            raise ValueError("a Let expression must be bound by a statement before printing")
        if isinstance(node, Call):
            return self._call(node)
        raise ValueError(f"cannot print {type(node).__name__} as C: {node}")

    def _half_conversion(self, node: Cast) -> tuple[str, int]:
        """A conversion from or to float16, by way of float32."""
        to, source = expr_dtype(node), expr_dtype(node.value)
        if to == source:
            return self._print(node.value)
        if source == "float16":
            text = f"pulp_half_to_float({self(node.value)})"
            return (text, _PRIMARY) if to == "float32" else (f"({c_type(to)}){text}", _UNARY)
        value = node.value if source == "float32" else Cast("float32", node.value)
        return f"pulp_float_to_half({self(value)})", _PRIMARY

    def _infix(self, left: Expr, right: Expr, symbol: str, level: int) -> tuple[str, int]:
        if symbol == "+" and isinstance(right, IntImm) and int(right.value) < 0:
            return f"{self._at(left, level)} - {-int(right.value)}", level
        if (
            symbol == "+"
            and isinstance(right, Mul)
            and isinstance(right.b, IntImm)
            and int(right.b.value) < 0
        ):
            product = right.a * (-int(right.b.value))
            return f"{self._at(left, level)} - {self._at(product, level + 1)}", level
        # TIR's float sums keep their order: the right operand of the same level needs parentheses
        return f"{self._operand(left, level, level)} {symbol} {self._operand(right, level, level + 1)}", level

    def _operand(self, expression: Expr, operator: int, level: int) -> str:
        text, own = self._print(expression)
        misread = own != operator and own in _MISREAD.get(operator, ())
        return f"({text})" if own < level or misread else text

    def _floor_division(self, node: Expr) -> tuple[str, int]:
        divides = isinstance(node, FloorDiv)
        if self.analyzer.can_prove(node.a >= 0):
            return self._infix(node.a, node.b, "/" if divides else "%", _MULTIPLY)
        divisor = node.b
        if isinstance(divisor, IntImm):
            value = int(divisor.value)
            if value > 0 and value & (value - 1) == 0:
                if divides:
                    return f"{self._operand(node.a, _SHIFT, _SHIFT)} >> {value.bit_length() - 1}", _SHIFT
                return f"{self._operand(node.a, _BIT_AND, _BIT_AND)} & {value - 1}", _BIT_AND
        name = "pulp_floor_divide" if divides else "pulp_floor_modulo"
        return f"{name}({self(node.a)}, {self(node.b)})", _PRIMARY

    def _extremum(self, node: Expr) -> tuple[str, int]:
        kind = "min" if isinstance(node, Min) else "max"
        name = f"__builtin_f{kind}f" if expr_dtype(node).startswith("float") else f"pulp_{kind}"
        return f"{name}({self(node.a)}, {self(node.b)})", _PRIMARY

    def _conditional(self, condition: Expr, yes: Expr, no: Expr) -> tuple[str, int]:
        return (
            f"{self._at(condition, _OR)} ? {self._at(yes, _OR)} : {self._at(no, _CONDITIONAL)}",
            _CONDITIONAL,
        )

    def _call(self, node: Expr) -> tuple[str, int]:
        name = call_name(node)
        if name == "if_then_else":
            return self._conditional(*node.args)
        if name == "likely":
            return self._print(node.args[0])
        if name == "address_of":
            return self.address(node.args[0]), _ADD
        if name in ("call_extern", "call_pure_extern"):
            arguments = ", ".join(self(argument) for argument in list(node.args)[1:])
            return f"{node.args[0].value}({arguments})", _PRIMARY
        if name in _INFIX_CALLS:
            return self._infix(node.args[0], node.args[1], *_INFIX_CALLS[name])
        if name == "bitwise_not":
            return "~" + self._at(node.args[0], _UNARY), _UNARY
        if name in ("isnan", "isinf", "isfinite"):
            return f"__builtin_{name}({self(node.args[0])})", _PRIMARY
        if name == "reinterpret":
            kind = "int_as_float" if expr_dtype(node) == "float32" else "float_as_int"
            return f"pulp_{kind}({self(node.args[0])})", _PRIMARY
        if name in _MATH_CALLS and expr_dtype(node) == "float32":
            return f"{_MATH_CALLS[name]}({', '.join(self(argument) for argument in node.args)})", _PRIMARY
        if name == "fabs":
            return f"pulp_abs({self(node.args[0])})", _PRIMARY
        raise ValueError(f"cannot print the call '{name}' of type {expr_dtype(node)} as C")
