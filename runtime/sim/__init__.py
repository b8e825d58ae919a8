"""A simulator of PULP clusters: fabric controller, worker cores, L1, L2, DMA, event unit."""

from .configuration import Cache, Configuration
from .errors import (
    BadAccess,
    CycleLimit,
    Deadlock,
    ElfError,
    Interrupted,
    SimulationError,
    TraceError,
    UnknownInstruction,
)
from .machine import CoreStatistics, Machine, Result, Symbol
from .profile import Profile
from .reports import Access, Report

__all__ = [
    "Access",
    "BadAccess",
    "Cache",
    "Configuration",
    "CoreStatistics",
    "CycleLimit",
    "Deadlock",
    "ElfError",
    "Interrupted",
    "Machine",
    "Profile",
    "Report",
    "Result",
    "SimulationError",
    "Symbol",
    "TraceError",
    "UnknownInstruction",
]
