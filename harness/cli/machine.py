"""The commands `doctor` (checks of this machine) and `schema` (format of the stored files)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from harness.cli.flags import read_path
from harness.core.spec import Spec
from harness.core.terminal import print_lines


def doctor(
    data_dir: Annotated[
        Path | None,
        typer.Option(parser=read_path, metavar="FOLDER", help="folder of official data files to check; default: none"),
    ] = None,
) -> None:
    """Check packages, devices, models and data.

    Each line is ok or says what to do. Exit code 1 if a required check fails.

    Example: python -m harness doctor --data-dir ~/data
    """
    from harness.cli.doctor import run_checks

    results = run_checks(data_dir)
    for check in results:
        remedy = "" if check.ok else f"; {check.remedy}"
        print_lines([f"{'ok  ' if check.ok else 'todo'} {check.name}: {check.detail}{remedy}"])
    raise typer.Exit(1 if any(c.needed and not c.ok for c in results) else 0)


def schema(what: Annotated[str, typer.Argument(help="record, profile or spec")] = "record") -> None:
    """Print the JSON Schema of a stored file.

    record: the result of a cell; profile: memory and speed of a method; spec: the settings of a run.

    Example: python -m harness schema record
    """
    from harness.core.errors import build_unknown_error
    from harness.core.profile import Profile
    from harness.core.record import Record

    kinds: dict[str, Any] = {"record": Record, "profile": Profile, "spec": Spec}
    if what not in kinds:
        raise build_unknown_error("schema", what, kinds)
    print_lines(json.dumps(kinds[what].model_json_schema(), indent=1).split("\n"))
