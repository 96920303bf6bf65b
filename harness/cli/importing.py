"""`import SOURCE DIR`: results that others measured, and what the commands on runs do with a folder of them."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from harness.cli.flags import Json, read_path
from harness.core.errors import UserError
from harness.core.store import truncate_lines
from harness.core.stored_files import IMPORT_FILE
from harness.core.terminal import print_lines, print_wrapped
from harness.core.text import count_noun


def import_results(
    source: Annotated[str, typer.Argument(help="kind of the files: peft-method-comparison or lm-eval")],
    folder: Annotated[
        Path, typer.Argument(parser=read_path, metavar="DIR", help="folder of the files, which are read at any depth")
    ],
    out: Annotated[
        Path | None,
        typer.Option(parser=read_path, metavar="FOLDER", help="output folder; default: one below results/imported"),
    ] = None,
    baseline: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="row that the others are compared with; default: the source's own"),
    ] = None,
    formats: Annotated[
        str, typer.Option(metavar="TEXT[,...]", help="formats of the report: md, html, latex, csv, parquet")
    ] = "md,html,csv",
    as_json: Json = False,
) -> None:
    """Read results that others measured, and report what they show.

    They are stored apart from runs, and never mixed with what was measured here. Files that are damaged or unknown are
    skipped and listed; nothing readable at all is an error.

    Example: python -m harness import lm-eval lm-eval-output
    """
    from results.imports.folder import choose_folder, import_folder
    from results.imports.report import check_formats, write_import_report

    names = tuple(filter(None, formats.split(",")))
    check_formats(names)
    out = out or choose_folder(source, folder)
    command = f"python -m harness {shlex.join(sys.argv[1:])}"
    imported = import_folder(source, folder, out, command, baseline)
    report = write_import_report(imported, names)
    info = imported.info
    print_lines(truncate_lines(info.skipped), sys.stderr)
    if as_json:
        answer = {"out": str(out), "rows": len(imported.rows), "files": info.files, "repeats": info.repeats}
        print_lines([json.dumps(answer | {"skipped": info.skipped, "report": str(report)})])
        return
    counts = f"{count_noun(len(imported.rows), 'result')} from {count_noun(info.files, 'file')}"
    print_lines(
        [
            f"{counts}; repeats of a result: {info.repeats:,}, skipped: {len(info.skipped):,}",
            f"folder: {out}",
            f"report: {report}",
        ]
    )


def is_import(out: Path) -> bool:
    """Whether a folder holds imported results."""
    return (out / IMPORT_FILE).is_file()


def report_import(out: Path, to: Path | None, flags: Mapping[str, Any]) -> None:
    """`report` of an import. Raises UserError for flags that are about runs."""
    from results.imports.folder import read_import
    from results.imports.report import DEFAULT_FORMATS, write_import_report

    if other := sorted(set(flags) - {"formats"}):
        given = ", ".join("--" + name.replace("_", "-") for name in other)
        raise UserError(f"{given}: {out} holds imported results; allowed: --formats and --to")
    read = read_import(out)
    print_lines(truncate_lines(read.damaged), sys.stderr)
    formats = flags.get("formats", DEFAULT_FORMATS)
    # one flag may hold several, as for runs
    names = [name for text in formats for name in text.split(",") if name]
    print_lines([f"report: {write_import_report(read, names, to)}"])


def show_imported(prefix: str, out: Path, as_json: bool) -> None:
    """`show` of an import: the row whose key or name begins with `prefix`. Raises UserError for none or several."""
    from results.imports.folder import read_import
    from results.imports.text import format_row

    read = read_import(out)
    rows = [row for row in read.rows if row.key.startswith(prefix)] or [row for row in read.rows if row.name == prefix]
    if len(rows) != 1:
        keys = ", ".join(f"{row.key} ({row.name})" for row in (rows or read.rows)[:4])
        what = f"matches {len(rows)} rows" if rows else "matches no row"
        raise UserError(f"'{prefix}' {what} of {out}; give a key, such as {keys}")
    print_lines(truncate_lines(read.damaged), sys.stderr)
    if as_json:
        print_lines([json.dumps(rows[0].model_dump(mode="json"))])
    else:
        print_wrapped(format_row(rows[0]))


def compare_imported(a: Path, b: Path, fail_if_worse: float | None, as_json: bool) -> None:
    """`compare` where one folder is an import. Raises UserError unless both are, and of one source."""
    from results.imports.base import SOURCES, AnsweredRows
    from results.imports.folder import read_import

    for imported, other in ((a, b), (b, a)):
        if not is_import(other):
            raise UserError(
                f"{imported} holds results of others and {other} does not: they differ in questions, protocol, "
                "software and machine, so no difference between them can be read; allowed: two runs, or two imports"
            )
    if fail_if_worse is not None:
        raise UserError("--fail-if-worse is for two runs measured here, on paired seeds; compare imports without it")
    before, after = read_import(a), read_import(b)
    if before.info.source != after.info.source:
        raise UserError(
            f"{a} is imported from {before.info.source} and {b} from {after.info.source}; allowed: two of one source"
        )
    print_lines(truncate_lines([*before.damaged, *after.damaged]), sys.stderr)
    lines = SOURCES.get(before.info.source)().compare(
        AnsweredRows(before.rows, before.read_answers), AnsweredRows(after.rows, after.read_answers)
    )
    if as_json:
        print_lines([json.dumps({"source": before.info.source, "a": str(a), "b": str(b), "lines": lines})])
        return
    print_wrapped([f"A: {a}", f"B: {b}", f"imported from {before.info.source}, not measured here", *lines])
