"""The commands that read stored runs: `report`, `show`, `compare`, `watch` and `merge`."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from harness.cli.flags import Json, add_flags, collect_flags, read_path
from harness.cli.importing import compare_imported, is_import, report_import, show_imported
from harness.core.errors import UserError
from harness.core.garbage import pause_collection
from harness.core.record import Record
from harness.core.spec import DECLARED_FIELDS, REPORT_FIELDS
from harness.core.spec_reading import make_spec
from harness.core.store import Store, truncate_lines
from harness.core.terminal import print_lines, print_wrapped

Folder = Annotated[Path, typer.Argument(parser=read_path, metavar="RUN", help="folder of a run or study")]
WithText = Annotated[
    bool,
    typer.Option(
        "--with-text/--no-with-text",
        help="show the text of the examples, read again from the data source, which must be unchanged; "
        "--data-dir and the flags below it say where, if it is not the preset's",
    ),
]
ROW_FIELDS = frozenset({"data_dir", "data_file", "option", "plugin"})
"""Fields of Spec that say where the rows of a run come from, for commands that read them again."""
To = Annotated[
    Path | None,
    typer.Option("--to", parser=read_path, metavar="FOLDER", help="output folder of the report; default: RUN/report"),
]


@add_flags(REPORT_FIELDS | DECLARED_FIELDS | ROW_FIELDS)
def report(out: Folder, to: To = None, with_text: WithText = False, **values: Any) -> None:
    """Write the report of a stored run or study again.

    Trains nothing. The report of a study includes its verdict.

    Example: python -m harness report results/runs/glue-quick-1a2b3c4d --formats md,html,latex --figures pdf
    """
    from results.report import rewrite_report as write
    from studies import runner

    flags = collect_flags(values)
    if is_import(out):
        report_import(out, to, flags | ({"with_text": True} if with_text else {}))
        return
    spec = make_spec(flags)
    if _is_study(out):
        if with_text:
            raise UserError(f"--with-text: {out} is a study; allowed: the folder of a run")
        path, lines = runner.rewrite_study_report(out, spec, to)
    else:
        path, lines = write(out, spec, to, with_text=with_text)
    print_skipped(lines)
    print_lines([f"report: {path}"])


def print_skipped(lines: Sequence[str]) -> None:
    """Print one line per skipped file to stderr; the first lines only, if there are many."""
    print_lines(truncate_lines(lines), sys.stderr)


def _is_study(out: Path) -> bool:
    """Whether a folder holds a study. If its study.json is damaged, says so and treats it as a plain run."""
    from studies import stored

    if not (out / stored.FILE).is_file():
        return False
    try:
        stored.read_content(out)
    except UserError as error:
        # the records are intact, so a report without a verdict is better than none
        if not (out / "run.json").is_file():
            raise
        print_lines([f"{error}; this is the report of a plain run"], sys.stderr)
        return False
    return True


def show(
    key: Annotated[str, typer.Argument(help="key of a cell, or its first characters")],
    out: Annotated[
        Path | None,
        typer.Argument(parser=read_path, metavar="RUN", help="folder of a run; default: all runs under results/runs"),
    ] = None,
    as_json: Json = False,
) -> None:
    """Print the stored record of one cell.

    Shows method, scores, seeds, pack, environment and files.

    Example: python -m harness show 0347bf69 results/runs/glue-quick-1a2b3c4d
    """
    from harness.cli.show import find_record, format_record

    if out is not None and is_import(out):
        show_imported(key, out, as_json)
        return
    folder, record = find_record(key, out)
    # json.dumps escapes everything outside ASCII, DEL and C1 control characters included, so the line is safe to print
    if as_json:
        print_lines([json.dumps(json.loads(record.model_dump_json()))])
    else:
        print_wrapped(format_record(folder, record))


def compare(
    a: Annotated[Path, typer.Argument(parser=read_path, metavar="A", help="folder of the run before the change")],
    b: Annotated[Path, typer.Argument(parser=read_path, metavar="B", help="folder of the run after the change")],
    fail_if_worse: Annotated[
        float | None,
        typer.Option(
            metavar="NUMBER",
            help="exit code 1 if a score of B is lower than A's by more than this many points (0 to 100) and by more "
            "than seed noise, or if B lacks a score of A; with one pair of seeds, noise is not considered; "
            "default: off",
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Compare two runs; tell score changes from seed noise.

    Exit code 1 if no score of A has a counterpart in B, or if --fail-if-worse finds a lower score.

    Example: python -m harness compare results/runs/before results/runs/after --fail-if-worse 0.5
    """
    from reports.changes import check_same_question, compare_runs

    if fail_if_worse is not None and not 0 <= fail_if_worse < float("inf"):
        raise UserError(f"--fail-if-worse {fail_if_worse}: allowed: points, 0 or more")
    if is_import(a) or is_import(b):
        compare_imported(a, b, fail_if_worse, as_json)
        return
    with pause_collection():
        (before, skipped_of_a), (after, _) = _read_scored_run(a), _read_scored_run(b)
        comparison = compare_runs(before, after)
        if fail_if_worse is not None and comparison.has_pairs:
            check_same_question(before, after)
        read_count = len(before)
        # dropped before the collector is on again, which would visit all of them
        del before, after
    if fail_if_worse is not None and not comparison.has_pairs:
        raise UserError(f"{a} and {b} have no cell in common, so --fail-if-worse has nothing to compare")
    if as_json:
        print_lines([json.dumps(comparison.as_dict(fail_if_worse))])
    else:
        print_wrapped(comparison.lines(str(a), str(b), fail_if_worse))
    # a cell that cannot be read may be the one that got worse: the check must not pass without it
    unread_count = len(Store(a).read_run()["order"]) - read_count if skipped_of_a else 0
    if fail_if_worse is not None and unread_count:
        print_lines(
            [f"--fail-if-worse: {unread_count} cells of {a} were not compared: their files were skipped"], sys.stderr
        )
        raise typer.Exit(1)
    if not comparison.has_scores:
        print_lines([f"nothing was compared: no score in {a} has a counterpart in {b}"], sys.stderr)
        raise typer.Exit(1)
    raise typer.Exit(
        1 if fail_if_worse is not None and (comparison.lost or comparison.find_worse(fail_if_worse)) else 0
    )


def _read_scored_run(run: Path) -> tuple[Sequence[Record], Sequence[str]]:
    """The records of a run, and lines about skipped files, which are printed too. Raises UserError without records."""
    from harness.runner.run import build_no_records_error, load_run

    records, _, skipped = load_run(run)
    print_skipped(skipped)
    if not records:
        raise build_no_records_error(run, skipped)
    return records, skipped


def watch(
    out: Annotated[Path, typer.Argument(parser=read_path, metavar="RUN", help="folder of a run")],
    once: Annotated[bool, typer.Option("--once", help="Print one plain table and exit.")] = False,
    seconds: Annotated[float, typer.Option(metavar="NUMBER", help="seconds between updates, 0.2 to 3600")] = 2.0,
) -> None:
    """Show the progress of a run.

    Reads the run's folder only. Ends when every cell has a record.

    Example: python -m harness watch results/runs/glue-quick-1a2b3c4d
    """
    from harness.cli.watch import RunWatcher, follow
    from reports.compare import read_headline_scores
    from reports.frames import build_method_names

    # not typer's min and max, which let nan pass
    if not 0.2 <= seconds <= 3600:
        raise UserError(f"--seconds {seconds}: allowed: 0.2 to 3600")
    watcher = RunWatcher(out, build_method_names, read_headline_scores)
    if once or not sys.stdout.isatty():
        print_lines(watcher.look().lines())
    else:
        follow(watcher, seconds)


def merge(
    adapter: Annotated[
        Path,
        typer.Argument(parser=read_path, metavar="ADAPTER", help="folder of a saved adapter: RUN/adapters/KEY"),
    ],
    model: Annotated[
        str,
        typer.Option("--model", metavar="MODEL", help="backbone that the adapter was trained on: a folder or hub id"),
    ],
    out: Annotated[Path, typer.Option(parser=read_path, metavar="FOLDER", help="output folder; it must not exist")],
) -> None:
    """Merge a saved adapter into its backbone.

    The merged model is saved in a folder that transformers can load.

    Example: python -m harness merge RUN/adapters/0123456789abcdef --model BASE --out MERGED
    """
    from harness.models.merge import merge as write

    print_lines([f"model: {write(adapter, model, out)}"])
