"""The table of `report --with-text`: the examples that change most, with their texts."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from harness.core.errors import UserError
from harness.core.record import Record
from reports.between import pair_runs
from reports.document import Findings
from reports.frames import build_grids
from reports.statistics.changed_examples import ChangedExample, find_changes

MOST_EXAMPLES = 5
"""Examples of each task and method at most."""
Texts = Mapping[tuple[str, str], tuple[str, ...]]
"""(split, id) -> the texts of an example."""
NOTES = (
    f"At most {MOST_EXAMPLES} examples of each task and method, those that change in most pairs of runs first. The "
    "texts are read from the data source, whose fingerprint is that of the run. Their licence may not allow publishing "
    "them.",
)


def add_example_texts(
    findings: Findings, records: Sequence[Record], cells: Path, texts: Mapping[tuple[str, str], Texts]
) -> Findings:
    """The findings with one more table of detail; `texts` by suite and task. Cells without predictions are left out."""
    rows: list[dict[str, Any]] = []
    for grid in build_grids(records):
        # without an analysis (cells that are not to be compared) nothing is declared
        baselines = findings.analysis.baselines if findings.analysis else {}
        baseline = baselines.get(grid.suite, grid.methods[0])
        for task in grid.tasks:
            for method in (name for name in grid.methods if name != baseline):
                paired = pair_runs((baseline, grid.of(task, baseline)), (method, grid.of(task, method)))
                if paired is None:
                    continue
                try:
                    changes = find_changes(*paired, cells)
                except UserError:
                    # the report has a note on predictions that are absent or damaged
                    continue
                place = {"suite": grid.suite, "task": task, "method": method, "against": baseline}
                task_texts = texts[grid.suite, task]
                rows += [place | _build_row(one, task_texts) for one in changes.examples[:MOST_EXAMPLES]]
    if not rows:
        return findings
    table = ("Examples that change most", rows, NOTES, "examples")
    return dataclasses.replace(findings, detail=[*findings.detail, table])


def _build_row(one: ChangedExample, texts: Texts) -> dict[str, Any]:
    pairs = len(one.before)
    return {
        "example": one.id,
        # numpy's own types are no numbers to the formats
        "target": one.target.item() if hasattr(one.target, "item") else one.target,
        "better": f"{one.improved} of {pairs}",
        "worse": f"{one.worsened} of {pairs}",
        "text": " | ".join(texts[one.split, one.id]),
    }
