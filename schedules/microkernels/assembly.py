"""Assembly text of micro-kernels."""

from __future__ import annotations


class AssemblyText:
    """Assembly lines as C string literals; the macros of pulp_assembly.h stay outside the quotes."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def add(self, *lines: str) -> None:
        """Append lines: instructions, labels, directives or macros."""
        self.lines += lines

    def __str__(self) -> str:
        shown = []
        for line in self.lines:
            escaped = line.replace('"', '\\"')
            macro = line.startswith(("P_", "PV_", "LP_SETUP"))
            shown.append(f"    {line}" if macro else f'    "{escaped}\\n"')
        return "\n".join(shown)
