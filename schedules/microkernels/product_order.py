"""Order of the products, loads and stores of a block of straight-line code, see `straight_line`."""

from __future__ import annotations

from dataclasses import dataclass, field

VALUES = 3
"""Registers for values of the source that do not stay."""


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


def product_order(values: list[Value], zeros: list[int], scratch: dict[str, str]) -> list[Access | str]:
    """Return products, as text, and accesses in the order of a loop: in turn while there are both.

    Products stay in their order. A value's register is loaded again when its products are done, a product
    comes two instructions after the loads that it waits for, a result is stored once its sum is complete.
    """

    def operand(name: str) -> str:
        return scratch.get(name, f"%[{name}]")

    products = [(number, p) for number, value in enumerate(values) for p in value.products]
    ends = [sum(len(value.products) for value in values[: n + 1]) for n in range(len(values))]
    loads: list[tuple[str, int, Access]] = []  # what is loaded, and how many products come before
    registers: list[str] = []
    free_after = {f"v{i}": 0 for i in range(VALUES)}  # register → products after which it may be loaded
    turn = 0
    for n, value in enumerate(values):
        name = value.register
        if not name:
            name, turn = f"v{turn}", (turn + 1) % VALUES
        if not value.is_held:
            load = Access(True, scratch[name], "from", value.place)
            loads.append((f"value {n}", free_after[name], load))
        loads += [(name, 0, Access(True, operand(name), "with", place)) for name, place in value.factors]
        registers.append(scratch[name])
        free_after[name] = ends[n]
    loaded = {name for name, _, _ in loads}
    complete: dict[int, list[Access]] = {}  # products → what may be stored after them
    for value, stop in zip(values, ends, strict=True):
        for name, place in value.stores:
            last = max((n for n in range(stop) if products[n][1].target == name), default=stop - 1)
            complete.setdefault(last + 1, []).append(Access(False, operand(name), "to", place))
    stores = [Access(False, "zero", "to", place) for place in zeros]
    lines: list[Access | str] = []
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
        stores += complete.get(done, [])
    return lines
