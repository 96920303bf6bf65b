"""When two cells of different runs are the same cell, by all that a cell is or by less and less of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from harness.core.cell import Cell

VERSION_FIELDS = {"method_version", "suite_version"}
"""Versions of the code are not part of what a cell is here: they are what may have changed."""


def identify_cell(cell: Cell) -> str:
    """All that a cell is apart from the versions of the code: equal for the same cell at another commit."""
    versionless = cell.model_copy(update=dict.fromkeys(VERSION_FIELDS, 0))
    return versionless.key


def _build_loose_identity(cell: Cell) -> str:
    return f"{cell.suite}/{cell.task}/{cell.label}/{sorted(cell.seeds.items())}"


IDENTITIES: Mapping[str, Callable[[Cell], str]] = {
    "cell, versions of the code apart": identify_cell,
    "task, method, precision and seeds": lambda cell: f"{_build_loose_identity(cell)}/{cell.precision}",
    "task, method and seeds": _build_loose_identity,
}
