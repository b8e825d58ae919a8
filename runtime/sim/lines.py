"""Source lines of code addresses, from a program's debug information."""

from __future__ import annotations

import io
from bisect import bisect_right
from functools import cached_property
from typing import Any


class LineTable:
    """Lines of one program.

    Parameters
    ----------
    image : bytes
        The ELF file. Without debug information no address has a line.
    """

    def __init__(self, image: bytes) -> None:
        self._image = image

    @cached_property
    def _rows(self) -> list[tuple[int, str]]:
        try:
            from elftools.common.exceptions import ELFError
            from elftools.elf.elffile import ELFFile
        except ImportError:
            return []
        try:
            elf = ELFFile(io.BytesIO(self._image))
            if not elf.has_dwarf_info():
                return []
            return sorted(_read(elf.get_dwarf_info()))
        except (ELFError, KeyError, ValueError, AssertionError, IndexError, UnicodeDecodeError):
            return []  # damaged debug information is no reason to fail

    def find(self, address: int) -> str:
        """Return ``file:line`` of a code address, empty where unknown."""
        rows = self._rows
        index = bisect_right(rows, (address, "\U0010ffff")) - 1
        return rows[index][1] if index >= 0 else ""


def _read(dwarf: Any) -> list[tuple[int, str]]:
    rows: list[tuple[int, str]] = []
    for unit in dwarf.iter_CUs():
        program = dwarf.line_program_for_CU(unit)
        if program is None:
            continue
        files = program["file_entry"]
        first = 0 if program["version"] >= 5 else 1
        for entry in program.get_entries():
            state = entry.state
            if state is None:
                continue
            if state.end_sequence:
                rows.append((state.address, ""))
                continue
            index = state.file - first
            if 0 <= index < len(files):
                rows.append((state.address, f"{files[index].name.decode()}:{state.line}"))
    return rows
