"""Boxes as transfers: as few as possible, and the right bytes."""

from __future__ import annotations

import re

import numpy as np
import pytest

from tvm_pulp.schedules.dialect import AllocBuffer, index
from tvm_pulp.schedules.transfers import Box, transfer
from tvm_pulp.target.print_kernel import print_kernel
from tvm_pulp.target.tvm_names import PrimFunc, SeqStmt, arith, decl_buffer

Shape = tuple[int, ...]


def calls(shape: Shape, low: Shape, size: Shape) -> list[tuple[str, list[int]]]:
    """Run the printed transfers: name and numbers of each, loops unrolled."""
    l2 = decl_buffer((int(np.prod(shape)),), "float32", name="x")
    l1 = decl_buffer((int(np.prod(size)),), "float32", name="tile", scope="global.l1")
    box = Box(shape, tuple(map(index, low)), tuple(map(index, size)))
    step = transfer(index(3), l1, index(0), l2, box, 1, arith.Analyzer())
    text = print_kernel(
        PrimFunc([l2], SeqStmt([AllocBuffer(l1), step])).with_attrs({"global_symbol": "k"}), "k"
    )
    lines = [line.strip() for line in text.splitlines()]
    python = ["found = []"]
    depth = 0
    for line in lines:
        loop = re.match(r"for \(int32_t (\w+) = 0; \w+ < (\d+); \+\+\w+\) {", line)
        call = re.match(r"(dma_start_\dd)\(3, (.*)\);", line)
        if loop:
            python.append("    " * depth + f"for {loop[1]} in range({loop[2]}):")
            depth += 1
        elif call:
            python.append("    " * depth + f"found.append(({call[1]!r}, [{call[2]}]))")
            depth = 0
    scope: dict[str, object] = {"x": 0, "tile": 0}
    exec("\n".join(python), scope)
    return scope["found"]  # type: ignore[return-value]


@pytest.mark.parametrize(
    "shape,low,size,number",
    [
        ((4, 6), (0, 0), (4, 6), 1),
        ((4, 6), (1, 0), (2, 6), 1),
        ((4, 6), (1, 2), (3, 3), 1),
        ((4, 6, 5), (1, 2, 0), (2, 3, 5), 1),
        ((4, 6, 5), (0, 0, 1), (4, 6, 3), 1),
        ((4, 6, 5), (1, 0, 1), (2, 6, 3), 1),
        ((4, 6, 5), (1, 2, 1), (2, 3, 3), 2),
        ((2, 3, 4, 5), (0, 1, 1, 1), (2, 2, 2, 2), 4),
        ((7,), (2,), (3,), 1),
        ((), (), (), 1),
    ],
)
def test_transfers_move_the_box(shape: Shape, low: Shape, size: Shape, number: int) -> None:
    made = calls(shape, low, size)
    assert len(made) == number
    data = np.arange(int(np.prod(shape)))
    tile = np.full(int(np.prod(size)), -1)
    for name, values in made:
        to, source, total, *lines = values
        stride, line = (lines[0], lines[1]) if name == "dma_start_2d" else (total, total)
        assert lines[-1] == 1 and total % line == 0
        for i in range(total // line):
            start = source + i * stride // 4
            tile[to + i * line // 4 : to + (i + 1) * line // 4] = data[start : start + line // 4]
    expected = data.reshape(shape)[tuple(slice(a, a + n) for a, n in zip(low, size, strict=True))]
    np.testing.assert_array_equal(tile, expected.ravel())
