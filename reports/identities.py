"""When two cells of different runs are the same cell, by all that a cell is or by less and less of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from harness.core.cell import Cell

VERSION_FIELDS = {"method_version", "suite_version"}
"""Versions of the code are not part of what a cell is here: they are what may have changed."""


def identify_cell(cell: Cell) -> str:
    """All that a cell is apart from the versions of the code: equal for the same cell at another commit."""
    versionless = cell.model_copy(update=dict.fromkeys(VERSION_FIELDS, 0))
    return versionless.key


def choose_identities(cells: Iterable[Cell]) -> Mapping[str, Callable[[Cell], str]]:
    """IDENTITIES for these cells, which take less time where a method and suite have one version in all of them.

    Among such cells the key, which is known already, is equal where the key without versions is.
    """
    versions: dict[tuple[str, str], set[tuple[int, int]]] = {}
    for cell in cells:
        versions.setdefault((cell.suite, cell.method), set()).add((cell.suite_version, cell.method_version))

    def identify(cell: Cell) -> str:
        return cell.key if len(versions[cell.suite, cell.method]) == 1 else identify_cell(cell)

    return {**IDENTITIES, BY_CELL: identify}


def _build_loose_identity(cell: Cell) -> str:
    return f"{cell.suite}/{cell.task}/{cell.label}/{sorted(cell.seeds.items())}"


BY_CELL = "cell, versions of the code apart"
IDENTITIES: Mapping[str, Callable[[Cell], str]] = {
    BY_CELL: identify_cell,
    "task, method, precision and seeds": lambda cell: f"{_build_loose_identity(cell)}/{cell.precision}",
    "task, method and seeds": _build_loose_identity,
}
