"""Kernel templates: one operator class a file, each gives tiled TIR for bound knobs; `lower` picks one."""

from tvm_pulp.schedules.base import lower

__all__ = ["lower"]
