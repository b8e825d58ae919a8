"""What the tests must know of the compilers on this machine."""

from tvm_pulp.target import toolchain


def major_version(command: str) -> int:
    """Major version of a GCC or clang."""
    return int(toolchain._output([command, "-dumpversion"]).split(".")[0])
