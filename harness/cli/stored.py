"""report, show, compare, watch, merge: what is done with stored runs."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from harness.cli.flags import Json
from harness.core.errors import UserError
from harness.core.spec import make_spec
from harness.core.store import Store, truncate_lines
from harness.core.terminal import print_lines


def report(out: Path, to: Path | None, flags: dict[str, Any]) -> None:
    """Write the report again from a run's folder; that of a study has its verdict.

    Example: python -m harness report results/runs/glue-quick-1a2b3c4d --formats md,html,latex --figures pdf
    """
    from results.report import rewrite_report as write
    from studies import runner

    if _is_study(out):
        path, lines = runner.rewrite_study_report(out, make_spec(flags), to)
    else:
        path, lines = write(out, make_spec(flags), to)
    print_skipped(lines)
    print_lines([f"report: {path}"])


def print_skipped(lines: Sequence[str]) -> None:
    """Files that were not used, on stderr."""
    print_lines(truncate_lines(lines), sys.stderr)


def _is_study(out: Path) -> bool:
    """Whether a folder holds a study; one whose study.json is damaged is reported as a plain run, with a line."""
    from studies import stored

    if not (out / stored.FILE).is_file():
        return False
    try:
        stored.read_content(out)
    except UserError as error:
        if not (out / "run.json").is_file():
            raise
        print_lines([f"{error}; this is the report of a plain run"], sys.stderr)
        return False
    return True


def show(
    key: Annotated[str, typer.Argument(help="a cell's key, or its first characters")],
    out: Annotated[
        Path | None, typer.Argument(metavar="RUN", help="the folder of a run; none: all under results/runs")
    ] = None,
    as_json: Json = False,
) -> None:
    """Print all that is stored of one cell: what it was, scores, seeds, pack, environment, files.

    Example: python -m harness show 0347bf69 results/runs/glue-quick-1a2b3c4d
    """
    from harness.cli.show import find_record, format_record

    folder, record = find_record(key, out)
    # json.dumps escapes all that is not ASCII, DEL and C1 controls included
    print_lines([json.dumps(json.loads(record.model_dump_json()))] if as_json else format_record(folder, record))


def compare(
    a: Annotated[Path, typer.Argument(help="the folder of a run")],
    b: Annotated[Path, typer.Argument(help="the folder of the run to hold against it")],
    fail_if_worse: Annotated[
        float | None,
        typer.Option(
            help="exit code 1 where B is below A by more points than this, beyond seed noise (or in the only pair), "
            "or has no score"
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Say what changed between two runs, and which score differences lie within seed noise.

    Exit code 1 where no score of A has a partner in B.

    Example: python -m harness compare results/runs/before results/runs/after --fail-if-worse 0.5
    """
    from harness.runner.run import build_no_records_error, load_run
    from reports.changes import check_same_question, compare_runs

    if fail_if_worse is not None and not 0 <= fail_if_worse < float("inf"):
        raise UserError(f"--fail-if-worse {fail_if_worse}: allowed: points, 0 or more")
    (before, _, skipped_of_a), (after, _, skipped_of_b) = load_run(a), load_run(b)
    for run, records, skipped in ((a, before, skipped_of_a), (b, after, skipped_of_b)):
        print_skipped(skipped)
        if not records:
            raise build_no_records_error(run, skipped)
    comparison = compare_runs(before, after)
    if fail_if_worse is not None and comparison.has_pairs:
        check_same_question(before, after)
    if fail_if_worse is not None and not comparison.has_pairs:
        raise UserError(f"{a} and {b} have no cell in common, so --fail-if-worse would judge nothing")
    print_lines(
        [json.dumps(comparison.as_dict(fail_if_worse))] if as_json else comparison.lines(str(a), str(b), fail_if_worse)
    )
    unread_count = len(Store(a).read_run()["order"]) - len(before) if skipped_of_a else 0
    if fail_if_worse is not None and unread_count:
        print_lines(
            [f"--fail-if-worse: {unread_count} cells of {a} were not judged, as files were skipped"], sys.stderr
        )
        raise typer.Exit(1)
    if not comparison.has_scores:
        print_lines([f"nothing was compared: no score in {a} has a partner in {b}"], sys.stderr)
        raise typer.Exit(1)
    raise typer.Exit(
        1 if fail_if_worse is not None and (comparison.lost or comparison.find_worse(fail_if_worse)) else 0
    )


def watch(
    out: Annotated[Path, typer.Argument(metavar="RUN", help="the folder of a run")],
    once: Annotated[bool, typer.Option("--once", help="Print one plain table and end.")] = False,
    seconds: Annotated[float, typer.Option(help="seconds between two looks, 0.2 to 3600")] = 2.0,
) -> None:
    """Show how far a running grid is, from its folder; ends when each cell has its record.

    Example: python -m harness watch results/runs/glue-quick-1a2b3c4d
    """
    from harness.cli.watch import RunWatcher, follow
    from reports.frames import build_method_names

    if not 0.2 <= seconds <= 3600:  # typer's own bounds let nan pass
        raise UserError(f"--seconds {seconds}: allowed: 0.2 to 3600")
    if once or not sys.stdout.isatty():
        print_lines(RunWatcher(out, build_method_names).look().lines())
    else:
        follow(RunWatcher(out, build_method_names), seconds)


def merge(
    adapter: Annotated[Path, typer.Argument(help="a saved adapter: RUN/adapters/KEY")],
    model: Annotated[str, typer.Option(help="the model it was trained on: a folder or hub id")],
    out: Annotated[Path, typer.Option(help="a new folder")],
) -> None:
    """Merge a saved adapter into its model: one plain folder for transformers.

    Example: python -m harness merge RUN/adapters/0123456789abcdef --model BASE --out MERGED
    """
    from harness.models.merge import merge as write

    print_lines([f"model: {write(adapter, model, out)}"])
