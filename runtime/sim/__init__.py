"""A simulator of PULP clusters: fabric controller, worker cores, L1, L2, DMA, event unit."""

from .configuration import Cache, Configuration
from .errors import (
    BadAccess,
    CheckFailed,
    CycleLimit,
    Deadlock,
    ElfError,
    Interrupted,
    SimulationError,
    UnknownInstruction,
)
from .machine import CoreStatistics, Machine, Result, Symbol
from .reports import Access, Report

__all__ = [
    "Access",
    "BadAccess",
    "Cache",
    "CheckFailed",
    "Configuration",
    "CoreStatistics",
    "CycleLimit",
    "Deadlock",
    "ElfError",
    "Interrupted",
    "Machine",
    "Report",
    "Result",
    "SimulationError",
    "Symbol",
    "UnknownInstruction",
]
