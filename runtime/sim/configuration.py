"""The description of one chip: memories, units and every number of the timing model.

A configuration is a JSON file; the ones that are shipped lie in ``configurations/``. The meaning of
each field is in ``docs/simulator.md``.
"""

from __future__ import annotations

import dataclasses
import difflib
import itertools
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .schema import CACHE_FIELDS, range_of

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
                close = difflib.get_close_matches(key, known, n=1)
                hint = f"did you mean {close[0]!r}?" if close else "docs/simulator.md lists the fields"
                raise ValueError(f"unknown field {key!r} of a simulator configuration; {hint}")
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
        if not isinstance(value, dict) or set(value) != set(CACHE_FIELDS):
            raise ValueError(f"field {key!r} is {value!r}; it must have the fields {', '.join(CACHE_FIELDS)}")
        return Cache(**{name: _typed(f"{key}.{name}", number, 0) for name, number in value.items()})
    if isinstance(example, bool):
        if not isinstance(value, bool):
            raise ValueError(f"field {key!r} is {value!r}; it must be true or false")
        return value
    if isinstance(example, int):
        number = value
        if isinstance(value, str):  # addresses read better in hexadecimal
            try:
                number = int(value, 0)
            except ValueError:
                pass
        if isinstance(number, bool) or not isinstance(number, int) or not range_of(key).holds(number):
            raise ValueError(f"field {key!r} is {value!r}; it must be {range_of(key)}")
        return number
    if not isinstance(value, str):
        raise ValueError(f"field {key!r} is {value!r}; it must be a text")
    return value


def _check(chip: Configuration) -> None:
    """Refuse what fits each field but not the chip."""
    for key, value in dataclasses.asdict(chip).items():
        _typed(key, value, getattr(chip, key))
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
            raise ValueError(f"{low} and {high} overlap; change their base or bytes")
    if areas[-1][1] > 1 << 32:
        raise ValueError(f"{areas[-1][2]} ends beyond 32 bits; change its base or bytes")
