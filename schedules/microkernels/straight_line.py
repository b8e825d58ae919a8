"""Straight-line code of loads, products and stores, written as C or as assembly in a hardware loop.

A block is a list of values of the source in the order of their first use, each with the products that it
takes part in. In assembly products alternate with loads and stores for as long as there are any: two workers
that share an FPU fall into step, so that one has it while the other one accesses memory, and no load is
waited for. The last access by a pointer moves it on to the next block.

A value that the next block reads as well can stay in its register. Such a block starts with products; one
that starts with loads leaves the FPU idle, as the worker in step with it is there, too. So can a sum that the
next block adds to.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from tvm_pulp.schedules.microkernels.product_order import (
    VALUES,
    Access,
    Product,
    Value,
    most_temporaries,
    product_order,
)

_LARGEST_OFFSET = 2047
MOST_OPERANDS = 30
"""Operands of an inline assembly statement, of which one that is read and written counts twice (GCC)."""
SCRATCH = ("t0", "t1", "t2", "t3", "t4", "t5", "t6", "a7", "a6", "a5", "a4", "a3", "a2", "a1", "a0")
"""Registers of temporaries and values. They are clobbered, which does not count as operands."""
REGISTERS = 27
"""Registers for operands and values."""


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
    repeats
        Whether the walk may be repeated, see `assembly`.
    running
        Sums that live on from block to block, first of all zeros.
    last
        Places, in elements from ``to``, of the results that are the running sums after the last block.
    """

    values: list[Value]
    kept: list[str]
    updated: bool
    temporaries: list[str]
    zeros: list[int]
    steps: dict[str, int]
    repeats: bool = True
    running: list[str] = field(default_factory=list)
    last: dict[str, int] = field(default_factory=dict)

    @property
    def instructions(self) -> int:
        """Number of instructions of the assembly form."""
        parts = sum(len(v.products) + len(v.factors) + len(v.stores) for v in self.values)
        return parts + sum(not value.is_held for value in self.values) + len(self.zeros)

    @property
    def before(self) -> int:
        """Number of instructions before the first block of a walk, and after the last one."""
        return len(self.held) + len(self.running) + len(self.last)

    @property
    def held(self) -> dict[str, int]:
        """Registers with values when a block starts, and the values' places."""
        return {value.register: value.place for value in self.values if value.is_held}

    @property
    def outside(self) -> list[str]:
        """Registers whose values lie outside of the image when a walk starts at its edge."""
        return list(dict.fromkeys(value.register for value in self.values if value.is_outside))

    @property
    def at_edge(self) -> bool:
        """Whether a walk that starts at the image's edge starts with zeros."""
        return bool(self.outside)

    @property
    def products(self) -> int:
        """Number of products."""
        return sum(len(v.products) for v in self.values)

    @property
    def has_assembly(self) -> bool:
        """Whether operands and offsets fit what assembly takes."""
        pointers = (3 if self.repeats else 2) * len(self.steps)
        operands = len(self.kept) * (2 if self.updated else 1) + pointers + 1
        return self._reaches and operands <= MOST_OPERANDS and self.free_registers >= 0

    @property
    def free_registers(self) -> int:
        """Registers that are left for values that stay from block to block; less than 0: some are missing."""
        scratch = most_temporaries(self.values, self.temporaries) + self._value_registers
        scratch += len(self.held) + len(self.running)
        pointers = (2 if self.repeats else 1) * len(self.steps)
        return min(len(SCRATCH), REGISTERS - len(self.kept) - pointers - 1) - scratch

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
            "to": [*self.zeros, *self.last.values()],
        }
        places["to"] += [place for v in self.values for _, place in v.stores]
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
            if not value.products:  # loaded ahead
                continue
            body += [f"{name} = with[{place}];" for name, place in value.factors]
            read = f"from[{value.place}]"
            if value.is_outside:
                read = f"inside || block < {count} ? {read} : 0.0f"
            body.append(f"const float v{number} = {read};")
            body += _statements(value, f"v{number}")
        body += [f"to[{place}] = 0.0f;" for place in self.zeros]
        moves = ", ".join(f"{name} += {step}" for name, step in self.steps.items())
        again = ", ".join(
            f"{name} += {strides[name]} - {count} * {step}" for name, step in self.steps.items()
        )
        inner = indent + "  " * (repeat > 1)
        lines = "".join(f"{inner}  {line}\n" for line in body)
        text = "".join(f"{inner}float {name} = 0.0f;\n" for name in self.running)
        text += f"{inner}for (int32_t block = {count}; block > 0; --block, {moves}) {{\n{lines}{inner}}}\n"
        text += "".join(f"{inner}to[{place}] = {name};\n" for name, place in self.last.items())
        if repeat == 1:
            return text
        return f"{indent}for (int32_t strip = 0; strip < {repeat}; ++strip, {again}) {{\n{text}{indent}}}\n"

    def walk(
        self, starts: dict[str, int], count: str, repeat: int, moves: list[str], *, inside: bool
    ) -> list[str]:
        """Return assembly, a string in C a line: walks of ``count`` blocks, the ``moves`` after each."""
        lines, _ = self._instructions()
        first = self._first(starts, inside)
        last = [f'"sw {register}, {4 * offset}(%[to])\\n"' for register, offset in self._last(starts)]
        text = [*first, f"LP_SETUP(0, {count}, {len(lines)}, 5)", *lines[:-1], f'"5:\\n" {lines[-1]}', *last]
        if repeat > 1:
            text.insert(
                0, f'"li {SCRATCH[0]}, {repeat}\\n" LP_SETUP(1, {SCRATCH[0]}, {len(text) + len(moves)}, 6)'
            )
            moves = [*moves[:-1], moves[-1].replace('"', '"6: ', 1)]
        return [*text, *moves]

    @property
    def starts(self) -> dict[str, int]:
        """Places, in elements, where pointers must be at the start of the assembly form."""
        return self._instructions()[1]

    @property
    def clobbered(self) -> set[str]:
        """Registers that the assembly form uses beside the operands."""
        return {*self._scratch().values(), *self._pool(), SCRATCH[0]}

    def _first(self, starts: dict[str, int], inside: bool) -> list[str]:
        """Return what sets the registers that a block expects; ``starts`` are the places of the pointers."""
        scratch = self._scratch()
        lines = []
        for name, at in self.held.items():
            if name in self.outside and not inside:
                lines.append(f'"mv {scratch[name]}, zero\\n"')
            else:
                lines.append(f'"lw {scratch[name]}, {4 * (at - starts["from"])}(%[from])\\n"')
        return [*lines, *(f'"mv {scratch[name]}, zero\\n"' for name in self.running)]

    def _last(self, starts: dict[str, int]) -> list[tuple[str, int]]:
        """Return the registers to store after the last block, and how far from the pointer."""
        scratch = self._scratch()
        return [(scratch[name], at - starts["to"]) for name, at in self.last.items()]

    def _temporary_registers(self) -> int:
        """Return how many registers temporaries get: one each, if there are so many."""
        fewest = most_temporaries(self.values, self.temporaries)
        return min(len(self.temporaries), fewest + self.free_registers)

    def _scratch(self) -> dict[str, str]:
        """Return the registers of what has one for itself."""
        names = [f"v{i}" for i in range(self._value_registers)]
        pool = [""] * self._temporary_registers()
        registers = zip([*names, *pool, *self.held, *self.running], SCRATCH, strict=False)
        return {name: register for name, register in registers if name}

    def _pool(self) -> list[str]:
        """Return the registers of temporaries."""
        first = self._value_registers
        return list(SCRATCH[first : first + self._temporary_registers()])

    def _instructions(self) -> tuple[list[str], dict[str, int]]:
        """Return the loop's instructions, and for each pointer the place where it must start."""
        order = product_order(self.values, self.zeros, self._scratch(), self.temporaries, self._pool())
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


def _statements(value: Value, variable: str) -> list[str]:
    """Return C for a value's products and stores; a sum leaves before another one takes its place."""
    lines, stores = [], list(value.stores)
    for product in value.products:
        if product.replaces:
            lines += [f"to[{place}] = {name};" for name, place in stores if name == product.target]
            stores = [store for store in stores if store[0] != product.target]
        lines.append(_statement(product, variable))
    return [*lines, *(f"to[{place}] = {name};" for name, place in stores)]


def _statement(product: Product, value: str) -> str:
    if product.first:
        return f"{product.target} = {value} * {product.factor};"
    return f"{product.target} = {product.source or product.target} + {value} * {product.factor};"
