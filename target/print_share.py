"""A worker's share of a parallel loop, in C."""

from __future__ import annotations

from tvm_pulp.target.print_expressions import ExpressionPrinter
from tvm_pulp.target.tvm_names import For, IntImm


def worker_range(loop: For, cores: int, text: ExpressionPrinter) -> tuple[str, str]:
    """Return first iteration and end: contiguous; the first workers take one more where they do not divide.

    Parameters
    ----------
    loop
        The parallel loop.
    cores
        Workers; 0 where the C compiler is to know how many.
    text
        Prints expressions.
    """
    minimum = text(loop.min)
    offset = "" if minimum == "0" else f"{minimum} + "
    if not (isinstance(loop.extent, IntImm) and cores):
        workers = str(cores) if cores else "PULP_CORES"
        total = text(loop.extent)
        return (
            f"{offset}pulp_chunk(core, {workers}, {total})",
            f"{offset}pulp_chunk(core + 1, {workers}, {total})",
        )
    each, rest = divmod(int(loop.extent.value), cores)
    if rest == 0 and each == 1:
        return f"{offset}core", f"{offset}core + 1"
    if rest == 0:
        return f"{offset}core * {each}", f"{offset}(core + 1) * {each}"
    extra = f"pulp_min(core, {rest})", f"pulp_min(core + 1, {rest})"
    if each == 0:
        return f"{offset}{extra[0]}", f"{offset}{extra[1]}"
    return f"{offset}core * {each} + {extra[0]}", f"{offset}(core + 1) * {each} + {extra[1]}"
