"""The description of one chip: memories, units and every number of the timing model.

A configuration is a JSON file; the ones that are shipped lie in ``configurations/``. The meaning of
each field is in ``docs/simulator.md``.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

_FOLDER = Path(__file__).parent / "configurations"


@dataclass(frozen=True)
class Cache:
    """Geometry of one instruction cache with lines of 16 bytes.

    Attributes
    ----------
    sets, ways : int
        Powers of two.
    refill_latency : int
        Cycles that a refill takes beyond what the next level takes.
    """

    sets: int
    ways: int
    refill_latency: int


@dataclass(frozen=True)
class Configuration:
    """One chip.

    All times are cycles, all sizes bytes. See ``docs/simulator.md`` for each field.
    """

    name: str = "pulp-open"
    description: str = ""
    frequency_hz: int = 50_000_000

    worker_cores: int = 8
    has_cluster_controller: bool = True
    merged_registers: bool = True
    nan_boxed_halves: bool = False

    shared_fpus: int = 4
    fpu_latency: int = 1
    fpu_interval: int = 1
    shared_dividers: int = 1
    float_divide_latency: int = 14
    half_divide_latency: int = 10
    bf16_dot_drops_accumulator: bool = True

    l1_base: int = 0x10000000
    l1_bytes: int = 0x10000
    l1_banks: int = 16
    l1_bank_conflicts: bool = False
    l1_alias_at_zero: bool = False
    l2_private_base: int = 0x1C000000
    l2_private_bytes: int = 0x10000
    l2_base: int = 0x1C010000
    l2_bytes: int = 0x180000
    unwritten_byte: int = 0x57
    l3_base: int = 0x80000000
    l3_bytes: int = 8 << 20
    l3_latency: int = 40
    l3_bytes_per_second: int = 50_000_000

    cluster_interconnect_latency: int = 2
    axi_latency: int = 12
    apb_latency: int = 8
    controller_fetch_latency: int = 5

    branch_taken_stall: int = 2
    jump_stall: int = 1
    load_use_stall: int = 1
    misaligned_traps: bool = False
    multiply_cycles: int = 2
    multiply_high_cycles: int = 5
    divide_base_cycles: int = 3
    event_load_stall: int = 2

    event_wakeup_latency: int = 2
    event_request_latency: int = 6

    l0: Cache = field(default_factory=lambda: Cache(8, 4, 2))
    l0_controller: Cache = field(default_factory=lambda: Cache(32, 4, 2))
    l1_icache: Cache = field(default_factory=lambda: Cache(32, 4, 2))
    l1_icache_banks: int = 2

    dma_core_queue_depth: int = 2
    dma_global_queue_depth: int = 8
    dma_outstanding_reads: int = 8
    dma_outstanding_writes: int = 8
    dma_burst_bytes: int = 256
    dma_ports_per_direction: int = 2

    def __post_init__(self) -> None:
        """Refuse what cannot be built."""
        _check(self)

    @classmethod
    def names(cls) -> list[str]:
        """Names of the configurations that are shipped."""
        return sorted(path.stem for path in _FOLDER.glob("*.json"))

    @classmethod
    def named(cls, name: str) -> Configuration:
        """Load a shipped configuration.

        Parameters
        ----------
        name : str
            One of :meth:`names`.

        Raises
        ------
        ValueError
            If there is none of that name.
        """
        path = _FOLDER / f"{name}.json"
        if not path.is_file():
            raise ValueError(f"no configuration named {name!r}; there are {', '.join(cls.names())}")
        return cls.from_json(path)

    @classmethod
    def from_json(cls, path: str | Path) -> Configuration:
        """Read a configuration file.

        Fields that the file leaves out have the values of pulp-open.

        Raises
        ------
        ValueError
            If the file is no JSON object, has an unknown field, or a field of the wrong type.
        """
        try:
            fields = json.loads(Path(path).read_text(encoding="utf-8"))
        except (json.JSONDecodeError, UnicodeDecodeError) as error:
            raise ValueError(f"{path}: not a JSON file: {error}") from None
        if not isinstance(fields, dict):
            raise ValueError(f"{path}: a configuration is a JSON object")
        try:
            return cls.from_dict(fields)
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from None

    @classmethod
    def from_dict(cls, fields: dict[str, Any]) -> Configuration:
        """Build a configuration from the fields of a JSON object."""
        return cls().replace(**fields)

    def replace(self, **changes: Any) -> Configuration:
        """Return the same chip with some fields changed.

        Raises
        ------
        ValueError
            If a field is unknown or has the wrong type.
        """
        known = {item.name: getattr(self, item.name) for item in dataclasses.fields(self)}
        values: dict[str, Any] = {}
        for key, value in changes.items():
            if key not in known:
                raise ValueError(f"unknown field {key!r} of a simulator configuration")
            values[key] = _typed(key, value, known[key])
        return dataclasses.replace(self, **values)

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as a JSON object."""
        return dataclasses.asdict(self)

    def to_json(self, path: str | Path) -> None:
        """Write a configuration file."""
        Path(path).write_text(json.dumps(self.to_dict(), indent=2) + "\n", encoding="utf-8")

    @property
    def cluster_cores(self) -> int:
        """Cores of the cluster, the controller included."""
        return self.worker_cores + int(self.has_cluster_controller)


def _typed(key: str, value: Any, example: Any) -> Any:
    if isinstance(example, Cache):
        if isinstance(value, Cache):
            return value
        if not isinstance(value, dict) or set(value) != {"sets", "ways", "refill_latency"}:
            raise ValueError(f"field {key!r} has the fields sets, ways and refill_latency")
        return Cache(**{name: _typed(f"{key}.{name}", number, 0) for name, number in value.items()})
    if isinstance(example, bool):
        if not isinstance(value, bool):
            raise ValueError(f"field {key!r} is true or false, not {value!r}")
        return value
    if isinstance(example, int):
        if isinstance(value, str):  # addresses read better in hexadecimal
            try:
                value = int(value, 0)
            except ValueError:
                raise ValueError(f"field {key!r} is a number, not {value!r}") from None
        if isinstance(value, bool) or not isinstance(value, int) or value < 0:
            raise ValueError(f"field {key!r} is a number that is not negative, not {value!r}")
        return value
    if not isinstance(value, str):
        raise ValueError(f"field {key!r} is a text, not {value!r}")
    return value


def _power_of_two(value: int) -> bool:
    return value > 0 and value & (value - 1) == 0


_AT_LEAST_ONE = (
    "shared_fpus",
    "shared_dividers",
    "l1_banks",
    "dma_core_queue_depth",
    "dma_global_queue_depth",
    "dma_outstanding_reads",
    "dma_outstanding_writes",
    "dma_ports_per_direction",
    "event_wakeup_latency",
    "frequency_hz",
    "l3_bytes_per_second",
)
_ONE_BYTE = (
    "fpu_latency",
    "fpu_interval",
    "float_divide_latency",
    "half_divide_latency",
    "multiply_cycles",
    "multiply_high_cycles",
)


def _check(chip: Configuration) -> None:
    if not 1 <= chip.worker_cores <= 16:
        raise ValueError("worker_cores is 1 to 16")
    for key in _AT_LEAST_ONE:
        if getattr(chip, key) < 1:
            raise ValueError(f"{key} is at least 1")
    for key in _ONE_BYTE:
        if not 1 <= getattr(chip, key) <= 255:
            raise ValueError(f"{key} is 1 to 255")
    if chip.l1_bytes % 4096 or not 4096 <= chip.l1_bytes <= 0x100000:
        raise ValueError("l1_bytes is a multiple of 4096 up to 1 MiB (the test-and-set alias follows it)")
    if chip.unwritten_byte > 255:
        raise ValueError("unwritten_byte is 0 to 255")
    if chip.l2_bytes % 4 or chip.l2_bytes > 0x20000000:
        raise ValueError("l2_bytes is a multiple of 4 up to 512 MiB")
    if chip.l3_bytes > 0x40000000:
        raise ValueError("l3_bytes is at most 1 GiB")
    if not _power_of_two(chip.l1_banks) or not _power_of_two(chip.l1_icache_banks):
        raise ValueError("banks are a power of two")
    if chip.dma_burst_bytes % 4 or chip.dma_burst_bytes < 4:
        raise ValueError("dma_burst_bytes is a multiple of 4")
    for key in ("l0", "l0_controller", "l1_icache"):
        cache = getattr(chip, key)
        if not _power_of_two(cache.sets) or not _power_of_two(cache.ways) or cache.ways > 128:
            raise ValueError(f"{key}.sets and {key}.ways are powers of two")
    areas = sorted(
        (base, base + size, name)
        for name, base, size in (
            ("L1", chip.l1_base, 0x400000),
            ("private L2", chip.l2_private_base, chip.l2_private_bytes),
            ("L2", chip.l2_base, chip.l2_bytes),
            ("L3", chip.l3_base, chip.l3_bytes),
            ("the peripherals", 0x1A100000, 0x100000),
        )
        if size
    )
    for (_, end, low), (start, _, high) in itertools.pairwise(areas):
        if end > start:
            raise ValueError(f"{low} and {high} overlap")
    if areas[-1][1] > 1 << 32:
        raise ValueError(f"{areas[-1][2]} ends beyond 32 bits")
