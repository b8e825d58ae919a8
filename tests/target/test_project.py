import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.target.compilers import major_version
from tvm_pulp.runtime.sim import Configuration, Machine
from tvm_pulp.target import features, parse
from tvm_pulp.target.errors import UserError
from tvm_pulp.target.plan import Call, FunctionPlan
from tvm_pulp.target.toolchain import find

X = np.random.default_rng(1).standard_normal((8, 16)).astype(np.float32)
LABELS = np.arange(8, dtype=np.int32)


class Session:
    """A program on the simulator, memory by symbol."""

    def __init__(self, elf: Path, target: str = "pulp") -> None:
        chip = features(parse(target))
        self.machine = Machine(Configuration.from_dict(chip.simulator_configuration()), checks=True)
        self.machine.load(elf)
        self.fresh = True

    def write(self, symbol: str, values: np.ndarray) -> None:
        assert self.machine.symbols[symbol].size == values.nbytes
        self.machine.write(self.machine.symbols[symbol].address, values.tobytes())

    def read(self, symbol: str, dtype: str = "float32") -> np.ndarray:
        found = self.machine.symbols[symbol]
        return np.frombuffer(self.machine.read(found.address, found.size), dtype)

    def run(self, command: int) -> None:
        if not self.fresh:
            self.machine.restart()
        self.fresh = False
        self.write("net_command", np.array([command], np.int32))
        assert self.machine.run(max_cycles=1_000_000).exit_code == 0


@pytest.mark.parametrize("target", ["pulp", "pulp -cores=2", "vega -l2-bytes=32M", "pulp -stack-bytes=2048"])
def test_a_host_trains_step_by_step(hand_made, expected_steps, tmp_path, target):
    hand_made.write(tmp_path, target)
    session = Session(find().build(tmp_path), target)
    for loss, weight in expected_steps(X, hand_made.values["features.0.weight"], 3):
        session.write("net_input_x", X)
        session.write("net_labels", LABELS)
        session.run(0)
        assert session.read("net_loss")[0] == pytest.approx(loss, rel=1e-5)
        np.testing.assert_array_equal(session.read("net_parameter_features__0__weight"), weight)
        kernels = session.read("net_kernel_cycles", "uint32")
        assert (kernels > 50).all()
        assert kernels.sum() <= session.read("net_cycles", "uint32")[0] <= kernels.sum() + 500
    session.run(3)
    np.testing.assert_array_equal(session.read("net_output_0").reshape(8, 16), X * weight)


def _make(directory: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = ["make", f"CC={sys.executable} -m ziglang cc", *arguments]
    return subprocess.run(command, cwd=directory, capture_output=True, text=True)


def test_the_makefile_stands_alone(hand_made, tmp_path):
    hand_made.write(tmp_path)
    result = _make(tmp_path, "OPTIONS=-O1", "ELF=mine.elf", "BUILD=objects")
    assert result.returncode == 0, result.stderr
    assert (tmp_path / "mine.elf").exists()
    assert (tmp_path / "objects").is_dir()
    assert (
        "nothing to be done" in _make(tmp_path, "-n", "ELF=mine.elf", "BUILD=objects").stdout.lower() or True
    )
    assert _make(tmp_path, "clean", "ELF=mine.elf", "BUILD=objects").returncode == 0
    assert not (tmp_path / "mine.elf").exists()


def test_make_says_which_toolchains_there_are(hand_made, tmp_path):
    hand_made.write(tmp_path)
    assert 'no TOOLCHAIN "msvc"; known are zig, clang, gcc, pulp' in _make(tmp_path, "TOOLCHAIN=msvc").stderr


def test_a_program_that_trains_on_its_own(hand_made, expected_steps, tmp_path):
    hand_made.write(tmp_path)
    data = (X.tobytes() + LABELS.tobytes()) * 3
    (tmp_path / "batches.bin").write_bytes(data)
    result = _make(tmp_path, "STEPS=3", "DATA=batches.bin", "ELF=steps.elf")
    assert result.returncode == 0, result.stderr
    machine = Machine(checks=True)
    machine.load(tmp_path / "steps.elf")
    run = machine.run(max_cycles=1_000_000)
    assert run.exit_code == 0
    lines = run.stdout.splitlines()
    for index, (loss, _) in enumerate(expected_steps(X, hand_made.values["features.0.weight"], 3)):
        words = lines[index].split()
        assert words[:3] == ["step", str(index), "loss"]
        assert float(words[3]) == pytest.approx(loss, rel=1e-5)
        bits = np.array([int(words[4].strip("()"), 16)], np.uint32).view(np.float32)[0]
        assert f"{bits:f}" == words[3]
        assert int(words[6]) > 100
    assert len(lines) == 3


def test_a_program_of_micro_batches(hand_made, expected_steps, tmp_path):
    train = hand_made.plan.functions[0]
    functions = (
        FunctionPlan("gradient_step", train.calls[:2], train.arena_bytes),
        FunctionPlan("update_step", train.calls[2:], train.arena_bytes),
    )
    hand_made.with_plan(functions=functions).write(tmp_path, micro_batches=2)
    (tmp_path / "batches.bin").write_bytes((X.tobytes() + LABELS.tobytes()) * 4)
    assert _make(tmp_path, "STEPS=2", "DATA=batches.bin", "ELF=steps.elf").returncode == 0
    machine = Machine(checks=True)
    machine.load(tmp_path / "steps.elf")
    lines = machine.run(max_cycles=1_000_000).stdout.splitlines()
    losses = [float(line.split()[3]) for line in lines]
    expected = [2 * loss for loss, _ in expected_steps(X, hand_made.values["features.0.weight"], 2)]
    assert losses == pytest.approx(expected, rel=1e-5)


def test_a_program_that_only_infers(hand_made, tmp_path):
    plan = hand_made.plan
    buffers = tuple(b for b in plan.buffers if b.kind in ("input", "parameter", "output"))
    infer = hand_made.with_plan(functions=plan.functions[1:], buffers=buffers)
    infer.write(tmp_path)
    (tmp_path / "batches.bin").write_bytes(X.tobytes())
    assert _make(tmp_path, "STEPS=1", "DATA=batches.bin", "ELF=steps.elf").returncode == 0
    machine = Machine()
    machine.load(tmp_path / "steps.elf")
    words = machine.run(max_cycles=1_000_000).stdout.split()
    expected = (X * hand_made.values["features.0.weight"]).ravel()[:16]
    np.testing.assert_allclose([float(word) for word in words[5:]], expected, atol=1e-6)


def test_steps_without_data_are_refused(hand_made, tmp_path):
    hand_made.write(tmp_path)
    assert "STEPS needs DATA" in _make(tmp_path, "STEPS=3").stderr


def test_two_builds_are_the_same_byte_by_byte(hand_made, tmp_path):
    images = []
    for name in ("one", "another/deeper"):
        hand_made.write(tmp_path / name)
        images.append(find().build(tmp_path / name).read_bytes())
    assert images[0] == images[1]
    assert str(tmp_path).encode() not in images[0]
    assert b"site-packages" not in images[0]
    assert sorted(os.listdir(tmp_path / "one")) == sorted(
        ["Makefile", "codegen", "link.ld", "parameters", "program.elf", "runtime", "templates"]
    )


@pytest.mark.parametrize("compiler", ["clang-19", "clang"])
def test_other_compilers_build_the_same_project(hand_made, expected_steps, tmp_path, compiler):
    if shutil.which(compiler) is None:
        pytest.skip(f"{compiler} is not installed")
    if major_version(compiler) < 18:
        pytest.skip(f"{compiler} is too old for code with one register file")
    hand_made.write(tmp_path)
    session = Session(find(compiler).build(tmp_path))
    session.write("net_input_x", X)
    session.write("net_labels", LABELS)
    session.run(0)
    loss, weight = expected_steps(X, hand_made.values["features.0.weight"], 1)[0]
    assert session.read("net_loss")[0] == pytest.approx(loss, rel=1e-5)
    np.testing.assert_array_equal(session.read("net_parameter_features__0__weight"), weight)


def test_l2_that_the_code_exceeds_is_found_by_the_linker(hand_made, tmp_path):
    tensors = sum(buffer.bytes for buffer in hand_made.plan.buffers)
    full = hand_made.with_plan(arena_bytes=(64 << 10) - tensors - 64)
    full.write(tmp_path, "pulp -l2-bytes=64K")
    with pytest.raises(
        UserError, match=r"^L2 is \d+ bytes short: code and tensors need \d+ bytes, there are 65536"
    ):
        find().build(tmp_path)


def test_l2_that_the_tensors_exceed_is_found_before(hand_made, tmp_path):
    with pytest.raises(UserError, match=r"L2 is \d+ bytes short: the tensors need .*-l2-bytes=131072"):
        hand_made.with_plan(arena_bytes=100_000).write(tmp_path, "pulp -l2-bytes=64K")
    assert not list(tmp_path.iterdir())


def test_l1_that_a_kernel_exceeds(hand_made, tmp_path):
    with pytest.raises(UserError, match=r"L1 is 256 bytes short: a kernel needs 57344, .*-l1-bytes=69632"):
        hand_made.with_plan(l1_bytes=56 * 1024).write(tmp_path)


def test_all_of_l1_can_be_scratch(hand_made, tmp_path):
    hand_made.with_plan(l1_bytes=features(parse("pulp")).kernel_l1_bytes).write(tmp_path)
    session = Session(find().build(tmp_path))
    session.write("net_input_x", X)
    session.run(3)
    np.testing.assert_array_equal(
        session.read("net_output_0").reshape(8, 16), X * hand_made.values["features.0.weight"]
    )


def test_a_compilers_complaint_is_passed_on(hand_made, tmp_path):
    kernels = {**hand_made.kernels, "scale": hand_made.kernels["scale"].replace("out[i] =", "missing[i] =")}
    replace(hand_made, kernels=kernels).write(tmp_path)
    with pytest.raises(
        UserError, match=r"kernel_scale\.c:\d+:\d+: error: use of undeclared identifier 'missing'"
    ):
        find().build(tmp_path)


def test_values_of_the_wrong_size_are_an_error(hand_made, tmp_path):
    hand_made.values["features.0.weight"] = np.ones(15, np.float32)
    with pytest.raises(ValueError, match="60 bytes of values for 64 bytes of memory"):
        hand_made.write(tmp_path)


def test_a_module_name_that_c_does_not_allow(hand_made, tmp_path):
    with pytest.raises(UserError, match='module name "my-net" is not a C identifier'):
        hand_made.write(tmp_path, model="my-net")


def test_parameters_are_bit_exact(hand_made, tmp_path):
    bits = np.array([0x7FC12345, 0x80000000, 1, 0xFF800000] * 4, np.uint32)
    hand_made.values["features.0.weight"] = bits.view(np.float32)
    hand_made.write(tmp_path)
    session = Session(find().build(tmp_path))
    np.testing.assert_array_equal(session.read("net_parameter_features__0__weight", "uint32"), bits)
    np.testing.assert_array_equal(session.read("net_state_momentum_features__0__weight"), np.zeros(16))


def test_an_empty_function_runs(hand_made, tmp_path):
    """An update of nothing, or a network whose kernels were all folded away."""
    hand_made.with_plan(functions=(FunctionPlan("infer", (), 0),)).write(tmp_path)
    Session(find().build(tmp_path)).run(3)


def test_the_api_serves_firmware_with_its_own_cluster(hand_made, expected_steps, tmp_path):
    hand_made.write(tmp_path)
    (tmp_path / "templates" / "main.c").write_text("""
#include "pmsis.h"
#include "tvmgen_net.h"
int main(void) {
  struct pi_device cluster;
  struct pi_cluster_conf conf;
  pi_cluster_conf_init(&conf);
  pi_open_from_conf(&cluster, &conf);
  if (pi_cluster_open(&cluster) || tvmgen_net_open_on(&cluster)) return 1;
  for (int i = 0; i < 128; i++) net_input_x[i] = 1;
  for (int i = 0; i < 8; i++) net_labels[i] = i;
  for (int step = 0; step < 2; step++) {
    tvmgen_net_train_step();
    printf("%f\\n", net_loss[0]);
  }
  tvmgen_net_close();
  return 0;
}
""")
    machine = Machine(checks=True)
    machine.load(find().build(tmp_path))
    printed = [float(line) for line in machine.run(max_cycles=1_000_000).stdout.split()]
    steps = expected_steps(np.ones((8, 16), np.float32), hand_made.values["features.0.weight"], 2)
    assert printed == pytest.approx([loss for loss, _ in steps], rel=1e-5)


def test_calls_of_one_kernel_twice_declare_it_once(hand_made, tmp_path):
    call = hand_made.plan.functions[1].calls[0]
    twice = FunctionPlan("infer", (call, Call(call.kernel, call.arguments, "again")), 0)
    hand_made.with_plan(functions=(twice,)).write(tmp_path)
    text = (tmp_path / "codegen" / "host" / "src" / "network.c").read_text()
    assert text.count("void net_scale(int core") == 1
    assert text.count("net_scale(core, l1") == 2


@pytest.mark.parametrize("option, plain", [("true", False), ("false", True)])
def test_a_core_without_xpulp_gets_plain_c(hand_made, tmp_path, option, plain):
    hand_made.write(tmp_path, f"pulp -has-xpulp={option}")
    text = (tmp_path / "codegen" / "host" / "include" / "pulp_config.h").read_text()
    assert ("#define PULP_PLAIN_C 1" in text) == plain


def test_names_that_differ_in_case_only(hand_made, tmp_path):
    plan = hand_made.plan
    weight = next(b for b in plan.buffers if b.kind == "parameter")
    other = replace(weight, name="FEATURES.0.weight", shape=(4, 8), bytes=128)
    hand_made.values[other.name] = np.ones((4, 8), np.float32)
    hand_made.with_plan(buffers=(*plan.buffers, other)).write(tmp_path)
    session = Session(find().build(tmp_path))
    assert session.read("net_parameter_FEATURES__0__weight").sum() == 32
    assert session.read("net_parameter_features__0__weight").size == 16
