"""Read the texts of examples again from their data source. A run stores none of them, because of licences."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

from harness.core.errors import UserError
from harness.core.method import SourceRequest
from harness.core.presets import get_preset
from harness.core.record import Record
from harness.core.registry import load_all
from harness.core.spec import Spec
from harness.planning.grammar import parse_data_files
from harness.planning.plan import configure_suites

TEXT_FIELDS = ("data_dir", "data_file", "option", "plugin")
"""Fields of Spec that say where the rows of a run come from."""


@dataclasses.dataclass(frozen=True)
class ExampleTexts:
    """The texts of one task's examples by (split, id), and the names of its classes (none of a regression)."""

    texts: Mapping[tuple[str, str], tuple[str, ...]]
    labels: tuple[str, ...]


def read_example_texts(records: Sequence[Record], spec: Spec) -> ExampleTexts:
    """The texts of the task of some records, which share one task.

    `spec` has the fields of TEXT_FIELDS that the run was given. Raises UserError if the rows cannot be read, or if they
    are not those that the run was scored on.
    """
    cell, source = records[0].cell, records[0].data_source
    load_all(spec.plugin)
    where = f"{cell.suite}/{cell.task}"
    flags = "--data-dir, --data-file and --option"
    if not (spec.data_dir or spec.data_file) and source not in ("embedded", "") and not source.startswith("hub "):
        raise UserError(f"--with-text: the rows of {where} come from {source}; give the {flags} of its run")
    # a record names its source in words, without paths, because records are published
    preset = get_preset(cell.preset)
    request = SourceRequest(
        "data-dir" if spec.data_dir else preset.source, spec.data_dir, parse_data_files(spec.data_file)
    )
    asked = spec.model_copy(update={"suite": (cell.suite,), "tasks": (cell.task,)})
    suite = configure_suites(asked, request)[cell.suite]
    data = suite.load(cell.task, request)
    # other rows may have the same ids, so their text would stand beside predictions of something else
    if data.fingerprint != cell.data:
        raise UserError(
            f"--with-text: the rows of {where} are not those of the run: its data has fingerprint "
            f"{cell.data[:12]}, {data.source} now has {data.fingerprint[:12]}; give the {flags} of its run"
        )
    texts = {(split, row.id): row.texts for split, rows in data.splits.items() for row in rows}
    return ExampleTexts(texts, suite.get_task(cell.task).labels)
