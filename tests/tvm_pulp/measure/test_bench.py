import dataclasses

import numpy as np
import pytest

from tvm_pulp.measure.bench import measure_workload, naive_lowering
from tvm_pulp.measure.kernel import MeasurementError
from tvm_pulp.measure.workloads import make_workload
from tvm_pulp.target import features, parse
from tvm_pulp.target.errors import UserError


@pytest.fixture(scope="module")
def chip():
    return features(parse("pulp"))


def test_from_l2(chip):
    result = measure_workload(make_workload("matmul:m=48,n=80,k=72,layout=tn"), chip)
    assert result.schedule == "matmul"
    assert result.macs == 48 * 80 * 72
    assert len(result.cycles) == 12
    assert min(result.cycles) <= result.mean <= max(result.cycles)
    assert result.bound.cycles == result.macs / 4
    assert 0.8 < result.fraction < 1
    assert result.rate == pytest.approx(4 * result.fraction)
    assert result.dma.bytes_in >= 4 * (48 * 72 + 72 * 80)
    assert result.dma.bytes_out == 4 * 48 * 80
    assert 0 < result.dma.overlap <= result.dma.busy < 1
    assert 0 < result.error < 2e-5


def test_in_l1_no_byte_moves(chip):
    result = measure_workload(make_workload("matmul:m=48,n=80,k=72,source=l1"), chip, skews=[0])
    assert (result.dma.bytes_in, result.dma.bytes_out, result.dma.busy) == (0, 0, 0)
    assert result.rate > 3.5


def test_naive_lowering_uses_no_template(chip):
    result = measure_workload(make_workload("matmul:m=16,n=16,k=16"), chip, naive_lowering, skews=[0, 1])
    assert result.schedule == "generic"
    assert len(result.cycles) == 2


def test_a_wrong_result_is_found(chip):
    workload = make_workload("relu:elements=64")
    wrong = dataclasses.replace(workload, expected=lambda arrays: {1: np.abs(arrays[0])})
    with pytest.raises(MeasurementError, match="wrong result"):
        measure_workload(wrong, chip, skews=[0])


def test_tensors_that_do_not_fit_l1(chip):
    with pytest.raises(UserError, match="the tensors take 65536 bytes, of L1 57088 are left"):
        measure_workload(make_workload("relu:elements=8192,source=l1"), chip)
