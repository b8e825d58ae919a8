import pytest

from benchmarks.trainlib import kernel_of, read_rows
from tvm_pulp.measure.workloads import make_workload


def test_our_work_is_theirs():
    rows = read_rows()
    assert len(rows) > 60
    for row in rows:
        workload = make_workload(row.kernel)
        assert set(workload.resident) == {str(parameter.name) for parameter in workload.function.params}
        if workload.cost.macs:
            assert workload.cost.macs == row.work, row
        else:
            assert row.kernel.partition(":")[0] in ("relu", "sgd", "cross_entropy")
            assert f"={row.work}," in row.kernel


@pytest.mark.parametrize(
    ("row", "kernel"),
    [
        (("pw", "128x64x4x4", "IG"), "conv2d:cin=128,cout=64,h=4,w=4,kernel=1,step=data-grad,source=l1"),
        (("dw3x3-patched", "16x18x18", "WG"), "depthwise:channels=16,h=18,w=18,step=weight-grad,source=l1"),
        (("linear", "256x48", "FW"), "linear:inputs=256,outputs=48,step=forward,source=l1"),
        (("sgd", "7168", "UPD"), "sgd:elements=7168,source=l1"),
    ],
)
def test_names(row, kernel):
    assert kernel_of(*row) == kernel


def test_unknown_layer():
    with pytest.raises(ValueError, match="'rnn' is not known"):
        kernel_of("rnn", "8", "FW")


def test_the_source_is_named():
    from benchmarks.trainlib import TABLE

    assert TABLE.read_text().startswith("# PULP-TrainLib (sources of March 2026) on GVSoC")
