"""Kernels on tensors in L1: the same results, no transfer."""

from pathlib import Path

import numpy as np
import pytest

from tests.schedules.host_harness import run_reference
from tests.schedules.matmul_functions import matmul_expected, matmul_function
from tvm_pulp.measure import measure_kernel, random_arguments
from tvm_pulp.passes.operators.batch_norm import Activation, batch_norm_training
from tvm_pulp.passes.operators.batch_norm_gradient import batch_norm_gradient
from tvm_pulp.passes.operators.conv2d import Conv2d, conv2d
from tvm_pulp.passes.operators.conv2d_weight_gradient import conv2d_weight_gradient
from tvm_pulp.passes.operators.softmax import softmax
from tvm_pulp.passes.operators.update import sgd
from tvm_pulp.schedules.base import lower, templates
from tvm_pulp.schedules.remove_transfers import remove_transfers
from tvm_pulp.schedules.resident import whole_knobs
from tvm_pulp.target import Features
from tvm_pulp.target.errors import UserError
from tvm_pulp.target.print_kernel import print_kernel
from tvm_pulp.target.tvm_names import PrimFunc

CLIPPED = Activation(True, 6.0)
PADDED = Conv2d(padding=(1, 1, 1, 1))
FUNCTIONS = {
    "matmul": matmul_function(24, 20, 36),
    "matmul, transposed": matmul_function(13, 17, 32, transpose_b=True),
    "conv2d": conv2d("layer", "work", PADDED, (1, 8, 9, 7), (8, 8, 3, 3)),
    "depthwise": conv2d("layer", "work", Conv2d((1, 1), (1, 1, 1, 1), (1, 1), 8), (1, 8, 9, 7), (8, 1, 3, 3)),
    "weight gradient": conv2d_weight_gradient("layer", "work", PADDED, (1, 8, 9, 7), (8, 8, 3, 3)),
    "partial sums": conv2d_weight_gradient(
        "layer", "work", Conv2d((2, 2), (1, 1, 1, 1)), (1, 1, 32, 32), (8, 1, 3, 3)
    ),
    "sgd": sgd("layer", "work", (300,), 0.9, 0.01, True),
    "batch norm": batch_norm_training("layer", "work", (2, 12, 5, 7), 1e-5, CLIPPED, False),
    "batch norm gradient": batch_norm_gradient("layer", "work", (2, 12, 5, 7), CLIPPED, False, True),
    "batch norm, biased": batch_norm_gradient("layer", "work", (1, 9, 7), Activation(), True, True),
    "softmax": softmax("layer", "work", (6, 10), 1, False),
}


def names(function: PrimFunc) -> list[str]:
    return [str(parameter.name) for parameter in function.params]


@pytest.mark.parametrize("case", FUNCTIONS)
def test_no_transfers_and_same_results(case: str, chip: Features, tmp_path: Path) -> None:
    function = FUNCTIONS[case]
    lowered = lower(function, chip, names(function))
    assert "dma_" not in print_kernel(lowered, "kernel")
    arrays = random_arguments(function)
    expected = run_reference(function, [array.copy() for array in arrays])
    measure_kernel(lowered, arrays, chip, tmp_path, runs=1, resident=names(function))
    for want, got in zip(expected, arrays, strict=True):
        np.testing.assert_allclose(got, want, atol=2e-5 * np.abs(want).max(initial=0.0))


@pytest.mark.parametrize("case", ["matmul", "conv2d", "partial sums", "batch norm", "batch norm gradient"])
def test_same_tiles_same_bits(case: str, chip: Features, tmp_path: Path) -> None:
    """A kernel does the same arithmetic on tensors in L1 as on their copies there."""
    function = FUNCTIONS[case]
    template = next(t for t in templates() if t.match(function) is not None)
    workload = template.match(function)
    everything = range(len(function.params))
    for knobs in whole_knobs(template, workload, chip):
        from_l2 = template.build(workload, knobs, chip)
        in_l1 = remove_transfers(from_l2, everything)
        if in_l1 is not None:
            break
    assert in_l1 is not None
    results = []
    for lowered, resident in ((from_l2, []), (in_l1, names(function))):
        arrays = random_arguments(function)
        measure_kernel(lowered, arrays, chip, tmp_path / str(len(resident)), runs=1, resident=resident)
        results.append(arrays)
    for want, got in zip(*results, strict=True):
        np.testing.assert_array_equal(got, want)


@pytest.mark.parametrize(
    ("case", "schedule"),
    [
        ("matmul", "matmul"),
        ("conv2d", "conv2d"),
        ("sgd", "elementwise"),
        ("batch norm", "batch_norm"),
        ("batch norm gradient", "batch_norm"),
    ],
)
def test_templates_are_used(case: str, schedule: str, chip: Features) -> None:
    function = FUNCTIONS[case]
    lowered = lower(function, chip, names(function))
    assert lowered.attrs["pulp.schedule"] == schedule
    whole = lower(function, chip)
    assert int(lowered.attrs["pulp.l1_bytes"]) < int(whole.attrs["pulp.l1_bytes"])


def test_partial_sums_stay_out_of_the_result(chip: Features) -> None:
    function = FUNCTIONS["partial sums"]
    text = print_kernel(lower(function, chip, names(function)), "kernel")
    assert "2 partial sums" in text
    assert "conv2d_tile(worker, data, output_gradient, result_l1," in text
    assert "weight_gradient_at[0] = result_l1_at[0]" in text


def test_only_the_result_in_l1(chip: Features, tmp_path: Path) -> None:
    function = matmul_function(24, 20, 36)
    lowered = lower(function, chip, ["c"])
    text = print_kernel(lowered, "kernel")
    assert "dma_start_1d(0, a_l1, a" in text
    assert "c_l1" not in text
    arrays = random_arguments(function)
    expected = matmul_expected(function, arrays)
    measure_kernel(lowered, arrays, chip, tmp_path, runs=1, resident=["c"])
    np.testing.assert_allclose(arrays[2], expected, atol=2e-5 * np.abs(expected).max())


def test_what_is_only_read_is_not_worked_on_in_place(chip: Features, tmp_path: Path) -> None:
    """The template works in place of the output's gradient, unless that one is to stay."""
    function = FUNCTIONS["batch norm gradient"]
    lowered = lower(function, chip, ["output_gradient"])
    assert "result_l1" in print_kernel(lowered, "kernel")
    arrays = random_arguments(function)
    before = arrays[0].copy()
    measure_kernel(lowered, arrays, chip, tmp_path, runs=1, resident=["output_gradient"])
    np.testing.assert_array_equal(arrays[0], before)


def test_without_transfers_a_kernel_is_faster(chip: Features, tmp_path: Path) -> None:
    function = matmul_function(64, 64, 64)
    cycles = []
    for resident in ([], names(function)):
        folder = tmp_path / str(len(resident))
        lowered = lower(function, chip, resident)
        arrays = random_arguments(function)
        cycles.append(measure_kernel(lowered, arrays, chip, folder, resident=resident).cycles[-1])
    assert cycles[1] < cycles[0]
    assert 64**3 / cycles[1] >= 3.5


def test_unknown_name(chip: Features) -> None:
    with pytest.raises(UserError, match="no argument 'd' to keep in L1; there are a, b, c"):
        lower(matmul_function(8, 8, 8), chip, ["d"])


def test_no_room_beside_the_tensors(chip: Features) -> None:
    """Padding needs L1 of its own: where there is none left, the generic lowering reads the data as it is."""
    function = conv2d("layer", "work", PADDED, (1, 16, 16, 16), (16, 16, 3, 3))
    lowered = lower(function, chip, names(function))
    resident = 4 * (2 * 16 * 16 * 16 + 16 * 16 * 9)
    assert int(lowered.attrs["pulp.l1_bytes"]) + resident <= chip.kernel_l1_bytes
