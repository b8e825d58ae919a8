"""Kernels in the cluster dialect, printed as C."""

from __future__ import annotations

import pytest

from tvm_pulp.schedules.dialect import (
    barrier,
    bind,
    dma_1d,
    dma_wait,
    element,
    parallel,
    sequence,
    serial,
    store,
    when,
)
from tvm_pulp.target.print_kernel import print_kernel
from tvm_pulp.target.tvm_names import AllocBuffer, Expr, PrimFunc, Stmt, Var, call_extern, decl_buffer, tirx

X = decl_buffer((64,), "float32", name="data.x")
Y = decl_buffer((64,), "float32", name="y")
IN, OUT = (
    decl_buffer((n,), "float32", name=name, scope="global.l1") for n, name in ((50, "in_l1"), (64, "out_l1"))
)
I = Var("i", "int32")  # noqa: E741
J = Var("j", "int32")


def function(*steps: Stmt, **attributes: object) -> PrimFunc:
    named = {"pulp." + key: value for key, value in attributes.items()}
    return PrimFunc([X, Y], sequence(*steps)).with_attrs({"global_symbol": "k", **named})


def body(*steps: Stmt, **attributes: object) -> list[str]:
    """Lines of the kernel's body without indentation."""
    text = print_kernel(function(*steps, **attributes), "k")
    return [line.strip() for line in text[text.index("(void)core") :].splitlines()[1:-1]]


def test_signature_and_header() -> None:
    text = print_kernel(
        function(store(Y, element(X, 0), [0]), operator="copy", layer="a.b", macs=7, l1_bytes=0), "net_copy"
    )
    assert "void net_copy(int core, char *l1, const float *restrict data_x, float *restrict y) {" in text
    head = text[: text.index("*/")]
    for part in ("net_copy: copy of layer a.b", "data.x 64 float32", "L1: 0 bytes; multiply-accumulates: 7"):
        assert part in head
    assert text.index("*/") < text.index('#include "pulp_runtime.h"') < text.index("void net_copy")


def test_what_is_stored_by_dma_is_not_const() -> None:
    text = print_kernel(
        function(AllocBuffer(OUT), dma_1d(0, OUT, 0, X, 0, 256, 0), dma_1d(0, OUT, 0, Y, 0, 256, 1)), "k"
    )
    assert "(int core, char *l1, float *restrict data_x, const float *restrict y)" in text


def test_arguments_that_are_not_read_are_said_to_be() -> None:
    assert "(void)core, (void)l1, (void)data_x;" in print_kernel(function(store(Y, 1.0, [0])), "k")
    assert "(void)data_x" not in print_kernel(function(store(Y, element(X, 0), [0])), "k")


def test_runs_of_dma_statements_are_for_core_0() -> None:
    lines = body(
        AllocBuffer(IN),
        dma_1d(0, IN, 0, X, 0, 200, 1),
        serial(I, 3, dma_1d(1, IN, I * 4, X, I * 8, 16, 1)),
        dma_wait(0),
        barrier(),
        when(I < 2, dma_wait(1)),
    )
    assert lines == [
        "PULP_DMA_STATE(2);",
        "float *const in_l1 = (float *)(l1 + 0);",
        "if (core == 0) {",
        "dma_start_1d(0, in_l1, data_x, 200, 1);",
        "dma_open(1);",
        "for (int32_t i = 0; i < 3; ++i) {",
        "dma_start_1d(1, in_l1 + i * 4, data_x + i * 8, 16, 1);",
        "}",
        "dma_wait(0);",
        "}",
        "cluster_barrier();",
        "if (core == 0) {",
        "if (i < 2) {",
        "dma_wait(1);",
        "}",
        "}",
    ]


def test_loops_open_the_slot_of_their_transfers_if_it_is_one() -> None:
    def opened(loop: Stmt) -> list[str]:
        return [line for line in body(AllocBuffer(IN), loop) if line.startswith(("dma_open", "PULP_DMA"))]

    def row(slot: int | Expr) -> Stmt:
        return dma_1d(slot, IN, I * 4, X, I * 8, 16, 1)

    assert opened(serial(I, 3, sequence(row(2), row(2)))) == ["PULP_DMA_STATE(3);", "dma_open(2);"]
    assert opened(serial(I, 3, sequence(row(2), row(0)))) == ["PULP_DMA_STATE(3);"]
    assert opened(serial(I, 3, row(I % 2))) == ["PULP_DMA_STATE(2);"]
    assert opened(serial(J, 4, serial(I, J, row(J % 2)))) == ["PULP_DMA_STATE(2);"]


def test_core_0_apart() -> None:
    start, define = bind("start", I * 4)
    offset, define_offset = bind("offset", I + 1)
    lines = body(
        AllocBuffer(IN),
        dma_1d(0, IN, 0, X, 0, 16, 1),
        serial(
            I,
            3,
            sequence(
                dma_wait(0),
                barrier(),
                when(I < 2, dma_1d(1, IN, start, X, 0, 16, 1)),
                define,
                define_offset,
                parallel(J, 8, store(Y, element(IN, J), [offset])),
            ),
        ),
        dma_wait(1),
        core_0_moves=1,
    )
    split = lines.index("} else {")
    assert lines[:3] == ["float *const in_l1 = (float *)(l1 + 0);", "if (core == 0) {", "PULP_DMA_STATE(2);"]
    assert lines[split - 2 : split] == ["}", "dma_wait(1);"]
    moves, work = lines[3:split], lines[split + 1 :]
    assert "const int32_t start = i * 4;" in moves
    assert "cluster_barrier();" in moves
    assert not any("offset" in line or "y[" in line for line in moves)
    assert work[0] == "for (int32_t i = 0; i < 3; ++i) {"
    assert work[1:3] == ["cluster_barrier();", "const int32_t offset = i + 1;"]
    assert not any("dma_" in line or "core == 0" in line for line in work)


@pytest.mark.parametrize(
    "extent,bounds",
    [
        (8, "i_first = core, i_end = core + 1"),
        (24, "i_first = core * 3, i_end = (core + 1) * 3"),
        (5, "i_first = pulp_min(core, 5), i_end = pulp_min(core + 1, 5)"),
        (19, "i_first = core * 2 + pulp_min(core, 3), i_end = (core + 1) * 2 + pulp_min(core + 1, 3)"),
    ],
)
def test_parallel_loops_share_out_contiguous_chunks(extent: int, bounds: str) -> None:
    head, *_ = body(parallel(I, extent, store(Y, element(X, I), [I])), cores=8)
    assert head == f"const int32_t {bounds};"
    first, last = bounds.removeprefix("i_first = ").split(", i_end = ")
    ranges = [range(_bound(first, core), _bound(last, core)) for core in range(8)]
    assert [i for chunk in ranges for i in chunk] == list(range(extent))


def _bound(text: str, core: int) -> int:
    return int(eval(text, {"core": core, "pulp_min": min}))


def test_parallel_loops_of_a_length_known_at_run_time() -> None:
    size, define = bind("size", call_extern("int32", "length"))
    lines = body(define, parallel(I, size, store(Y, element(X, I), [I])), cores=8)
    assert (
        lines[1]
        == "const int32_t i_first = pulp_chunk(core, 8, size), i_end = pulp_chunk(core + 1, 8, size);"
    )


def test_pointers_walk_along_with_innermost_loops() -> None:
    stride, define = bind("stride", call_extern("int32", "length"))
    value = element(X, I * stride + 5) + element(X, I * stride + 7) * element(X, 3)
    assert body(define, serial(I, 9, store(Y, value, [I * 2 + 1]))) == [
        "const int32_t stride = length();",
        "const float data_x_value = data_x[3];",
        "const float *data_x_at = data_x + 5;",
        "float *y_at = y + 1;",
        "for (int32_t i = 0; i < 9; ++i, data_x_at += stride, y_at += 2) {",
        "y_at[0] = data_x_at[0] + data_x_at[2] * data_x_value;",
        "}",
    ]


def test_no_pointer_where_the_index_is_made_in_the_loop() -> None:
    row, define = bind("row", I % 4)
    lines = body(serial(I, 16, sequence(define, store(Y, element(X, row * 8), [row]))))
    assert lines[-2] == "y[row] = data_x[row * 8];"


def test_conditional_reads_stay_in_the_loop() -> None:
    """They may be out of bounds where the condition does not hold."""
    lines = body(serial(I, 4, when(I < 2, store(Y, element(X, 63), [I]))))
    assert "y_at[0] = data_x[63];" in lines


def test_what_the_loop_writes_is_read_in_the_loop() -> None:
    lines = body(serial(I, 4, store(Y, element(Y, 9) + element(X, I), [I])))
    assert "y_at[0] = y_at[9] + data_x_at[0];" in lines or "y_at[0] = y[9] + data_x_at[0];" in lines


def test_buffers_lie_one_after_the_other_aligned_or_where_the_plan_says() -> None:
    steps = (AllocBuffer(IN), AllocBuffer(OUT), store(OUT, element(IN, 1), [2]))
    assert body(*steps)[1] == "float *const out_l1 = (float *)(l1 + 208);"
    text = print_kernel(function(*steps), "k", {"in_l1": 512, "out_l1": 0})
    assert "in_l1 = (float *)(l1 + 512);" in text and "out_l1 = (float *)(l1 + 0);" in text


def test_variables_that_nothing_uses_are_left_out() -> None:
    used, define_used = bind("used", I * 2)
    middle, define_middle = bind("middle", used + 1)
    _, define_unused = bind("unused", middle * 3)
    lines = body(
        serial(I, 4, sequence(define_used, define_middle, define_unused, store(Y, element(X, used), [I])))
    )
    assert "const int32_t used = i * 2;" in lines
    assert not any("middle" in line or "unused" in line for line in lines)


def test_statements_that_c_cannot_express_are_refused() -> None:
    with pytest.raises(ValueError, match="While"):
        print_kernel(function(tirx.While(I < 3, store(Y, element(X, 0), [0]))), "k")
