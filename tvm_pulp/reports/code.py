"""The generated C as text."""

from __future__ import annotations

from tvm_pulp.package.package import Package


def code_report(package: Package) -> str:
    """All generated C sources, each under its name."""
    sources = sorted((package.directory / "codegen" / "host" / "src").glob("*.c"))
    return "\n".join(f"/* ---- {path.name} ---- */\n{path.read_text()}" for path in sources)
