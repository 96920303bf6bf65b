"""Cells that several runs have: their scores over time, by commit and version."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from harness.core.record import Record
from reports.board.runs import BoardRun
from reports.frames import get_score
from reports.identities import identify_cell

Place = tuple[str, str, str]
"""(suite, task, method)."""


@dataclass(frozen=True)
class Sighting:
    """A cell in one run; `score` in points, `change` to the run before it."""

    run: BoardRun
    record: Record
    score: float | None
    change: float | None


def build_histories(runs: Sequence[BoardRun]) -> dict[Place, list[list[Sighting]]]:
    """Place -> the cells there that at least two runs have, each with its sightings, the oldest first.

    A cell is the same if all of its content is, apart from the versions of the method and the suite.
    """
    by_identity: dict[str, list[tuple[BoardRun, Record]]] = {}
    for run in sorted(runs, key=lambda run: run.date):
        for record in run.records:
            by_identity.setdefault(identify_cell(record.cell), []).append((run, record))
    histories: dict[Place, list[list[Sighting]]] = {}
    for seen in by_identity.values():
        if len({run.folder for run, _ in seen}) > 1:
            run, record = seen[-1]
            place = record.cell.suite, record.cell.task, run.names[record.key]
            histories.setdefault(place, []).append(_list_sightings(seen))
    return dict(sorted(histories.items()))


def _list_sightings(seen: Sequence[tuple[BoardRun, Record]]) -> list[Sighting]:
    sightings: list[Sighting] = []
    before: float | None = None
    for run, record in seen:
        score = get_score(record, next(iter(record.averages), ""))
        change = None if score is None or before is None else score - before
        sightings.append(Sighting(run, record, score, change))
        before = before if score is None else score
    return sightings
