import sys
from pathlib import Path

import pytest

from tvm_pulp.measure.bench import measure_workload
from tvm_pulp.measure.kernel import MeasurementError
from tvm_pulp.measure.workloads import make_workload
from tvm_pulp.runners.gvsoc import find_gvsoc
from tvm_pulp.target import features, parse
from tvm_pulp.target.errors import UserError

# The built-in simulator in GVSoC's place, which reads the program's file and prints what it prints.
STAND_IN = """#!{python}
import sys
from tvm_pulp.runtime.sim import Machine
machine = Machine()
machine.load(sys.argv[sys.argv.index("--binary") + 1])
result = machine.run(100_000_000)
print("[launcher] starting")
print(result.stdout{change}, end="")
sys.exit(result.exit_code)
"""


@pytest.fixture
def install(tmp_path: Path, monkeypatch):
    def stand_in(change: str = "") -> None:
        command = tmp_path / "gvsoc"
        command.write_text(STAND_IN.format(python=sys.executable, change=change))
        command.chmod(0o755)
        monkeypatch.setenv("GVSOC_HOME", str(tmp_path))

    return stand_in


@pytest.mark.parametrize(
    "text", ["matmul:m=20,n=12,k=9", "matmul:m=16,n=16,k=16,source=l1", "sgd:elements=1000"]
)
def test_the_program_carries_its_arguments_and_prints_its_cycles(install, text):
    install()
    chip, workload = features(parse("pulp")), make_workload(text)
    here = measure_workload(workload, chip, skews=[0, 3])
    there = measure_workload(workload, chip, skews=[0, 3], on_gvsoc=True)
    assert there.cycles == pytest.approx(here.cycles, rel=0.03)  # code lies at other addresses
    assert len(there.cycles) == 2


def test_other_bits_are_an_error(install):
    install('.replace("tensor_2 ", "tensor_2 1")')
    with pytest.raises(MeasurementError, match="other bits on GVSoC"):
        measure_workload(
            make_workload("matmul:m=8,n=8,k=8"), features(parse("pulp")), skews=[0], on_gvsoc=True
        )


def test_other_chips_are_refused(install):
    install()
    with pytest.raises(UserError, match="sizes of pulp-open"):
        measure_workload(make_workload("relu:elements=8"), features(parse("vega")), skews=[0], on_gvsoc=True)


@pytest.mark.gvsoc
@pytest.mark.skipif(find_gvsoc() is None, reason="there is no gvsoc on PATH or in GVSOC_HOME")
@pytest.mark.parametrize("text", ["matmul:m=64,n=64,k=64", "conv2d:cin=16,cout=16,h=16,w=16,pad=1"])
def test_gvsoc_counts_the_same(text):
    chip, workload = features(parse("pulp")), make_workload(text)
    here = measure_workload(workload, chip, skews=[0, 3])
    there = measure_workload(workload, chip, skews=[0, 3], on_gvsoc=True)
    assert there.cycles == pytest.approx(here.cycles, rel=0.01)
