"""Straight-line code of loads, products and stores, written as C or as assembly in a hardware loop.

A block is a list of values of the source in the order of their first use, each with the products that it
takes part in. In assembly products alternate with loads and stores for as long as there are any: two workers
that share an FPU fall into step, so that one has it while the other one accesses memory, and no load is
waited for. The last access by a pointer moves it on to the next block.

A value that the next block reads as well can stay in its register. Such a block starts with products; one
that starts with loads leaves the FPU idle, as the worker in step with it is there, too.
"""

from __future__ import annotations

from dataclasses import dataclass, field

_LARGEST_OFFSET = 2047
_MOST_OPERANDS = 30
"""Operands of an inline assembly statement, of which one that is read and written counts twice (GCC)."""
_VALUES = 3
_SCRATCH = ("t0", "t1", "t2", "t3", "t4", "t5", "t6", "a7", "a6", "a5", "a4", "a3", "a2", "a1", "a0")
"""Registers of temporaries and values. They are clobbered, which does not count as operands."""
_REGISTERS = 27


@dataclass(frozen=True)
class Product:
    """``target += value * factor``, or ``target = value * factor`` where it is the first."""

    target: str
    factor: str
    first: bool = False


@dataclass
class Value:
    """A value of the source: its place, in elements from ``from``, and what is done with it.

    ``factors``, which may also be sums to add to, are loaded before: names and places in elements from
    ``with``. ``stores`` come after the products: names and places in elements from ``to``.

    ``register`` names the register of a pair of values: one that the block before has loaded (``is_held``),
    and the one that is loaded for the next block in its stead.
    """

    place: int
    products: list[Product] = field(default_factory=list)
    factors: list[tuple[str, int]] = field(default_factory=list)
    stores: list[tuple[str, int]] = field(default_factory=list)
    register: str = ""
    is_held: bool = False


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
    def products(self) -> int:
        """Number of products."""
        return sum(len(v.products) for v in self.values)

    @property
    def has_assembly(self) -> bool:
        """Whether operands and offsets fit what assembly takes."""
        operands = len(self.kept) * (2 if self.updated else 1) + 3 * len(self.steps) + 1
        return self._reaches and operands <= _MOST_OPERANDS and self.free_registers >= 0

    @property
    def free_registers(self) -> int:
        """Registers that are left for values that stay from block to block; less than 0: some are missing."""
        scratch = len(self.temporaries) + _VALUES + len(self.held)
        registers = len(self.kept) + 2 * len(self.steps) + 1 + scratch
        return min(len(_SCRATCH) - scratch, _REGISTERS - registers)

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
            body.append(f"const float v{number} = from[{value.place}];")
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
        held = [
            f'"lw {scratch[name]}, {4 * (place - starts["from"])}(%[from])\\n"'
            for name, place in self.held.items()
        ]
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
        inputs = [f'[count] "r"({count})']
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

    def _scratch(self) -> dict[str, str]:
        """Return the registers of temporaries and values."""
        if not self.values:
            return {"none": _SCRATCH[0]}
        names = [*(f"v{i}" for i in range(_VALUES)), *self.temporaries, *self.held]
        return dict(zip(names, _SCRATCH, strict=False))

    def _instructions(self) -> tuple[list[str], dict[str, int]]:
        """Return the loop's instructions, and for each pointer the place where it must start."""
        order = _order(self.values, self.zeros, self._scratch())
        last: dict[str, int] = {}
        starts: dict[str, int] = {}
        for number, line in enumerate(order):
            if isinstance(line, _Access):
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


@dataclass(frozen=True)
class _Access:
    """A load or a store of a place, in elements from where the pointer is at the start of the block."""

    is_load: bool
    register: str
    pointer: str
    place: int


def _order(values: list[Value], zeros: list[int], scratch: dict[str, str]) -> list[_Access | str]:
    """Return products, as text, and accesses in the order of a loop: in turn while there are both.

    Products stay in their order. A value's register is loaded again when its products are done, a product
    comes two instructions after the loads that it waits for, a result is stored once its sum is complete.
    """

    def operand(name: str) -> str:
        return scratch.get(name, f"%[{name}]")

    products = [(number, p) for number, value in enumerate(values) for p in value.products]
    ends = [sum(len(value.products) for value in values[: n + 1]) for n in range(len(values))]
    loads: list[tuple[str, int, _Access]] = []  # what is loaded, and how many products come before
    registers: list[str] = []
    free_after = {f"v{i}": 0 for i in range(_VALUES)}  # register → products after which it may be loaded
    turn = 0
    for n, value in enumerate(values):
        name = value.register
        if not name:
            name, turn = f"v{turn}", (turn + 1) % _VALUES
        if not value.is_held:
            load = _Access(True, scratch[name], "from", value.place)
            loads.append((f"value {n}", free_after[name], load))
        loads += [(name, 0, _Access(True, operand(name), "with", place)) for name, place in value.factors]
        registers.append(scratch[name])
        free_after[name] = ends[n]
    loaded = {name for name, _, _ in loads}
    stores = [_Access(False, "zero", "to", place) for place in zeros]
    lines: list[_Access | str] = []
    ready: dict[str, int] = {}  # what is loaded → first line that may use it without a wait
    done = 0
    while done < len(products) or loads or stores:
        may_multiply = is_early = False
        if done < len(products):
            number, product = products[done]
            needs = {f"value {number}", product.factor, product.target} & loaded
            may_multiply = needs <= ready.keys()
            is_early = may_multiply and any(ready[name] > len(lines) for name in needs)
        may_load = bool(loads) and loads[0][1] <= done
        after_product = bool(lines) and isinstance(lines[-1], str)
        if (stores or may_load) and (after_product or not may_multiply or is_early):
            if stores:
                lines.append(stores.pop(0))
            else:
                name, _, access = loads.pop(0)
                lines.append(access)
                ready[name] = len(lines) + 1
            continue
        target, factor = operand(product.target), operand(product.factor)
        register = registers[number]
        end = "" if product.first else f", {target}"
        lines.append(f"{'fmul' if product.first else 'fmadd'}.s {target}, {register}, {factor}{end}")
        done += 1
        if done == ends[number]:
            stores += [_Access(False, operand(name), "to", place) for name, place in values[number].stores]
    return lines


def _statement(product: Product, value: str) -> str:
    if product.first:
        return f"{product.target} = {value} * {product.factor};"
    return f"{product.target} = {product.target} + {value} * {product.factor};"
