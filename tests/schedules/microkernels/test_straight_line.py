"""The order of straight-line code: right, and without waits for the FPU that two workers share."""

import itertools

import pytest

from tvm_pulp.schedules.microkernels.product_order import Product, Value
from tvm_pulp.schedules.microkernels.straight_line import Block
from tvm_pulp.schedules.microkernels.walks_assembly import walks_assembly


def row_of_taps(results: int, stride: int) -> Block:
    """Three taps a result, along a line."""
    values = []
    for place in range((results - 1) * stride + 3):
        value = Value(place)
        for result in range(results):
            tap = place - result * stride
            if 0 <= tap < 3:
                value.products.append(Product(f"s{result}", f"k{tap}", tap == 0))
                if tap == 2:
                    value.stores.append((f"s{result}", result))
        values.append(value)
    sums = [f"s{result}" for result in range(results)]
    return Block(values, ["k0", "k1", "k2"], False, sums, [], {"from": 32, "to": results})


def instructions(block: Block) -> list[str]:
    """Return the lines of the hardware loop."""
    text = walks_assembly([(block, 1)], "count", {}, "")
    lines = [line.strip() for line in text.splitlines()]
    start = next(number for number, line in enumerate(lines) if line.startswith("LP_SETUP"))
    return [line for line in lines[start + 1 :] if not line.startswith((":", '".option', "__asm__"))]


def column_of_taps(held: bool) -> Block:
    """Two taps a result, down a column: each block reads a value that the next one reads, too."""
    sums = ["s0", "s1"]
    values = [
        Value(i, [Product(f"s{i}", "k0", True)], register=f"c{i}" if held else "", is_held=held)
        for i in range(2)
    ]
    for i in range(2):
        stays = Value(16 + i, [Product(f"s{i}", "k1")], register=f"c{i}" if held else "")
        stays.stores.append((f"s{i}", i))
        values.append(stays)
    return Block(values, ["k0", "k1"], False, sums, [], {"from": 16, "to": 2})


def test_values_that_stay_are_loaded_once_before_the_blocks() -> None:
    block = column_of_taps(held=True)
    assert block.held == {"c0": 0, "c1": 1}
    text = [
        line.strip() for line in walks_assembly([(block, 3)], "count", {"from": 2, "to": 2}, "").splitlines()
    ]
    start = next(n for n, line in enumerate(text) if line.startswith("LP_SETUP(0"))
    assert text[start].startswith(f"LP_SETUP(0, %[count], {block.instructions}, 5)")
    assert text[start - 2 : start] == ['"lw t2, -68(%[from])\\n"', '"lw t3, -64(%[from])\\n"']
    # the outer loop: these loads, the inner loop and what sets it up, the moves of two pointers
    assert f"LP_SETUP(1, t0, {2 + 1 + block.instructions + 2}, 6)" in text[start - 3]


def test_values_outside_of_the_image_are_zero_where_a_walk_starts_at_its_edge() -> None:
    block = column_of_taps(held=True)
    block.values[1].is_outside = True
    assert block.outside == ["c1"]
    for inside, second in ((True, "lw t3, -64(%[from])"), (False, "mv t3, zero")):
        text = walks_assembly([(block, 1)], "count", {}, "", inside=inside)
        lines = [line.strip().strip('"').removesuffix("\\n") for line in text.splitlines()]
        start = next(n for n, line in enumerate(lines) if line.startswith("LP_SETUP(0"))
        assert lines[start - 2 : start] == ["lw t2, -68(%[from])", second]
    text = block.c("count", 1, {"from": 2, "to": 2}, "").splitlines()
    assert "  const float v1 = inside || block < count ? from[1] : 0.0f;" in text


def test_a_block_with_values_that_stay_starts_with_products_and_loads_each_behind_its_last_product() -> None:
    lines = instructions(column_of_taps(held=True))
    assert len(lines) == column_of_taps(held=False).instructions - 2
    assert "fmul.s t0, t2, %[k0]" in lines[0]
    assert "lw t2, " in lines[1]
    assert "fmul.s t1, t3, %[k0]" in lines[2]
    assert "P_LW(t3, 64" in lines[3]
    assert ["fm" in line for line in lines] == [True, False, True, False, True, False, True, False]


@pytest.mark.parametrize("results,stride", [(4, 1), (4, 2), (8, 1)])
def test_products_alternate_with_accesses(results: int, stride: int) -> None:
    """Two accesses follow each other only where a block starts, and in nothing but stores at its end."""
    block = row_of_taps(results, stride)
    lines = instructions(block)
    assert len(lines) == block.instructions
    is_product = ["fm" in line for line in lines]
    assert sum(is_product) == block.products == 3 * results
    assert is_product[:3] == [False, False, True]
    accesses = [n for n in range(2, len(lines)) if not is_product[n] and not is_product[n - 1]]
    assert all("sw" in lines[n] or "P_SW" in lines[n] for n in accesses)


@pytest.mark.parametrize("results,stride", [(4, 1), (4, 2), (8, 1), (5, 3)])
def test_no_load_is_waited_for(results: int, stride: int) -> None:
    lines = instructions(row_of_taps(results, stride))
    for line, following in itertools.pairwise(lines):
        if "lw" in line or "P_LW" in line:
            register = line.replace("P_LW(", "lw ").split("lw ")[1].split(",")[0]
            assert f", {register}," not in following


def test_the_last_access_moves_its_pointer_on() -> None:
    block = row_of_taps(4, 1)
    lines = instructions(block)
    loads = [line for line in lines if "%[from]" in line]
    assert loads[-1].endswith("P_LW(t2, 128, %[from])")
    assert '"lw t0, -20(%[from])\\n"' in loads[0]
    assert '"addi %[from], %[from], 20\\n"' in walks_assembly([(block, 1)], "count", {}, "")
    assert lines[-1].endswith("P_SW(t6, 16, %[to])")
    assert not any("addi" in line for line in lines)


def test_walks_in_a_row_are_one_statement_whose_pointers_go_back_up() -> None:
    narrow, wide = row_of_taps(4, 1), row_of_taps(8, 1)
    narrow.steps = wide.steps = {"from": 32, "to": 8}
    text = walks_assembly([(narrow, 1), (wide, 2)], "count", {"from": 4, "to": 4}, "")
    lines = [line.strip() for line in text.splitlines()]
    setups = [n for n, line in enumerate(lines) if "LP_SETUP(0" in line]
    assert len(setups) == 2
    between = lines[setups[0] + narrow.instructions + 1 : setups[1]]
    starts = [block.starts for block in (narrow, wide)]
    assert between == [
        '"add %[from], %[from], %[from_back]\\n"',
        '"add %[to], %[to], %[to_back]\\n"',
        f'"addi %[from], %[from], {4 * (starts[1]["from"] - starts[0]["from"])}\\n"',
        f'"addi %[to], %[to], {4 * (starts[1]["to"] - starts[0]["to"])}\\n"',
        f'"li t0, 2\\n" LP_SETUP(1, t0, {1 + wide.instructions + 2}, 6)',
    ]
    assert '[from_back] "r"(16 - count * 128), [to_back] "r"(16 - count * 32)' in text
    assert text.count('[k0] "r"(k0)') == 1


def test_running_sums_start_with_zeros_and_the_last_ones_are_stored() -> None:
    value = Value(0, [Product("s0", "k1"), Product("s0", "k0", False, "s1", True), Product("s1", "k2", True)])
    value.stores.append(("s0", 0))
    block = Block(
        [value], ["k0", "k1", "k2"], False, [], [], {"from": 8, "to": 4}, running=["s0", "s1"], last={"s0": 0}
    )
    text = walks_assembly([(block, 1)], "count", {}, "")
    lines = [line.strip().strip('"').removesuffix("\\n") for line in text.splitlines()]
    start = next(n for n, line in enumerate(lines) if line.startswith("LP_SETUP(0"))
    assert lines[start - 2 : start] == ["mv t1, zero", "mv t2, zero"]
    # the sum that is complete leaves before its register takes the next one
    assert lines[start + 1 : start + 6] == [
        'P_LW(t0, 32, %[from])', "fmadd.s t1, t0, %[k1], t1", "P_SW(t1, 16, %[to])",
        "fmadd.s t1, t0, %[k0], t2", '5:\\n" "fmul.s t2, t0, %[k2]',
    ]  # fmt: skip
    assert lines[start + 6] == "sw t1, 0(%[to])"
    text = block.c("count", 1, {"from": 2, "to": 2}, "")
    assert "float s0 = 0.0f;" in text
    assert "  to[0] = s0;\n  s0 = s1 + v0 * k0;\n" in text
    assert text.endswith("to[0] = s0;\n")
