import os

import pytest

from tvm_pulp.target import features, parse, toolchain
from tvm_pulp.target.project import write_runtime
from tvm_pulp.target.runtime_objects import RuntimeObjects, cache_folder

MAIN = "int main(void) { return 0; }\n"


@pytest.fixture
def program(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))

    def write(name, target="pulp"):
        directory = tmp_path / name
        write_runtime(directory, "program", features(parse(target)))
        (directory / "templates" / "main.c").write_text(MAIN)
        return directory

    return write


def kept():
    return sorted((cache_folder() / "objects").iterdir())


def test_the_second_build_takes_the_runtime_from_the_first(program):
    tools, compiled = toolchain.find(), []
    first = tools.build(program("first"), on_source=lambda: compiled.append(1)).read_bytes()
    assert len(compiled) > 5 and len(kept()) == 1
    compiled.clear()
    assert tools.build(program("second"), on_source=lambda: compiled.append(1)).read_bytes() == first
    assert len(compiled) == 1  # main.c


def test_other_sizes_options_or_sources_are_compiled_anew(program):
    toolchain.find().build(program("first"))
    toolchain.find().build(program("larger", "pulp -l1-bytes=131072"))
    toolchain.find(options="-O2").build(program("options"))
    changed = program("changed")
    source = changed / "runtime" / "pmsis" / "pulp_runtime.c"
    source.write_text(source.read_text() + "\nint added;\n")
    toolchain.find().build(changed)
    assert len(kept()) == 4


def test_an_unwritable_cache_costs_nothing_but_time(program, monkeypatch, tmp_path):
    objects = RuntimeObjects(program("first"), ("cc",), {})
    (tmp_path / "cache" / "tvm-pulp").mkdir(parents=True, exist_ok=True)
    (tmp_path / "cache" / "tvm-pulp" / "objects").write_text("")  # a file in the folder's place
    build = tmp_path / "build"
    (build / "runtime").mkdir(parents=True)
    objects.keep_from(build)
    assert os.path.isfile(tmp_path / "cache" / "tvm-pulp" / "objects")
