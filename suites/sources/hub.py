"""Splits from the hub through `datasets`."""

from __future__ import annotations

from collections.abc import Sequence

from harness.errors import Absent
from suites.sources.layouts import Layout, Recovered
from suites.sources.tables import Table, from_columns


def fetch(repository: str, task: str, layout: Layout, wanted: Sequence[str]) -> Recovered:
    """Splits of one configuration of a hub data set. Raises UserError that says how to go on without the hub."""
    try:
        import datasets

        loaded = datasets.load_dataset(repository, task)
    except Exception as error:  # datasets, huggingface_hub, httpx and pyarrow each raise their own
        first = (str(error).splitlines() or [""])[0]
        tried = f"datasets.load_dataset('{repository}', '{task}') failed: {type(error).__name__}: {first}"
        raise Absent(f"{tried}; without the hub, give --data-dir DIR with {layout.folder}/ in it") from error
    if absent := [split for split in wanted if split not in loaded]:
        raise Absent(f"{repository}/{task}: the hub has {', '.join(loaded)}, not {', '.join(absent)}")
    return Recovered({split: _table(f"{repository}/{task}/{split}", loaded[split]) for split in wanted})


def _table(name: str, split: object) -> Table:
    columns = split.column_names  # type: ignore[attr-defined]
    return from_columns(name, {column: list(split[column]) for column in columns})  # type: ignore[index]
