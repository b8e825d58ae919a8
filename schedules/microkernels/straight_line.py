"""Straight-line code of loads, products and stores, written as C or as assembly in a hardware loop.

A block is a list of values of the source in the order of their first use, each with the products that it
takes part in. A value is loaded two values before it is needed, so that no load is waited for, and loads are
spread evenly between the products, so that two workers that share an FPU seldom want it at the same time.
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

    ``factors`` are loaded before: names and places in elements from ``with``. ``stores`` come after the
    products: names (None: zero) and places in elements from ``to``.
    """

    place: int
    products: list[Product] = field(default_factory=list)
    factors: list[tuple[str, int]] = field(default_factory=list)
    stores: list[tuple[str, int]] = field(default_factory=list)


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
        parts = sum(1 + len(v.products) + len(v.factors) + len(v.stores) for v in self.values)
        return parts + len(self.zeros) + len(self.steps)

    @property
    def products(self) -> int:
        """Number of products."""
        return sum(len(v.products) for v in self.values)

    @property
    def has_assembly(self) -> bool:
        """Whether operands and offsets fit what assembly takes."""
        operands = len(self.kept) * (2 if self.updated else 1) + 3 * len(self.steps) + 1
        scratch = len(self.temporaries) + _VALUES
        registers = len(self.kept) + 2 * len(self.steps) + 1 + scratch
        places = [v.place for v in self.values] + self.zeros + list(self.steps.values())
        places += [place for v in self.values for _, place in (*v.factors, *v.stores)]
        reach = all(4 * abs(place) <= _LARGEST_OFFSET for place in places)
        fits = scratch <= len(_SCRATCH) and registers <= _REGISTERS
        return reach and operands <= _MOST_OPERANDS and fits

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
        lines = self._instructions()
        backs = {f"{name}_back": name for name in self.steps} if repeat > 1 else {}
        text = ['".balign 4\\n.option push\\n.option norvc\\n"']
        if repeat > 1:
            outer = len(lines) + 1 + len(backs)
            text += [f'"li {_SCRATCH[0]}, {repeat}\\n" LP_SETUP(1, {_SCRATCH[0]}, {outer}, 6)']
        text += [f"LP_SETUP(0, %[count], {len(lines)}, 5)"]
        text += [f'"{line}\\n"' for line in lines[:-1]] + [f'"5: {lines[-1]}\\n"']
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
        clobbered = ", ".join(f'"{name}"' for name in (*self._scratch().values(), "memory"))
        return (
            f"{indent}__asm__ volatile(\n{code}\n"
            f"{indent}    : {', '.join(outputs)}\n{indent}    : {', '.join(inputs)}\n"
            f"{indent}    : {clobbered});\n"
        )

    def _scratch(self) -> dict[str, str]:
        """Return the registers of temporaries and values."""
        if not self.values:
            return {"none": _SCRATCH[0]}
        names = [*(f"v{i}" for i in range(_VALUES)), *self.temporaries]
        return dict(zip(names, _SCRATCH, strict=False))

    def _instructions(self) -> list[str]:
        values, scratch = self.values, self._scratch()
        lines = [f"sw zero, {4 * place}(%[to])" for place in self.zeros]

        def operand(name: str) -> str:
            return scratch.get(name, f"%[{name}]")

        def load(number: int) -> list[str]:
            if number >= len(values):
                return []
            return [f"lw {scratch[f'v{number % _VALUES}']}, {4 * values[number].place}(%[from])"]

        def factors(number: int) -> list[str]:
            found = values[number].factors if number < len(values) else []
            return [f"lw {operand(name)}, {4 * place}(%[with])" for name, place in found]

        lines += load(0) + factors(0) + load(1)
        for number, value in enumerate(values):
            register, products = scratch[f"v{number % _VALUES}"], []
            for p in value.products:
                target, factor = operand(p.target), operand(p.factor)
                if p.first:
                    products.append(f"fmul.s {target}, {register}, {factor}")
                else:
                    products.append(f"fmadd.s {target}, {register}, {factor}, {target}")
            lines += products[:1] + factors(number + 1) + load(number + 2) + products[1:]
            lines += [f"sw {operand(name)}, {4 * place}(%[to])" for name, place in value.stores]
        return lines + [f"addi %[{name}], %[{name}], {4 * step}" for name, step in self.steps.items()]


def _statement(product: Product, value: str) -> str:
    if product.first:
        return f"{product.target} = {value} * {product.factor};"
    return f"{product.target} = {product.target} + {value} * {product.factor};"
