"""Straight-line code of loads, products and stores, written as C or as assembly in a hardware loop.

A block is a list of values of the source in the order of their first use, each with the products that it
takes part in. In assembly products alternate with loads and stores for as long as there are any: two workers
that share an FPU fall into step, so that one has it while the other one accesses memory, and no load is
waited for. The last access by a pointer moves it on to the next block.

A value that the next block reads as well can stay in its register. Such a block starts with products; one
that starts with loads leaves the FPU idle, as the worker in step with it is there, too.
"""

from __future__ import annotations

from dataclasses import dataclass

from tvm_pulp.schedules.microkernels.product_order import VALUES, Access, Product, Value, product_order

_LARGEST_OFFSET = 2047
_MOST_OPERANDS = 30
"""Operands of an inline assembly statement, of which one that is read and written counts twice (GCC)."""
_SCRATCH = ("t0", "t1", "t2", "t3", "t4", "t5", "t6", "a7", "a6", "a5", "a4", "a3", "a2", "a1", "a0")
"""Registers of temporaries and values. They are clobbered, which does not count as operands."""
_REGISTERS = 27


@dataclass
class Block:
    """Straight-line code that is run again and again while pointers move on.

    Attributes
    ----------
    values
        What is done.
    kept
        Names that live on from block to block, set by C code outside.
    updated
        Whether the kept ones are changed.
    temporaries
        Names that are set and used within a block.
    zeros
        Places, in elements from ``to``, of results without any product.
    steps
        Pointers (``from`` and ``to`` or ``with``) and by how many elements they move on from block to block.
    """

    values: list[Value]
    kept: list[str]
    updated: bool
    temporaries: list[str]
    zeros: list[int]
    steps: dict[str, int]

    @property
    def instructions(self) -> int:
        """Number of instructions of the assembly form."""
        parts = sum(len(v.products) + len(v.factors) + len(v.stores) for v in self.values)
        return parts + sum(not value.is_held for value in self.values) + len(self.zeros)

    @property
    def held(self) -> dict[str, int]:
        """Registers with values when a block starts, and the values' places."""
        return {value.register: value.place for value in self.values if value.is_held}

    @property
    def outside(self) -> list[str]:
        """Registers whose values lie outside of the image when a walk starts at its edge."""
        return list(dict.fromkeys(value.register for value in self.values if value.is_outside))

    @property
    def products(self) -> int:
        """Number of products."""
        return sum(len(v.products) for v in self.values)

    @property
    def has_assembly(self) -> bool:
        """Whether operands and offsets fit what assembly takes."""
        operands = len(self.kept) * (2 if self.updated else 1) + 3 * len(self.steps) + 1 + bool(self.outside)
        return self._reaches and operands <= _MOST_OPERANDS and self.free_registers >= 0

    @property
    def free_registers(self) -> int:
        """Registers that are left for values that stay from block to block; less than 0: some are missing."""
        scratch = len(self.temporaries) + self._value_registers + len(self.held)
        registers = len(self.kept) + 2 * len(self.steps) + 1 + bool(self.outside) + scratch
        return min(len(_SCRATCH) - scratch, _REGISTERS - registers)

    @property
    def _value_registers(self) -> int:
        """Registers for values that do not stay."""
        return min(VALUES, sum(not value.register for value in self.values))

    @property
    def _reaches(self) -> bool:
        """Whether offsets from the place of a pointer's last access, which may be any, are small enough."""
        places: dict[str, list[int]] = {
            "from": [v.place for v in self.values],
            "with": [place for v in self.values for _, place in v.factors],
            "to": [*self.zeros, *(place for v in self.values for _, place in v.stores)],
        }
        for name, step in self.steps.items():
            far = max(map(abs, (step, *places[name])))
            if 4 * max(far, max(places[name]) - min(places[name])) > _LARGEST_OFFSET:
                return False
        return True

    def c(self, count: str, repeat: int, strides: dict[str, int], indent: str) -> str:
        """Return loops of ``repeat`` times ``count`` blocks in plain C.

        Parameters
        ----------
        count
            A C expression, at least 1.
        repeat
            How often the walk is repeated.
        strides
            By how many elements the pointers are further on at the start of the next walk.
        indent
            Put before each line.
        """
        body = [f"float {', '.join(self.temporaries)};"] if self.temporaries and self.values else []
        for number, value in enumerate(self.values):
            body += [f"{name} = with[{place}];" for name, place in value.factors]
            read = f"from[{value.place}]"
            if value.is_outside:
                read = f"inside || block < {count} ? {read} : 0.0f"
            body.append(f"const float v{number} = {read};")
            body += [_statement(product, f"v{number}") for product in value.products]
            body += [f"to[{place}] = {name};" for name, place in value.stores]
        body += [f"to[{place}] = 0.0f;" for place in self.zeros]
        moves = ", ".join(f"{name} += {step}" for name, step in self.steps.items())
        again = ", ".join(
            f"{name} += {strides[name]} - {count} * {step}" for name, step in self.steps.items()
        )
        inner = indent + "  " * (repeat > 1)
        lines = "".join(f"{inner}  {line}\n" for line in body)
        text = f"{inner}for (int32_t block = {count}; block > 0; --block, {moves}) {{\n{lines}{inner}}}\n"
        if repeat == 1:
            return text
        return f"{indent}for (int32_t strip = 0; strip < {repeat}; ++strip, {again}) {{\n{text}{indent}}}\n"

    def assembly(self, count: str, repeat: int, strides: dict[str, int], indent: str) -> str:
        """Return the same as an inline assembly statement of two hardware loops."""
        lines, starts = self._instructions()
        scratch = self._scratch()
        held = self._first_loads(starts.get("from", 0))
        backs = {f"{name}_back": name for name in self.steps} if repeat > 1 else {}
        text = ['".balign 4\\n.option push\\n.option norvc\\n"']
        text += [f'"addi %[{name}], %[{name}], {4 * place}\\n"' for name, place in starts.items() if place]
        if repeat > 1:
            outer = len(held) + len(lines) + 1 + len(backs)
            text += [f'"li {_SCRATCH[0]}, {repeat}\\n" LP_SETUP(1, {_SCRATCH[0]}, {outer}, 6)']
        text += [*held, f"LP_SETUP(0, %[count], {len(lines)}, 5)", *lines[:-1], f'"5:\\n" {lines[-1]}']
        for number, (back, name) in enumerate(backs.items()):
            label = "6: " if number == len(backs) - 1 else ""
            text.append(f'"{label}add %[{name}], %[{name}], %[{back}]\\n"')
        text.append('".option pop\\n"')
        outputs = [f'[{name}] "+r"({name})' for name in self.steps]
        kept = [f'[{name}] "{"+" if self.updated else ""}r"({name})' for name in self.kept]
        inputs = [f'[count] "r"({count})', *(['[inside] "r"(inside)'] if self.outside else [])]
        for back, name in backs.items():
            inputs.append(f'[{back}] "r"({4 * strides[name]} - {count} * {4 * self.steps[name]})')
        (outputs if self.updated else inputs).extend(kept)
        code = "\n".join(f"{indent}    {line}" for line in text)
        clobbered = ", ".join(f'"{name}"' for name in (*scratch.values(), "memory"))
        return (
            f"{indent}__asm__ volatile(\n{code}\n"
            f"{indent}    : {', '.join(outputs)}\n{indent}    : {', '.join(inputs)}\n"
            f"{indent}    : {clobbered});\n"
        )

    def _first_loads(self, start: int) -> list[str]:
        """Return the loads of what a block expects in registers; ``start`` is the place of the pointer."""
        scratch, outside = self._scratch(), self.outside
        loads = {n: f"lw {scratch[n]}, {4 * (at - start)}(%[from])" for n, at in self.held.items()}
        lines = [f'"{load}\\n"' for name, load in loads.items() if name not in outside]
        if outside:
            lines += ['"beqz %[inside], 3f\\n"', *(f'"{loads[name]}\\n"' for name in outside), '"j 4f\\n"']
            lines += [f'"{"3: " * (not n)}mv {scratch[name]}, zero\\n"' for n, name in enumerate(outside)]
            lines.append('"4: nop\\n"')
        return lines

    def _scratch(self) -> dict[str, str]:
        """Return the registers of temporaries and values."""
        if not self.values:
            return {"none": _SCRATCH[0]}
        names = [*(f"v{i}" for i in range(self._value_registers)), *self.temporaries, *self.held]
        return dict(zip(names, _SCRATCH, strict=False))

    def _instructions(self) -> tuple[list[str], dict[str, int]]:
        """Return the loop's instructions, and for each pointer the place where it must start."""
        order = product_order(self.values, self.zeros, self._scratch())
        last: dict[str, int] = {}
        starts: dict[str, int] = {}
        for number, line in enumerate(order):
            if isinstance(line, Access):
                last[line.pointer], starts[line.pointer] = number, line.place
        lines = []
        for number, line in enumerate(order):
            if isinstance(line, str):
                lines.append(f'"{line}\\n"')
            elif number == last[line.pointer]:
                macro, step = "P_LW" if line.is_load else "P_SW", 4 * self.steps[line.pointer]
                lines.append(f"{macro}({line.register}, {step}, %[{line.pointer}])")
            else:
                offset = 4 * (line.place - starts[line.pointer])
                name = "lw" if line.is_load else "sw"
                lines.append(f'"{name} {line.register}, {offset}(%[{line.pointer}])\\n"')
        return lines, starts


def _statement(product: Product, value: str) -> str:
    if product.first:
        return f"{product.target} = {value} * {product.factor};"
    return f"{product.target} = {product.target} + {value} * {product.factor};"
