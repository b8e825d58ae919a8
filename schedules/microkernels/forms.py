"""The two forms of a micro-kernel: assembly, and the plain C that stands beside it for the host."""

from __future__ import annotations

INCLUDE = '#include "pulp_assembly.h"'


def both_forms(assembly: str, plain: str) -> str:
    """Return C that is the assembly where the compiler has Xpulp's instructions, and else the plain form.

    `INCLUDE` must stand above it.
    """
    return f"#if PULP_ASSEMBLY\n\n{assembly}\n\n#else\n\n{plain}\n\n#endif"
