"""Rows of a tensor in L3: opened once, fetched beside the kernels, waited for before they are used."""

from __future__ import annotations

import re
from dataclasses import replace

from tvm_pulp.target.plan import Buffer, ExternalRows
from tvm_pulp.target.print_network import print_network

STORE = Buffer("replay_latents", "replays", "L3", 16, 400, (10, 40), "uint8", 0, 0)
ROWS = Buffer("replay_rows", "rows", "L2", None, 120, (3, 40), "uint8", 0, 0)
SLOTS = Buffer("replay_indices", "slots", "L2", None, 12, (3,), "int32", 0, 0)


def printed(hand_made, external):
    functions = [
        replace(f, external=external) if f.name == "train_step" else f for f in hand_made.plan.functions
    ]
    buffers = (*hand_made.plan.buffers, ROWS, SLOTS, STORE)
    changed = hand_made.with_plan(functions=tuple(functions), buffers=buffers)
    files = print_network("net", changed.plan, changed.kernels, changed.values)
    return files["codegen/host/src/network.c"], files["codegen/host/include/tvmgen_net.h"]


def order(text):
    body = text[text.index("static void train_step") : text.index("static void infer")]
    return re.findall(
        r"fetch_rows|wait_for_rows\(3\)|store_rows|cluster_barrier|net_(?!\w+\[)\w+(?=\(core)", body
    )


def test_rows_come_in_beside_the_kernels_before(hand_made):
    source, header = printed(hand_made, ExternalRows(STORE, ROWS, SLOTS, 3, True, 0, 1))
    assert order(source) == [
        "fetch_rows",
        "net_scale",
        "wait_for_rows(3)",
        "cluster_barrier",
        "net_sum_up",
        "net_update",
    ]
    read = "pi_cl_ram_read(&ram, net_replay_latents + (uint32_t)net_replay_indices[i] * 40u, "
    assert read + "net_replay_rows + i * 40, 40,\n" in source
    assert "uint32_t net_replay_latents; /* replay_latents 10x40 */" in source
    assert (
        "extern uint32_t net_replay_latents; /* replay_latents 10x40: its address in L3, uint8 */" in header
    )
    assert "-1 where L1 or L3 has too little room" in header


def test_rows_leave_at_the_end(hand_made):
    source, _ = printed(hand_made, ExternalRows(STORE, ROWS, SLOTS, 3, False, 3, 3))
    assert order(source) == ["net_scale", "net_sum_up", "net_update", "store_rows"]
    assert "pi_cl_ram_write(&ram, net_replay_latents" in source
    assert "  wait_for_rows(3);\n}" in source


def test_the_memory_is_opened_and_closed_with_the_cluster(hand_made):
    source, _ = printed(hand_made, ExternalRows(STORE, ROWS, SLOTS, 3, True, 0, 1))
    opened, closed = (source[source.index(f"tvmgen_net_{name}(") :] for name in ("open_on", "close"))
    assert "if (open_ram()) return -1;" in opened[: opened.index("}")]
    assert "close_ram();" in closed[: closed.index("}")]


def test_a_plan_without_l3_has_none_of_it(hand_made):
    files = print_network("net", hand_made.plan, hand_made.kernels, hand_made.values)
    assert not re.search(r"\bram\b|_rows\(|L3", "".join(files.values()))
