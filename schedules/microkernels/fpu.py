"""How long instructions take on two workers that share an FPU."""

from __future__ import annotations


def cycles_with_shared_fpu(instructions: float, products: float) -> float:
    """Return about how many cycles a worker takes while another one runs the same code on the same FPU.

    Each instruction is taken to need the FPU with the probability ``p = products / instructions``. While
    neither waits, both workers issue unless both need the FPU (p^2): then one of them waits; it issues next,
    and the other one, unless it needs the FPU in turn (p). The stationary state of this chain issues
    ``(2 - 2p + p^2) / (1 - p + p^2)`` instructions a cycle.

    Parameters
    ----------
    instructions
        Of a worker, all of them.
    products
        Those of them that need the FPU.
    """
    p = min(1.0, products / instructions) if instructions else 0.0
    return instructions * 2.0 * (1.0 - p + p * p) / (2.0 - 2.0 * p + p * p)
