"""doctor, schema: what is here, and what the files look like."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from harness.core.spec import Spec
from harness.core.terminal import print_lines


def doctor(data_dir: Annotated[Path | None, typer.Option(help="a folder of official data to look at")] = None) -> None:
    """Say what is installed and found here; each line is ok or what to do.

    Example: python -m harness doctor --data-dir ~/data
    """
    from harness.cli.doctor import run_checks

    results = run_checks(data_dir)
    print_lines(
        f"{'ok  ' if check.ok else 'todo'} {check.name}: {check.detail}{'' if check.ok else f'; {check.remedy}'}"
        for check in results
    )
    raise typer.Exit(1 if any(c.needed and not c.ok for c in results) else 0)


def schema(what: Annotated[str, typer.Argument(help="record, profile or spec")] = "record") -> None:
    """Print the JSON Schema of the stored files.

    Example: python -m harness schema record
    """
    from harness.core.errors import build_unknown_error
    from harness.core.record import Profile, Record

    kinds: dict[str, Any] = {"record": Record, "profile": Profile, "spec": Spec}
    if what not in kinds:
        raise build_unknown_error("schema", what, kinds)
    print_lines(json.dumps(kinds[what].model_json_schema(), indent=1).split("\n"))
