import re
from dataclasses import replace

import numpy as np
import pytest

from tvm_pulp.target.plan import Transfer
from tvm_pulp.target.print_network import kernel_prototype, print_network


def _print(hand_made, **options):
    return print_network("net", hand_made.plan, hand_made.kernels, hand_made.values, **options)


def test_files(hand_made):
    assert list(_print(hand_made)) == [
        "codegen/host/src/network.c",
        "codegen/host/src/parameters.S",
        "codegen/host/include/tvmgen_net.h",
        "templates/main.c",
    ]


def test_kernels_are_called_in_order_with_a_barrier_and_a_comment(hand_made):
    text = _print(hand_made)["codegen/host/src/network.c"]
    body = text[text.index("static void train_step") : text.index("static void infer")]
    assert re.findall(r"/\* features.0: .*|net_\w+\(core.*|start = finish.*", body) == [
        "/* features.0: x 8x16, features.0.weight 16, lv 8x16 */",
        "net_scale(core, l1, net_input_x, net_parameter_features__0__weight, (float *)(void *)(arena + 64));",
        "start = finish_kernel(core, 0, start);",
        "net_sum_up(core, l1, (float *)(void *)(arena + 64), net_labels, net_loss);",
        "start = finish_kernel(core, 1, start);",
        "/* features.0: features.0.weight 16, momentum:features.0.weight 16, 0 8x16, lv 8x16 */",
        "net_update(core, l1, net_parameter_features__0__weight, net_state_momentum_features__0__weight, "
        "net_output_0, (float *)(void *)(arena + 64));",
        "start = finish_kernel(core, 2, start);",
    ]


def test_tensors_in_l1_and_transfers_beside_the_kernels(hand_made):
    """The weight comes while the first kernel runs, its new value leaves after the last."""
    plan = hand_made.plan
    train = plan.functions[0]
    calls = list(train.calls)
    weight, *others = calls[2].arguments
    calls[2] = replace(calls[2], arguments=(replace(weight, level="L1", offset=1024), *others))
    transfers = (
        Transfer(weight, 1024, True, 1, 2),
        Transfer(others[2], 2048, True, 2, 2),
        Transfer(weight, 1024, False, 3, 3),
    )
    changed = replace(train, calls=tuple(calls), transfers=transfers)
    text = _print(hand_made.with_plan(functions=(changed,)))["codegen/host/src/network.c"]
    body = text[text.index("static void train_step") : text.index("static void worker")]
    symbol = "net_parameter_features__0__weight"
    found = re.findall(r"start_move.*|.*wait_for.*|cluster_barrier.*|net_\w+\(core.*|start = finish.*", body)
    assert found == [
        f"net_scale(core, l1, net_input_x, {symbol}, (float *)(void *)(arena + 64));",
        "start = finish_kernel(core, 0, start);",
        f"start_move(10, l1 + 1024, {symbol}, 64, DMA_L2_TO_L1); /* features.0.weight */",
        "net_sum_up(core, l1, (float *)(void *)(arena + 64), net_labels, net_loss);",
        "  if (core == 0) wait_for_moves(10);",
        "start = finish_kernel(core, 1, start);",
        "start_move(10, l1 + 2048, arena + 64, 512, DMA_L2_TO_L1); /* lv */",
        "    wait_for_moves(10);",
        "cluster_barrier();",
        "net_update(core, l1, (float *)(void *)(l1 + 1024), net_state_momentum_features__0__weight, "
        "net_output_0, (float *)(void *)(arena + 64));",
        "start = finish_kernel(core, 2, start);",
        f"start_move(11, l1 + 1024, {symbol}, 64, DMA_L1_TO_L2); /* features.0.weight */",
        "    wait_for_moves(11);",
        "cluster_barrier();",
    ]


def test_symbols_of_the_contract(hand_made):
    header = _print(hand_made)["codegen/host/include/tvmgen_net.h"]
    for declaration in (
        "extern float net_input_x[128];",
        "extern int32_t net_labels[8];",
        "extern float net_loss[1];",
        "extern float net_output_0[128];",
        "extern float net_parameter_features__0__weight[16];",
        "extern float net_state_momentum_features__0__weight[16];",
        "extern int32_t net_command;",
        "extern uint32_t net_cycles;",
        "extern uint32_t net_kernel_cycles[3];",
        "void tvmgen_net_train_step(void);",
        "void tvmgen_net_infer(void);",
        "#define net_input_x_BYTES 512",
    ):
        assert declaration in header


def test_parameters_are_placed_bit_by_bit_and_zeros_need_no_file(hand_made):
    text = _print(hand_made)["codegen/host/src/parameters.S"]
    assert '.incbin "parameters/net_parameter_features__0__weight.bin"' in text
    assert text.count(".incbin") == 1
    assert ".size net_state_momentum_features__0__weight, 64" in text
    assert "  .zero 64" in text


def test_micro_batches_are_in_the_header(hand_made):
    header = _print(hand_made, micro_batches=4)["codegen/host/include/tvmgen_net.h"]
    assert "#define TVMGEN_NET_MICRO_BATCHES 4" in header


def test_a_name_cannot_end_a_comment(hand_made):
    calls = hand_made.plan.functions[1].calls
    evil = type(calls[0])(calls[0].kernel, calls[0].arguments, "a */ b\nc")
    function = type(hand_made.plan.functions[1])("infer", (evil,), 0)
    text = _print(hand_made.with_plan(functions=(function,)))["codegen/host/src/network.c"]
    assert "/* a * / b c: x 8x16" in text


def test_the_prototype_is_the_kernels_own():
    source = "int x;\nvoid k(int core, char *l1, const float *restrict a) {\n}\n"
    assert kernel_prototype("k", source) == "void k(int core, char *l1, const float *restrict a)"
    with pytest.raises(ValueError, match="kernel k defines no function"):
        kernel_prototype("k", "void k(void) {\n}\n")


def test_values_that_are_missing_are_an_error(hand_made):
    del hand_made.values["features.0.weight"]
    with pytest.raises(KeyError, match=r"features\.0\.weight"):
        _print(hand_made)


def test_negative_zero_counts_as_zero_nowhere(hand_made):
    """A file is written for every bit pattern but plain zeros."""
    hand_made.values["momentum:features.0.weight"] = np.full(16, -0.0, np.float32)
    assert _print(hand_made)["codegen/host/src/parameters.S"].count(".incbin") == 2
