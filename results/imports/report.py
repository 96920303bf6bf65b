"""The report of an import, which says first that nothing of it was measured here."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from harness.core.errors import UserError
from harness.core.files import write_atomically
from harness.core.store import truncate_lines
from harness.core.text import count_noun
from reports.document import Report, Rows, Table
from reports.flat import to_csv, to_parquet
from reports.render import TEXTS, check_allowed, find_main_file, write_page
from results.imports.base import SOURCES, AnsweredRows
from results.imports.folder import Import

FORMATS = (*TEXTS, "csv", "parquet")
"""Formats of a report that an import can have; the README table is a ranking of own runs."""
DEFAULT_FORMATS = ("md", "html", "csv")


def check_formats(formats: Sequence[str]) -> None:
    """Raise UserError for a format that an import's report cannot have."""
    check_allowed("format of an imported folder's report", formats, FORMATS)


def write_import_report(read: Import, formats: Sequence[str] = DEFAULT_FORMATS, to: Path | None = None) -> Path:
    """Write the report in some formats; returns the path of what is to be read first. Raises UserError."""
    check_formats(formats)
    folder = to or read.out / "report"
    content = SOURCES.get(read.info.source)().describe(AnsweredRows(read.rows, read.read_answers), read.info.baseline)
    report = Report(
        title=f"Imported results: {read.info.source}",
        command=read.info.command,
        facts=[],
        dropped=[],
        summary=[],
        # the lead, for the page shows other facts in a folded section
        lead=[*describe_import(read), *content.sentences],
        extra=[],
        sections=content.sections,
        runs=Table("Every row", ("key",), []),
        detail=_build_skipped_tables(read),
        provenance=f"imported from {read.info.source}, not measured here",
    )
    texts = [kind for kind in formats if kind in TEXTS]
    if texts:
        write_page(report, folder, texts)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"cannot write the report in {folder}: {error.strerror}; give another --to") from error
    for kind, encode in (("csv", to_csv), ("parquet", to_parquet)):
        for name, rows in content.flat.items() if kind in formats else ():
            if rows:
                write_atomically(folder / f"{name}.{kind}", encode(_fill_columns(rows)))
    return find_main_file(folder, texts) if texts else folder


def _fill_columns(rows: Rows) -> Rows:
    """The rows with all columns that any of them has."""
    columns = list(dict.fromkeys(name for row in rows for name in row))
    return [{name: row.get(name) for name in columns} for row in rows]


def describe_import(read: Import) -> list[str]:
    """What a reader must know before the numbers."""
    info, rows = read.info, read.rows
    status = Counter(row.status for row in rows)
    counts = ", ".join(f"{count} {name}" for name, count in status.items())
    dates = sorted(row.provenance.created for row in rows)
    machines = dict.fromkeys(row.hardware for row in rows if row.hardware)
    lines = [
        f"Results of others: nothing in this report was measured by this harness. Source: {info.source}, folder "
        f"{info.folder}, imported {info.imported}.",
        f"{count_noun(len(rows), 'result')} ({counts}) of {count_noun(info.files, 'file')}; "
        f"repeats of a result: {info.repeats:,}; skipped: {len(info.skipped):,}, each listed at the end.",
        f"Made between {dates[0][:10]} and {dates[-1][:10]}. Models: {_list_few(row.model for row in rows)}. "
        f"Hardware: {', '.join(machines) or 'not stated'}.",
    ]
    return lines + list(read.damaged)


def _list_few(values: Iterable[str]) -> str:
    names = list(dict.fromkeys(values))
    return ", ".join(truncate_lines(names, 5))


def _build_skipped_tables(read: Import) -> list[Table]:
    if not read.info.skipped:
        return []
    return [Table.of("Not imported", [{"what": line} for line in read.info.skipped])]
