"""The commands `studies` (list) and `study` (run one): a study is a question, its grid of cells and its verdict."""

from __future__ import annotations

import json
import shlex
import sys
import textwrap
from pathlib import Path
from typing import Annotated, Any

import typer

from harness.cli.flags import Json, add_flags, collect_flags
from harness.cli.progress import format_clock
from harness.cli.running import show_phases
from harness.core.errors import UserError
from harness.core.terminal import limit_rows, print_lines, print_styled, print_table, print_wrapped
from harness.core.text import count_noun

FLAGS = frozenset(
    "preset protocol model data_dir data_file seeds lr epochs max_steps batch_size max_length train_rows eval_rows"
    " dtype device devices pack threads out margin retry formats figures plugin sharpness".split()
)
"""Fields of Spec that the user may override in a study. Others (methods, tasks) are part of its question."""
COLOURS = {"confirmed": "green", "contradicted": "red", "undecided": "yellow"}
"""Verdict of a study -> its colour."""
LONGEST_CELL = 160
"""Characters of a cell of the evidence on a terminal."""
Name = Annotated[str, typer.Argument(help="name of a study (`studies` lists them), or a TOML file of the same form")]
Runs = Annotated[
    list[str] | None,
    typer.Option(
        help="study `claims`: comma-separated folders of runs and studies to collect, by default those under results;"
        " studies `surface` and `halves`: a folder with surface.parquet to judge; others that compare methods: that of"
        " a stored run; nothing is trained"
    ),
]


def studies(as_json: Json = False) -> None:
    """List the studies and the claims of the paper that they test.

    Example: python -m harness studies
    """
    from studies.study import list_studies, load_study

    all_studies = [load_study(name) for name in list_studies()]
    if as_json:
        print_lines([json.dumps([study.model_dump(mode="json") for study in all_studies])])
        return
    rows = [("study", "tests", "question"), *((s.name, s.origin, s.question) for s in all_studies)]
    print_table(rows, {0, 1, 2}, drop=("tests",))
    print_wrapped(["run one: python -m harness study NAME (synthetic stand-in data unless --preset small or paper)"])


def shorten_cell(cell: str) -> str:
    """A cell of the evidence as one sentence at most: the report has the whole."""
    if len(cell) <= LONGEST_CELL:
        return cell
    return textwrap.shorten(cell, LONGEST_CELL, placeholder=" …")


@add_flags(FLAGS)
def study(name: Name, as_json: Json = False, runs: Runs = None, **values: Any) -> None:
    """Run a study and write the report with its verdict.

    Cells that are stored already do not train again. Exit code 1 if a cell failed.

    Example: python -m harness study parity --preset small --data-dir DATA
    """
    from reports.document import Table
    from studies.page import LATE_MARGIN_NOTE
    from studies.runner import run_study
    from studies.study import load_study

    chosen = load_study(name)
    command = f"python -m harness {shlex.join(sys.argv[1:])}"
    folders = [Path(word) for text in runs or () for word in text.split(",") if word]
    if runs and not folders:
        raise UserError("--runs names no folder; give --runs DIR,DIR, or leave it out for those under results")
    with show_phases(as_json) as phases:
        outcome = run_study(chosen, collect_flags(values), command, phases.listen, folders, phases.show_report)
    if as_json:
        answer = {
            "study": chosen.name,
            "out": str(outcome.out),
            "verdict": outcome.answer.kind,
            "sentence": outcome.answer.sentence,
            "stand_in": outcome.stand_in,
            "margin_late": outcome.late,
            "cells": outcome.cells,
            "failed": outcome.failed,
            "seconds": round(outcome.seconds, 2),
            "report": str(outcome.report),
        }
        print_lines([json.dumps(answer)])
    else:
        print_wrapped([*([chosen.stand_in] if outcome.stand_in else []), f"question: {chosen.question}"])
        # a margin chosen after the results are known weakens the verdict, so the note stands beside it
        late = [LATE_MARGIN_NOTE] if outcome.late and chosen.margin is not None else []
        kind, rows = outcome.answer.kind, outcome.answer.rows
        print_styled(f"verdict: {kind}. {outcome.answer.sentence}", f"bold {COLOURS[kind]}")
        print_wrapped(late)
        if rows:
            table = Table.of("evidence", rows)
            shown, caption = limit_rows([table.head, *table.rows], "the report")
            shortened = [shown[0], *([shorten_cell(cell) for cell in row] for row in shown[1:])]
            print_table(shortened, set(range(len(table.head))), table.title, caption)
        counts = f"{count_noun(outcome.cells, 'cell')} in {format_clock(outcome.seconds)}, {outcome.failed} failed"
        print_lines([counts, f"report: {outcome.report}"])
    raise typer.Exit(1 if outcome.failed else 0)
