"""The command `run`, and the listener that shows the progress of a command."""

from __future__ import annotations

import contextlib
import json
import shlex
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import typer

from harness.cli.flags import Json, SpecFile, add_flags, collect_flags
from harness.cli.progress import PhaseDisplay, ProgressListener, format_clock
from harness.core.spec import Spec
from harness.core.spec_reading import make_spec
from harness.core.terminal import print_lines
from harness.core.text import count_noun

if TYPE_CHECKING:
    from harness.core.listener import Listener


@add_flags(Spec.model_fields)
def run(spec_file: SpecFile = None, as_json: Json = False, **values: Any) -> None:
    """Train missing cells, profile methods and write the report.

    Cells that are stored already do not train again, so the same command resumes an interrupted run. Exit code 1 if a
    cell failed, or if a tracker of --log did not get all cells; 0 if a budget (--max-hours, --max-cells, --max-cost)
    left cells to the next command. With --seeds auto one line per look says what is decided, and which comparisons get
    more seeds.

    Example: python -m harness run --suite glue --methods lora,lorasp:ratio=0.25 --seeds 5
    """
    from harness.runner.budget import BudgetReached
    from results.job import run_spec

    spec = make_spec(collect_flags(values), spec_file)
    command = f"python -m harness {shlex.join(sys.argv[1:])}"
    try:
        with show_phases(as_json) as phases:
            outcome = run_spec(spec, command, phases.listen, phases.show_report)
    except BudgetReached as reached:
        answer = {"out": str(spec.folder), "cells": 0, "remaining": str(reached)}
        print_lines([json.dumps(answer) if as_json else str(reached)])
        raise typer.Exit(0) from reached
    if as_json:
        answer = {
            "out": str(outcome.out),
            "cells": len(outcome.records),
            "ok": len(outcome.records) - outcome.failed,
            "failed": outcome.failed,
            "seconds": round(outcome.seconds, 2),
            "report": str(outcome.report),
            "remaining": outcome.remaining,
        }
        if outcome.looks:
            last_look = outcome.looks[-1].model_dump(mode="json")
            answer |= {"looks": len(outcome.looks), "stopped": outcome.stopped, "decisions": last_look["comparisons"]}
        print_lines([json.dumps(answer)])
    else:
        from reports.terminal import print_end

        print_end(outcome.analysis, outcome.profiles)
        cells = count_noun(len(outcome.records), "cell")
        counts = f"{cells} in {format_clock(outcome.seconds)}, {outcome.failed} failed"
        print_lines([counts, *filter(None, [outcome.remaining]), f"report: {outcome.report}"])
    print_lines(outcome.notes, sys.stderr)
    raise typer.Exit(1 if outcome.failed or outcome.notes else 0)


class Phases:
    """What a command shows on stderr while it plans, trains and writes its report."""

    def __init__(self, as_json: bool) -> None:
        self.as_json, self.line = as_json, PhaseDisplay(sys.stderr)

    def listen(self, total: int) -> Listener:
        """The listener for the cells of one grid."""
        self.line.close()
        return make_listener(self.as_json, total)

    def show(self, what: str) -> None:
        """Show what happens outside of training."""
        if not self.as_json:
            self.line.show(what)

    def show_report(self) -> None:
        """Training is over."""
        self.show("writing the report")


@contextlib.contextmanager
def show_phases(as_json: bool) -> Iterator[Phases]:
    """The phases of a command, which starts with planning; nothing is left on the terminal at the end."""
    phases = Phases(as_json)
    # a display that is not closed leaves the terminal without its cursor
    try:
        phases.show("planning: reading data and checking the methods")
        yield phases
    finally:
        phases.line.close()


def make_listener(as_json: bool, total: int) -> Listener:
    """A progress bar on a terminal, plain lines elsewhere, notes only with --json; all on stderr."""
    from harness.core.listener import PlainListener, SilentListener

    if as_json:
        return SilentListener(sys.stderr)
    return ProgressListener(sys.stderr, total) if sys.stderr.isatty() else PlainListener(sys.stderr, total)
