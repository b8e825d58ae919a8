"""Order of the products, loads and stores of a block of straight-line code, see `straight_line`."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace

VALUES = 3
"""Registers for values of the source that do not stay."""


@dataclass(frozen=True)
class Product:
    """``target += value * factor``, or ``target = value * factor`` where it is the first.

    With ``source``, the name of another sum, it is ``target = source + value * factor``. Where it
    ``replaces``, the target was another sum until then, which is complete.
    """

    target: str
    factor: str
    first: bool = False
    source: str = ""
    replaces: bool = False


@dataclass
class Value:
    """A value of the source: its place, in elements from ``from``, and what is done with it.

    ``factors``, which may also be sums to add to, are loaded before: names and places in elements from
    ``with``. ``stores`` come after the products: names and places in elements from ``to``.

    ``register`` names the register of a pair of values: one that the block before has loaded (``is_held``),
    and the one that is loaded for the next block in its stead. Where ``is_outside``, such a value is 0 for
    the first block of a walk, which starts at the image's edge, unless the C variable ``inside`` is true.
    """

    place: int
    products: list[Product] = field(default_factory=list)
    factors: list[tuple[str, int]] = field(default_factory=list)
    stores: list[tuple[str, int]] = field(default_factory=list)
    register: str = ""
    is_held: bool = False
    is_outside: bool = False


@dataclass(frozen=True)
class Access:
    """A load or a store of a place, in elements from where the pointer is at the start of the block."""

    is_load: bool
    register: str
    pointer: str
    place: int


def product_order(
    values: list[Value],
    zeros: list[int],
    scratch: Mapping[str, str],
    temporaries: Collection[str],
    pool: Sequence[str],
) -> list[Access | str]:
    """Return products, as text, and accesses in the order of a loop: in turn while there are both.

    Products stay in their order. A value's register is loaded again when its products are done, a product
    comes two instructions after the loads that it waits for, a result is stored once its sum is complete.

    Parameters
    ----------
    values, zeros
        See `straight_line.Block`.
    scratch
        Registers of names. Those of values that do not stay are ``v0`` and so on.
    temporaries
        Names that take a register of the pool for as long as they are needed.
    pool
        At least `most_temporaries` registers.
    """
    return _Order(values, zeros, scratch, temporaries, pool).lines()


def most_temporaries(values: list[Value], temporaries: Collection[str]) -> int:
    """Return how many of the temporaries are needed at a time."""
    products = _products(values)
    ends = _last_uses(products, temporaries)
    live: set[str] = set()
    most = 0
    for number, (_, product) in enumerate(products):
        live |= {name for name in _names(product) if name in ends}
        most = max(most, len(live))
        live -= {name for name in live if ends[name] == number}
    return most


def _products(values: list[Value]) -> list[tuple[int, Product]]:
    """Return all products with the number of their value."""
    return [(number, product) for number, value in enumerate(values) for product in value.products]


def _names(product: Product) -> tuple[str, ...]:
    return tuple(name for name in (product.target, product.source, product.factor) if name)


def _last_uses(products: list[tuple[int, Product]], temporaries: Collection[str]) -> dict[str, int]:
    """Return for each temporary the number of the last product that needs it."""
    return {
        name: number
        for number, (_, product) in enumerate(products)
        for name in _names(product)
        if name in temporaries
    }


class _Order:
    """Puts the instructions of a block in order, see `product_order`."""

    def __init__(
        self,
        values: list[Value],
        zeros: list[int],
        scratch: Mapping[str, str],
        temporaries: Collection[str],
        pool: Sequence[str],
    ) -> None:
        self.products = _products(values)
        self.registers = dict(scratch)
        self.ends, self.free = _last_uses(self.products, temporaries), list(pool)
        stops = [sum(len(value.products) for value in values[: n + 1]) for n in range(len(values))]
        self.loads: list[tuple[str, str, int, Access]] = []  # what, its register's name, products before it
        self.values: list[str] = []  # registers' names
        count, turn = sum(f"v{i}" in scratch for i in range(VALUES)), 0
        free_after: dict[str, int] = {}  # register's name → products after which it may be loaded
        for n, value in enumerate(values):
            name = value.register
            if not name:
                name, turn = f"v{turn}", (turn + 1) % count
            if not value.is_held:
                load = Access(True, name, "from", value.place)
                self.loads.append((f"value {n}", name, free_after.get(name, 0), load))
            self.loads += [
                (factor, factor, 0, Access(True, factor, "with", place)) for factor, place in value.factors
            ]
            self.values.append(name)
            free_after[name] = stops[n]
        self.loaded = {what for what, *_ in self.loads}
        self.complete: dict[int, list[Access]] = {}  # products → what may be stored after them
        for value, stop in zip(values, stops, strict=True):
            for name, place in value.stores:
                summed = (n for n in range(stop) if self._adds_to(n, name))
                self.complete.setdefault(max(summed, default=stop - 1) + 1, []).append(
                    Access(False, name, "to", place)
                )
        self.stored = {store.register for stores in self.complete.values() for store in stores}
        self.stores = [Access(False, "zero", "to", place) for place in zeros]

    def _adds_to(self, number: int, name: str) -> bool:
        product = self.products[number][1]
        return product.target == name and not product.replaces

    def lines(self) -> list[Access | str]:
        """Return all instructions; accesses name registers."""
        lines: list[Access | str] = []
        ready: dict[str, int] = {}  # what is loaded → first line that may use it without a wait
        done = 0
        while done < len(self.products) or self.loads or self.stores:
            may_multiply = is_early = False
            if done < len(self.products):
                number, product = self.products[done]
                needs = {f"value {number}", *_names(product)} & self.loaded
                may_multiply = needs <= ready.keys() and self._may_begin(product.target)
                is_early = may_multiply and any(ready[name] > len(lines) for name in needs)
            may_load = bool(self.loads) and self.loads[0][2] <= done and self._may_begin(self.loads[0][1])
            after_product = bool(lines) and isinstance(lines[-1], str)
            if (self.stores or may_load) and (after_product or not may_multiply or is_early):
                if self.stores:
                    store = self.stores.pop(0)
                    lines.append(replace(store, register=self._operand(store.register)))
                    self._end(store.register, done)
                else:
                    what, name, _, access = self.loads.pop(0)
                    self._begin(name)
                    lines.append(replace(access, register=self._operand(name)))
                    ready[what] = len(lines) + 1
                continue
            assert may_multiply, "more temporaries than registers"
            self._begin(product.target)
            lines.append(self._multiply(product, self.values[number]))
            done += 1
            self.stores += self.complete.get(done, [])
            for name in _names(product):
                if name not in self.stored:
                    self._end(name, done)
        return lines

    def _multiply(self, product: Product, value: str) -> str:
        target, factor = self._operand(product.target), self._operand(product.factor)
        end = "" if product.first else f", {self._operand(product.source or product.target)}"
        operation = "fmul" if product.first else "fmadd"
        return f"{operation}.s {target}, {self._operand(value)}, {factor}{end}"

    def _operand(self, name: str) -> str:
        return self.registers.get(name, "zero" if name == "zero" else f"%[{name}]")

    def _may_begin(self, name: str) -> bool:
        """Tell whether there is a register for a name."""
        return name not in self.ends or name in self.registers or bool(self.free)

    def _begin(self, name: str) -> None:
        if name in self.ends and name not in self.registers:
            self.registers[name] = self.free.pop(0)

    def _end(self, name: str, done: int) -> None:
        """Set a temporary's register free if no product is left that needs it."""
        if self.ends.get(name, done) < done and name in self.registers:
            self.free.append(self.registers.pop(name))
