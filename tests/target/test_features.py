import pytest
import tvm

from tvm_pulp.runtime.sim import Configuration
from tvm_pulp.target import features, parse
from tvm_pulp.target.errors import UserError


def test_what_pulp_open_has():
    chip = features(parse("pulp"))
    assert (chip.cores, chip.fpus, chip.l1_bytes, chip.l2_bytes) == (8, 4, 64 * 1024, 1536 * 1024)
    assert (chip.l1_base, chip.l2_base) == (0x10000000, 0x1C010000)
    assert chip.has_xpulp is True
    assert chip.kernel_l1_bytes == 64 * 1024 - 8 * 1024 - 256


@pytest.mark.parametrize("tag, l1_kib", [("pulp-open", 64), ("vega", 128), ("siracusa", 256)])
def test_chips_differ_in_l1(tag, l1_kib):
    assert features(parse(tag)).l1_bytes == l1_kib * 1024


def test_the_simulator_follows_the_options():
    chip = features(parse("vega -l2-bytes=32M -cores=4 -fpus=2 -frequency-hz=1000000 -l3-bytes=64M"))
    configuration = Configuration.from_dict(chip.simulator_configuration())
    assert configuration == Configuration.named("vega").replace(
        l2_bytes=32 << 20, worker_cores=4, shared_fpus=2, frequency_hz=1000000, l3_bytes=64 << 20
    )


def test_another_target_is_refused():
    with pytest.raises(UserError, match="is not a PULP target"):
        features(tvm.target.Target("llvm"))
