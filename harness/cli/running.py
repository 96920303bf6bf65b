"""The command `run`, and the listener that shows the progress of a command."""

from __future__ import annotations

import json
import shlex
import sys
from typing import TYPE_CHECKING, Any

import typer

from harness.cli.flags import Json, SpecFile, add_flags, collect_flags
from harness.core.spec import Spec, make_spec
from harness.core.terminal import print_lines

if TYPE_CHECKING:
    from harness.core.listener import Listener


@add_flags(Spec.model_fields)
def run(spec_file: SpecFile = None, as_json: Json = False, **values: Any) -> None:
    """Train missing cells, profile methods and write the report.

    Cells that are stored already do not train again, so the same command resumes an interrupted run. Exit code 1 if a
    cell failed, or if a tracker of --log did not get all cells.

    Example: python -m harness run --suite glue --methods lora,lorasp:ratio=0.25 --seeds 5
    """
    from results.job import run_spec

    spec = make_spec(collect_flags(values), spec_file)
    outcome = run_spec(
        spec, f"python -m harness {shlex.join(sys.argv[1:])}", lambda total: make_listener(as_json, total)
    )
    if as_json:
        answer = {
            "out": str(outcome.out),
            "cells": len(outcome.records),
            "ok": len(outcome.records) - outcome.failed,
            "failed": outcome.failed,
            "seconds": round(outcome.seconds, 2),
            "report": str(outcome.report),
        }
        print_lines([json.dumps(answer)])
    else:
        from reports.terminal import print_tables

        print_tables(outcome.records, outcome.profiles)
        counts = f"{len(outcome.records)} cells in {outcome.seconds:.0f} s, {outcome.failed} failed"
        print_lines([counts, f"report: {outcome.report}"])
    print_lines(outcome.notes, sys.stderr)
    raise typer.Exit(1 if outcome.failed or outcome.notes else 0)


def make_listener(as_json: bool, total: int) -> Listener:
    """A progress bar on a terminal, plain lines elsewhere, notes only with --json; all on stderr."""
    from harness.cli.progress import ProgressListener
    from harness.core.listener import PlainListener, SilentListener

    if as_json:
        return SilentListener(sys.stderr)
    return ProgressListener(sys.stderr, total) if sys.stderr.isatty() else PlainListener(sys.stderr, total)
