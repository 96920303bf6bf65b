"""`store COMMAND`: check, repair, merge and clean the folders of runs."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from harness.cli.flags import Json, read_path
from harness.core.errors import UserError
from harness.core.terminal import print_lines
from harness.core.text import count_noun, format_bytes

store = typer.Typer(no_args_is_help=True, rich_markup_mode=None)
Folders = Annotated[list[Path], typer.Argument(parser=read_path, metavar="RUN...", help="folders of runs")]
MAX_LINES = 50
"""Lines of one list that are shown; --json has all."""


@store.callback()
def root() -> None:
    """Check, repair, merge and clean the folders of runs.

    Example: python -m harness store check results/runs/glue-quick-1a2b3c4d
    """


@store.command()
def check(folders: Folders, as_json: Json = False) -> None:
    """Verify every file of a run, and list what is wrong.

    Reads all records, predictions, adapters and profiles, and writes nothing. Exit code 1 if something is wrong.

    Example: python -m harness store check results/runs/glue-quick-1a2b3c4d
    """
    from harness.runner.store_check import check_folder

    answers = []
    for folder in folders:
        count, problems = check_folder(folder)
        answers.append({"out": str(folder), "records": count, "problems": problems})
        if not as_json:
            summary = "all files are as they were written" if not problems else count_noun(len(problems), "problem")
            print_lines([f"{folder}: {count_noun(count, 'record')}, {summary}"])
            print_lines(shorten_list(problems))
    if as_json:
        print_lines([json.dumps(answers)])
    raise typer.Exit(1 if any(answer["problems"] for answer in answers) else 0)


@store.command()
def repair(folders: Folders, as_json: Json = False) -> None:
    """Move damaged files to set-aside, and write the index anew.

    No result is deleted. The run's command trains the cells whose records were damaged again.

    Example: python -m harness store repair results/runs/glue-quick-1a2b3c4d
    """
    from harness.runner.store_check import repair_folder

    answers = []
    for folder in folders:
        count, moved = repair_folder(folder)
        answers.append({"out": str(folder), "records": count, "moved": moved})
        if not as_json:
            print_lines([f"{folder}: {count_noun(count, 'record')}, {count_noun(len(moved), 'file')} set aside"])
            print_lines(shorten_list(moved))
    if as_json:
        print_lines([json.dumps(answers)])


@store.command()
def merge(
    folders: Annotated[
        list[Path],
        typer.Argument(parser=read_path, metavar="SOURCE... INTO", help="folders of runs; the last gets all"),
    ],
    keep_both: Annotated[
        bool,
        typer.Option(
            "--keep-both",
            help="where a cell has different scores, take those of the first folder and keep the others in conflicts/; "
            "default: merge nothing",
        ),
    ] = False,
    as_json: Json = False,
) -> None:
    """Copy the cells of several runs into one folder.

    Of a cell in several folders a finished record beats a failed one, and that a cancelled one; records with equal
    scores count as one. The sources are not changed.

    Example: python -m harness store merge machine-a machine-b whole
    """
    from harness.runner.store_merge import merge_folders

    if len(folders) < 2:
        raise UserError(f"store merge {folders[0]}: give one source at least, and the folder to merge into")
    *sources, into = folders
    merged = merge_folders(sources, into, keep_both=keep_both)
    print_lines(merged.notes, sys.stderr)
    if as_json:
        answer = {"into": str(into), "copied": merged.copied, "kept": merged.kept, "conflicts": merged.conflicts}
        print_lines([json.dumps(answer)])
        return
    counts = f"{count_noun(merged.copied, 'cell')} copied, {merged.kept:,} there before"
    conflicts = f", {merged.conflicts:,} with other scores in conflicts/" if merged.conflicts else ""
    print_lines([f"{into}: {counts}{conflicts}"])


@store.command()
def gc(
    folders: Folders,
    yes: Annotated[bool, typer.Option("--yes", help="delete; without it the files are listed only")] = False,
    as_json: Json = False,
) -> None:
    """List, or delete, what no record of a run needs.

    These are leftovers of killed processes, checkpoints of finished packs, predictions and adapters without a record,
    and parts of the index that are out of date.

    Example: python -m harness store gc results/runs/glue-quick-1a2b3c4d --yes
    """
    from harness.runner.store_check import delete_unneeded, list_unneeded

    answers = []
    for folder in folders:
        if yes:
            found, size = delete_unneeded(folder)
        else:
            found = list_unneeded(folder)
            size = sum(one.size for one in found)
        files = [f"{one.path}: {one.why}" for one in found]
        answers.append({"out": str(folder), "files": files, "bytes": size, "deleted": yes})
        if not as_json:
            end = "deleted" if yes else "would be deleted; --yes deletes them"
            print_lines([f"{folder}: {count_noun(len(found), 'file')}, {format_bytes(size)} {end}"])
            print_lines(shorten_list(files))
    if as_json:
        print_lines([json.dumps(answers)])


def shorten_list(lines: Sequence[str]) -> list[str]:
    """The first lines, indented, and how many more there are."""
    hidden = len(lines) - MAX_LINES
    return [*(f"  {line}" for line in lines[:MAX_LINES]), *([f"  and {hidden:,} more"] if hidden > 0 else [])]
