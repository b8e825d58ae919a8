"""The sizes of register blocks that a kernel needs, and the panels for them."""

from __future__ import annotations


def panel_names(row_sizes: list[int], column_sizes: list[int]) -> dict[tuple[int, int], str]:
    """Return a name for the panel of each block size."""
    return {(r, c): f"panel_{r}x{c}" for r in row_sizes for c in column_sizes}


def panel_calls(names: dict[tuple[int, int], str], arguments: str, indent: str) -> str:
    """Return C that calls the panel for a block of ``height`` rows and ``width`` columns."""
    smallest_rows, smallest_columns = min(r for r, _ in names), min(c for _, c in names)
    text = ""
    for position, ((rows, columns), name) in enumerate(names.items()):
        conditions = [f"height == {rows}"] if rows != smallest_rows else []
        conditions += [f"width == {columns}"] if columns != smallest_columns else []
        test = "" if position == len(names) - 1 else f"if ({' && '.join(conditions)}) "
        text += f"{indent}{'else ' if position else ''}{test}{name}({arguments});\n"
    return text


def block_sizes_with_rests(block: int, rests: set[int]) -> list[int]:
    """Return the block size and what may be left over, largest first."""
    return sorted({block, *rests} - {0}, reverse=True)
