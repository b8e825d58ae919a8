"""Order of instructions for two workers that share a FPU."""

from tvm_pulp.schedules.microkernels.interleave import (
    Instruction,
    Stretch,
    cycles_of_a_pair,
    share_fpu_in_all,
)


def _line(name: str, to: str, *sources: str) -> Instruction:
    return Instruction(f"{name} {to}, {', '.join(sources)}", frozenset(sources), frozenset({to}))


def _values(count: int, prefix: str) -> list[Instruction]:
    """Return a load, a product and an addition for each value, the FPU's all together."""
    loads = [_line("lw", f"{prefix}{i}", "from") for i in range(count)]
    products = [_line("fmul.s", f"{prefix}p{i}", f"{prefix}{i}") for i in range(count)]
    return loads + products + [_line("addi", f"{prefix}r{i}", f"{prefix}p{i}") for i in range(count)]


def _run(stretches: list[Stretch]) -> list[Instruction]:
    return [line for stretch in stretches for line in stretch.run()]


def test_products_are_in_every_other_cycle_and_nothing_is_lost() -> None:
    stretches = [Stretch(_values(8, "a")), Stretch(_values(8, "b"), 3), Stretch(_values(7, "c"))]
    placed = share_fpu_in_all(stretches)
    for before, after in zip(stretches, placed, strict=True):
        assert sorted(line.text for line in before.lines) == sorted(line.text for line in after.lines)
        for line in after.lines:
            assert all(
                other in after.lines[: after.lines.index(line)]
                for other in before.lines
                if other.writes & line.reads
            )
    run = _run(placed)
    assert len({place % 2 for place, line in enumerate(run) if line.is_float}) == 1
    assert cycles_of_a_pair(run, 16) < cycles_of_a_pair(_run(stretches), 16)


def test_where_there_is_too_little_beside_the_products_the_order_is_as_good_as_before() -> None:
    body = [_line("fmul.s", f"r{i}", f"r{i}") for i in range(6)] + [_line("addi", "a0", "a0")]
    assert cycles_of_a_pair(_run(share_fpu_in_all([Stretch(body)])), 4) <= cycles_of_a_pair(body, 4)
