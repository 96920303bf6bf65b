"""Imported rows sorted into evaluations: one model, scored once on several tasks."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Mapping, Sequence

from results.imports.base import ImportedRow


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """`model` as the source names it; `label` names the date or file too where one model was evaluated twice.

    `rows`: task (and filter) -> its row.
    """

    model: str
    label: str
    rows: Mapping[str, ImportedRow]

    def list_leaves(self, row: ImportedRow) -> list[ImportedRow]:
        """The rows of the tasks below a group, groups within it resolved; [] if one of them has no row."""
        leaves = []
        for task in row.facts.get("subtasks", ()):
            below = self.rows.get(task)
            if below is None:
                return []
            leaves += self.list_leaves(below) if below.facts.get("subtasks") else [below]
        return leaves


def group_evaluations(rows: Sequence[ImportedRow]) -> list[Evaluation]:
    """The evaluations of an import in the order of time, each file one."""
    by_file: dict[str, list[ImportedRow]] = {}
    for row in rows:
        by_file.setdefault(row.provenance.file, []).append(row)
    files = sorted(by_file, key=lambda file: (by_file[file][0].provenance.created, file))
    models = [by_file[file][0].name for file in files]
    counts = Counter(models)
    dates = Counter((model, by_file[file][0].provenance.created) for model, file in zip(models, files, strict=True))
    evaluations = []
    for model, file in zip(models, files, strict=True):
        created = by_file[file][0].provenance.created
        mark = created if dates[model, created] == 1 else file
        label = model if counts[model] == 1 else f"{model} ({mark})"
        evaluations.append(Evaluation(model, label, {row.benchmark: row for row in by_file[file]}))
    return evaluations
