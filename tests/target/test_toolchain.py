import os
import shutil
import stat
import sys
from pathlib import Path

import pytest

from tests.target.compilers import major_version
from tvm_pulp.target import toolchain
from tvm_pulp.target.errors import UserError
from tvm_pulp.target.toolchain import Toolchain, explain_failure, find

PYTHON_ZIG = f"{sys.executable} -m ziglang cc"


def _fake(folder: Path, name: str, script: str) -> str:
    path = folder / name
    path.write_text("#!/bin/sh\n" + script)
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return str(path)


def test_zig_from_pip_is_the_default():
    chosen = find()
    assert chosen.kind == "zig"
    assert chosen == find("zig") == find("ziglang")


def test_options_are_kept():
    assert find(options="-O2").options == "-O2"


def test_zig_by_its_command_makes_right_code():
    assert find(PYTHON_ZIG).kind == "zig"


@pytest.mark.parametrize("command", ["clang-19", "clang"])
def test_clang_is_taken_only_from_18_on(command):
    if shutil.which(command) is None:
        pytest.skip(f"{command} is not installed")
    if major_version(command) >= 18:
        assert find(command).kind == "clang"
    else:
        with pytest.raises(UserError, match="clang 18 or newer"):
            find(command)


@pytest.mark.parametrize("command", ["riscv64-unknown-elf-gcc", "riscv32-unknown-elf-gcc"])
def test_gcc_is_taken_only_from_14_on(command):
    if shutil.which(command) is None:
        pytest.skip(f"{command} is not installed")
    version = major_version(command)
    if version >= 14 or version == 7:
        assert find(command).kind in ("gcc", "pulp")
    else:
        with pytest.raises(UserError, match="GCC 14 or newer"):
            find(command)


def test_a_compiler_of_soft_float_code_is_refused(tmp_path):
    old = _fake(
        tmp_path,
        "old-gcc",
        'case "$*" in *--version*) echo "old-gcc (GCC) 12.2.0";; esac\n'
        'while [ $# -gt 0 ]; do [ "$1" = -o ] && echo "  call __mulsf3" > "$2"; shift; done\n',
    )
    with pytest.raises(UserError, match=r"12\.2\.0.*cannot compile float code for one register file"):
        find(old)


def test_separate_float_registers_are_refused(tmp_path):
    wrong = _fake(
        tmp_path,
        "wrong-gcc",
        'while [ $# -gt 0 ]; do [ "$1" = -o ] && echo "  fmadd.s fa0,fa0,fa1,fa2" > "$2"; shift; done\n',
    )
    with pytest.raises(UserError, match="one register file"):
        find(wrong)


def test_the_host_compiler_is_refused():
    if shutil.which("gcc") is None:
        pytest.skip("gcc is not installed")
    with pytest.raises(UserError, match="cannot compile float code"):
        find("gcc")


def test_a_missing_compiler_is_named():
    with pytest.raises(UserError, match='there is no compiler "no-such-gcc"'):
        find("no-such-gcc")


def test_without_any_compiler_the_package_to_install_is_named(monkeypatch):
    monkeypatch.setattr(toolchain, "_zig", lambda: None)
    monkeypatch.setattr(toolchain, "_SEARCHED", ("no-such-clang",))
    for request in (None, "zig"):
        with pytest.raises(UserError, match="pip install ziglang"):
            find(request)


def test_without_zig_the_first_good_compiler_is_taken(monkeypatch, tmp_path):
    good = _fake(
        tmp_path,
        "good-gcc",
        'while [ $# -gt 0 ]; do [ "$1" = -o ] && echo "  fmadd.s a0,a0,a1,a2" > "$2"; shift; done\n',
    )
    monkeypatch.setattr(toolchain, "_zig", lambda: None)
    monkeypatch.setattr(toolchain, "_SEARCHED", ("no-such-clang", "true", good))
    assert find() == Toolchain("gcc", (good,))


def test_without_make(monkeypatch, tmp_path):
    monkeypatch.setattr(toolchain.shutil, "which", lambda name: None)
    with pytest.raises(UserError, match="make is not installed"):
        Toolchain("zig", ("zig", "cc")).build(tmp_path)


@pytest.mark.parametrize(
    "message",
    [
        "ld.lld: error: section '.persistent' will not fit in region 'L2': overflowed by 1000 bytes",
        "ld: region `L2' overflowed by 1000 bytes",
    ],
)
def test_linkers_messages_are_translated(tmp_path, message):
    (tmp_path / "link.ld").write_text("  L2 (rwx) : ORIGIN = 0x1c010000, LENGTH = 4096 /* code */\n")
    smaller = message.replace("1000", "10")
    assert explain_failure(f"{smaller}\n{message}\nmake: Error 1\n", tmp_path) == (
        "L2 is 1000 bytes short: code and tensors need 5096 bytes, there are 4096; "
        "use a smaller (micro-)batch, fewer replays or -l2-bytes=8192"
    )


def test_the_first_message_of_a_compiler_is_given(tmp_path):
    text = "cc -c a.c\na.c:3:5: error: no such 'x'\na.c:9:1: error: again\nmake: *** Error 1\n"
    assert explain_failure(text, tmp_path).endswith(": a.c:3:5: error: no such 'x'")
    assert explain_failure("", tmp_path).endswith("it said nothing")


def test_zig_has_a_cache_even_without_a_home(monkeypatch, tmp_path):
    monkeypatch.delenv("ZIG_GLOBAL_CACHE_DIR", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert toolchain._environment()["ZIG_GLOBAL_CACHE_DIR"] == str(tmp_path / "cache" / "tvm-pulp" / "zig")
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert Path(toolchain._environment()["ZIG_GLOBAL_CACHE_DIR"]).parent.name == f"tvm-pulp-{os.getuid()}"
    monkeypatch.setenv("ZIG_GLOBAL_CACHE_DIR", "/elsewhere")
    assert toolchain._environment()["ZIG_GLOBAL_CACHE_DIR"] == "/elsewhere"
