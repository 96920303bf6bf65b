"""The command `board`: a static site over many runs."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from harness.cli.flags import read_path
from harness.core.store import truncate_lines
from harness.core.terminal import print_lines, print_wrapped
from harness.core.text import count_noun

Runs = Annotated[Path, typer.Argument(parser=read_path, metavar="DIR", help="folder that holds the folders of runs")]
To = Annotated[
    Path | None,
    typer.Option("--to", parser=read_path, metavar="FOLDER", help="output folder of the site; default: DIR/board"),
]


def board(folder: Runs = Path("results/runs"), to: To = None) -> None:
    """Write a site over many runs: list, comparisons, history.

    Opens from disk, without a server. A run that cannot be read is listed as such.

    Example: python -m harness board results/runs --to board
    """
    from harness.core.registry import load_all
    from reports.board.site import write_board

    load_all()
    path, count, damaged = write_board(folder, to)
    print_wrapped(truncate_lines([f"{one.folder}: cannot be read: {one.reason}" for one in damaged]), sys.stderr)
    print_lines([f"board of {count_noun(count, 'run')}: {path}"])
