"""Print a kernel in the cluster dialect as one file of plain C99.

The function has the signature ``void symbol(int core, char *l1, <pointer to each argument>...)`` and is run
by all workers; ``core`` is the worker's number and ``l1`` the start of the kernel's scratch in L1.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from tvm_pulp.target.c_names import NameTable, c_type
from tvm_pulp.target.print_analysis import (
    is_dma_only,
    slots_of_loop,
    split_moves,
    used_variables,
    written_buffers,
)
from tvm_pulp.target.print_comment import attributes_of, kernel_comment
from tvm_pulp.target.print_expressions import ExpressionPrinter
from tvm_pulp.target.print_pointers import HoistedRead, WalkingPointer, plan_pointers
from tvm_pulp.target.print_share import worker_range
from tvm_pulp.target.tvm_names import (
    AllocBuffer,
    AttrStmt,
    Bind,
    Buffer,
    BufferStore,
    Evaluate,
    Expr,
    For,
    ForKind,
    IfThenElse,
    IntImm,
    PrimFunc,
    SeqStmt,
    Stmt,
    Var,
    arith,
    buffer_dtype,
    buffer_scope,
    buffer_shape,
    dtype_bytes,
    expr_dtype,
)

KERNEL_DMA_SLOTS = 8
"""DMA slots that a kernel may use; those behind them are for transfers between kernels."""
_ALIGNMENT = 16


def print_kernel(function: PrimFunc, symbol: str, l1_offsets: Mapping[str, int] | None = None) -> str:
    """Print one kernel as a C file.

    Parameters
    ----------
    function
        A function in the cluster dialect (see docs/architecture.md, section 3).
    symbol
        The C name of the function.
    l1_offsets
        Byte offset from ``l1`` of each L1 buffer, by name. Without it the function's attribute
        ``"pulp.l1_offsets"`` counts, and without that the buffers are placed one after the other.

    Returns
    -------
    str
        The text of the file. It includes ``pulp_runtime.h``.
    """
    return _KernelPrinter(function, symbol, l1_offsets).text()


class _KernelPrinter:
    def __init__(self, function: PrimFunc, symbol: str, l1_offsets: Mapping[str, int] | None) -> None:
        self.function = function
        self.symbol = symbol
        self.attributes = attributes_of(function)
        placed = l1_offsets if l1_offsets is not None else self.attributes.get("pulp.l1_offsets")
        self.offsets = None if placed is None else {str(k): int(v) for k, v in placed.items()}
        self.next_offset = 0
        self.cores = int(self.attributes.get("pulp.cores", 0))
        self.names = NameTable()
        self.names.reserve(symbol)
        self.analyzer = arith.Analyzer()
        self.print = ExpressionPrinter(self.names, self.analyzer)
        self.used = used_variables(function.body)
        self.lines: list[str] = []
        self.depth = 1
        self.dma_slots = 0
        self.on_core_0 = False

    # the file

    def text(self) -> str:
        written = written_buffers(self.function.body)
        parameters = []
        for parameter in self.function.params:
            constant = "" if parameter in written else "const "
            kind = c_type(buffer_dtype(parameter))
            parameters.append(f"{constant}{kind} *restrict {self.names[parameter]}")
        if "pulp.core_0_moves" in self.attributes:
            self.core_0_apart()
        else:
            self.statement(self.function.body)
            if self.dma_slots:
                self.lines.insert(0, self.dma_state())
        arguments = ", ".join(["int core", "char *l1", *parameters])
        head = [
            *kernel_comment(self.symbol, self.function),
            "",
            '#include "pulp_runtime.h"',
            '#include "pulp_math.h"',
        ]
        if "pulp_half" in "\n".join([*parameters, *self.lines]):
            head.append('#include "pulp_half.h"')
        head.append("")
        for source in self.attributes.get("pulp.micro_kernels", ()):
            head += [str(source).rstrip("\n"), ""]
        words = set(re.findall(r"\w+", "\n".join(self.lines)))
        unused = [self.names[p] for p in self.function.params if self.names[p] not in words]
        ignored = ", ".join(f"(void){name}" for name in ("core", "l1", *unused))
        head += [f"void {self.symbol}({arguments}) {{", f"    {ignored};"]
        return "\n".join([*head, *self.lines, "}", ""])

    def core_0_apart(self) -> None:
        """Print what core 0 does, which is to drive the DMA, and what the other workers do."""
        declarations, moves, work = split_moves(self.function.body)
        for declaration in declarations:
            self.single(declaration)
        self.open("if (core == 0)")
        start, self.on_core_0 = len(self.lines), True
        if moves is not None:
            self.statement(moves)
        self.lines.insert(start, self.dma_state())
        self.on_core_0 = False
        self.close("} else {")
        self.depth += 1
        if work is not None:
            self.statement(work)
        self.close()

    def dma_state(self) -> str:
        return "    " * self.depth + f"PULP_DMA_STATE({self.dma_slots});"

    def count_slots(self, call: Evaluate) -> None:
        """Have as many DMA slots as the kernel's calls name."""
        if is_dma_only(call):
            last = int(self.analyzer.const_int_bound(call.value.args[1]).max_value)
            self.dma_slots = max(self.dma_slots, min(last + 1, KERNEL_DMA_SLOTS))

    # statements

    def line(self, text: str) -> None:
        self.lines.append("    " * self.depth + text)

    def open(self, text: str) -> None:
        self.line(text + " {")
        self.depth += 1

    def close(self, text: str = "}") -> None:
        self.depth -= 1
        self.line(text)

    def statement(self, node: Stmt) -> None:
        if isinstance(node, SeqStmt):
            self.sequence(list(node.seq))
        elif is_dma_only(node):
            self.sequence([node])
        else:
            self.single(node)

    def sequence(self, steps: list[Stmt]) -> None:
        """Print statements in order; runs of DMA statements share one ``if (core == 0)``."""
        position = 0
        while position < len(steps):
            if not is_dma_only(steps[position]):
                self.single(steps[position])
                position += 1
                continue
            if not self.on_core_0:
                self.open("if (core == 0)")
            while position < len(steps) and is_dma_only(steps[position]):
                self.single(steps[position])
                position += 1
            if not self.on_core_0:
                self.close()

    def single(self, node: Stmt) -> None:
        if isinstance(node, SeqStmt):
            for step in node.seq:
                self.single(step) if is_dma_only(node) else self.statement(step)
        elif isinstance(node, For):
            self.loop(node)
        elif isinstance(node, IfThenElse):
            self.branch(node)
        elif isinstance(node, BufferStore):
            self.line(f"{self.print.element(node.buffer, list(node.indices))} = {self.print(node.value)};")
        elif isinstance(node, Bind):
            if node.var not in self.used:
                return
            self.line(
                f"const {c_type(expr_dtype(node.var))} {self.names[node.var]} = {self.print(node.value)};"
            )
            if expr_dtype(node.var) == "int32":
                bound = self.analyzer.const_int_bound(node.value)
                self.analyzer.update(node.var, arith.ConstIntBound(bound.min_value, bound.max_value), True)
        elif isinstance(node, Evaluate):
            if not isinstance(node.value, IntImm):
                self.count_slots(node)
                self.line(f"{self.print(node.value)};")
        elif isinstance(node, AllocBuffer):
            self.allocate(node.buffer)
        elif isinstance(node, AttrStmt):
            self.attribute(node)
        else:
            raise ValueError(f"cannot print {type(node).__name__} as C:\n{node}")

    def body(self, node: Stmt, inside_dma: bool) -> None:
        self.single(node) if inside_dma else self.statement(node)

    def attribute(self, node: AttrStmt) -> None:
        """A named scope: a comment and braces, so that its buffers' names end with it."""
        self.line(f"/* {node.value.value} */")
        self.line("{")
        self.depth += 1
        self.body(node.body, is_dma_only(node))
        self.close()

    def allocate(self, buffer: Buffer) -> None:
        kind, shape = c_type(buffer_dtype(buffer)), buffer_shape(buffer)
        elements = 1
        for extent in shape:
            elements *= extent
        if buffer_scope(buffer) == "local":
            self.line(f"{kind} {self.names[buffer]}[{elements}];")
            return
        if self.offsets is not None:
            offset = self.offsets[str(buffer.name)]
        else:
            offset = self.next_offset
            size = elements * dtype_bytes(buffer_dtype(buffer))
            self.next_offset += (size + _ALIGNMENT - 1) // _ALIGNMENT * _ALIGNMENT
        self.line(f"{kind} *const {self.names[buffer]} = ({kind} *)(l1 + {offset});")

    def branch(self, node: IfThenElse) -> None:
        inside_dma = is_dma_only(node)
        self.open(f"if ({self.print(node.condition)})")
        with self.analyzer.constraint_scope(node.condition):
            self.body(node.then_case, inside_dma)
        if node.else_case is not None:
            self.close("} else {")
            self.depth += 1
            self.body(node.else_case, inside_dma)
        self.close()

    def loop(self, node: For) -> None:
        self.bind_range(node.loop_var, node.min, node.extent)
        parallel = node.kind == ForKind.PARALLEL
        if parallel:
            first, last = worker_range(node, self.cores, self.print)
        else:
            first, last = self.print(node.min), self.print(self.analyzer.simplify(node.min + node.extent))
        inside_dma = is_dma_only(node)
        pointers, reads = ([], []) if inside_dma else plan_pointers(node, self.analyzer)
        if inside_dma and self.analyzer.const_int_bound(node.extent).min_value > 0:
            slots = {self.print(slot) for slot in slots_of_loop(node)}
            if len(slots) == 1:
                self.line(f"dma_open({slots.pop()});")
        name = self.names[node.loop_var]
        if parallel:
            self.names.reserve(f"{name}_first")
            self.names.reserve(f"{name}_end")
            self.line(f"const int32_t {name}_first = {first}, {name}_end = {last};")
            first, last = f"{name}_first", f"{name}_end"
        self.hoist(pointers, reads, first)
        steps = "".join(f", {self.names[p.variable]} += {self.print(p.step)}" for p in pointers)
        if node.annotations and "pragma_unroll" in node.annotations:
            self.line(f"#pragma GCC unroll {int(node.annotations['pragma_unroll'])}")
        self.open(f"for (int32_t {name} = {first}; {name} < {last}; ++{name}{steps})")
        self.print.pointers += pointers
        self.print.reads += reads
        self.body(node.body, inside_dma)
        del self.print.pointers[len(self.print.pointers) - len(pointers) :]
        del self.print.reads[len(self.print.reads) - len(reads) :]
        self.close()

    def hoist(self, pointers: list[WalkingPointer], reads: list[HoistedRead], first: str) -> None:
        """Declare what an innermost loop walks along with and what it reads once."""
        for read in reads:
            value = self.print.element(read.buffer, [read.index])
            self.line(f"const {c_type(buffer_dtype(read.buffer))} {self.names[read.variable]} = {value};")
        for pointer in pointers:
            constant = "" if pointer.written else "const "
            start = pointer.base
            if first.lstrip("-").isdigit():
                start = self.analyzer.simplify(pointer.base + pointer.step * int(first))
            text = self.print.offset(pointer.buffer, start)
            if not first.lstrip("-").isdigit():
                step = self.print(pointer.step)
                begin = first if first.isidentifier() else f"({first})"
                text += f" + {first}" if step == "1" else f" + {begin} * ({step})"
            kind = c_type(buffer_dtype(pointer.buffer))
            self.line(f"{constant}{kind} *{self.names[pointer.variable]} = {text};")

    def bind_range(self, variable: Var, minimum: Expr, extent: Expr) -> None:
        """Tell the analyzer what is known of a loop variable."""
        low = self.analyzer.const_int_bound(minimum)
        high = self.analyzer.const_int_bound(minimum + extent)
        limit = 2**31 - 1
        if abs(low.min_value) < limit and abs(high.max_value) < limit and high.max_value > low.min_value:
            self.analyzer.update(variable, arith.ConstIntBound(low.min_value, high.max_value - 1), True)
