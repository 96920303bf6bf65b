"""Numbers as text for people."""

from __future__ import annotations

UNITS = (("GiB", 2**30, 2), ("MiB", 2**20, 2), ("KiB", 2**10, 1))
"""Name, bytes and decimal places of each unit, largest first."""


def format_bytes(count: int | None) -> str:
    """A number of bytes in the largest unit that it fills ('1.50 GiB', '24.0 KiB', '7 B'); '' for None."""
    if count is None:
        return ""
    for unit, size, places in UNITS:
        if abs(count) >= size:
            return f"{count / size:.{places}f} {unit}"
    return f"{count} B"


def count_noun(count: int, noun: str) -> str:
    """A count with its noun: '1 cell', '2 cells'."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def count_having(count: int, noun: str) -> str:
    """A count as a subject: '1 cell has', '2 cells have'."""
    return f"{count_noun(count, noun)} {'has' if count == 1 else 'have'}"
