"""What the DMA needs for a transfer, as measured on the simulator."""

from __future__ import annotations

from tvm_pulp.schedules.dialect import ceil_div

DMA_BYTES_A_CYCLE = 8.0
_BURST_BYTES = 256
_CYCLES_A_BURST = 1.0


def dma_cycles(size: int, line: int) -> float:
    """Return the cycles of moving ``size`` bytes in lines of ``line`` bytes: a burst costs one more."""
    bytes_a_line = min(line, size)
    bursts = size / bytes_a_line * ceil_div(bytes_a_line, _BURST_BYTES)
    return size / DMA_BYTES_A_CYCLE + _CYCLES_A_BURST * bursts
