"""The form of a chip file: the ranges of its fields, and the JSON Schema document made of them.

The document is shipped as ``chip.schema.json`` beside this file; ``pulp-sim schema`` prints
it anew.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

CACHE_FIELDS = ("sets", "ways", "refill_latency")
_NUMBER_TEXT = "^(0[xX][0-9a-fA-F]+|0|[1-9][0-9]*)$"
_LARGEST = (1 << 32) - 1


@dataclass(frozen=True)
class Range:
    """Integers from ``least`` to ``most``, multiples of ``step``, or powers of two."""

    least: int = 0
    most: int = _LARGEST
    step: int = 1
    power_of_two: bool = False

    def holds(self, value: int) -> bool:
        """Tell whether a value is one of them."""
        power = not self.power_of_two or value & (value - 1) == 0
        return self.least <= value <= self.most and value % self.step == 0 and power

    def __str__(self) -> str:
        kind = "a power of two" if self.power_of_two else f"a multiple of {self.step}"
        kind = "a number" if kind == "a multiple of 1" else kind
        return f"{kind} from {self.least} to {self.most}"

    def to_schema(self) -> dict[str, Any]:
        """Return the same as JSON Schema; texts like "0x20000" are numbers too."""
        if self.power_of_two:
            powers = [1 << n for n in range(self.most.bit_length()) if self.least <= 1 << n <= self.most]
            return {"enum": powers}
        number: dict[str, Any] = {"type": "integer", "minimum": self.least, "maximum": self.most}
        if self.step > 1:
            number["multipleOf"] = self.step
        return {"anyOf": [number, {"type": "string", "pattern": _NUMBER_TEXT}]}


_COUNT = Range(1)
_SHORT = Range(1, 255)
RANGES: Mapping[str, Range] = {
    "frequency_hz": Range(1, 10**10),
    "worker_cores": Range(1, 16),
    "shared_fpus": Range(1, 16),
    "fpu_latency": _SHORT,
    "fpu_interval": _SHORT,
    "shared_dividers": Range(1, 16),
    "float_divide_latency": _SHORT,
    "half_divide_latency": _SHORT,
    "l1_bytes": Range(4096, 1 << 20, 4096),  # the test-and-set alias follows it
    "l1_banks": Range(1, 1 << 16, power_of_two=True),
    "l2_bytes": Range(0, 1 << 29, 4),
    "l2_private_bytes": Range(0, 1 << 29),
    "unwritten_byte": Range(0, 255),
    "l3_bytes": Range(0, 1 << 30),
    "l3_bytes_per_second": Range(1, 10**12),
    "multiply_cycles": _SHORT,
    "multiply_high_cycles": _SHORT,
    "event_wakeup_latency": _COUNT,
    "l1_icache_banks": Range(1, 1 << 10, power_of_two=True),
    "sets": Range(1, 1 << 16, power_of_two=True),
    "ways": Range(1, 128, power_of_two=True),
    "dma_core_queue_depth": _COUNT,
    "dma_global_queue_depth": _COUNT,
    "dma_outstanding_reads": _COUNT,
    "dma_outstanding_writes": _COUNT,
    "dma_burst_bytes": Range(4, 1 << 16, 4),
    "dma_ports_per_direction": Range(1, 64),
}
"""Range of each field that has one of its own, those of caches by their last name."""


def range_of(field: str) -> Range:
    """Return the range of a field, e.g. ``l1_bytes`` or ``l0.sets``."""
    return RANGES.get(field.rpartition(".")[2], Range())


def make_schema(defaults: Mapping[str, Any]) -> dict[str, Any]:
    """Make the JSON Schema of a chip file.

    Parameters
    ----------
    defaults : mapping
        All fields with the values that they have where a file leaves them out.
    """
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "A chip for pulp-sim",
        "description": "Fields that are left out have the values of pulp-open. See docs/simulator.md.",
        "type": "object",
        "additionalProperties": False,
        "properties": {
            name: {**_schema_of(name, value), "default": value} for name, value in defaults.items()
        },
    }


def _schema_of(name: str, value: Any) -> dict[str, Any]:
    if isinstance(value, bool):
        return {"type": "boolean"}
    if isinstance(value, int):
        return range_of(name).to_schema()
    if isinstance(value, str):
        return {"type": "string"}
    return {
        "type": "object",
        "additionalProperties": False,
        "required": list(CACHE_FIELDS),
        "properties": {field: range_of(field).to_schema() for field in CACHE_FIELDS},
    }
