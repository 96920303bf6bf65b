"""`export FORMAT`: the scores of a run in formats of other projects."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from harness.cli.flags import Json, read_path
from harness.core.terminal import print_lines
from harness.core.text import count_noun

export = typer.Typer(no_args_is_help=True, rich_markup_mode=None)


@export.callback()
def root() -> None:
    """Write the scores of a run in a format of another project.

    Example: python -m harness export every-eval-ever results/runs/glue-quick-1a2b3c4d --to exported
    """


@export.command("every-eval-ever")
def every_eval_ever(
    out: Annotated[Path, typer.Argument(parser=read_path, metavar="RUN", help="folder of a run")],
    to: Annotated[
        Path,
        typer.Option(
            "--to", parser=read_path, metavar="FOLDER", help="output folder; files are written below its folder data"
        ),
    ],
    organization: Annotated[
        str, typer.Option(metavar="NAME", help="who ran the evaluation, such as the name of an account on the hub")
    ] = "local",
    as_json: Json = False,
) -> None:
    """Write one evaluation log per cell in the schema of Every Eval Ever.

    With the package every-eval-ever installed (Python 3.12 or later), each file is validated by it.

    Example: python -m harness export every-eval-ever results/runs/glue-quick-1a2b3c4d --to exported
    """
    from harness.cli.stored import print_skipped
    from results.every_eval_ever import export_run

    exported = export_run(out, to, organization)
    print_skipped(exported.skipped)
    if as_json:
        answer = {"to": str(to), "files": len(exported.files), "without_score": exported.without_score}
        print_lines([json.dumps(answer | {"validated_by": exported.validated_by})])
        return
    files = count_noun(len(exported.files), "file")
    check = (
        f"validated by {exported.validated_by}" if exported.validated_by else "not validated: every-eval-ever is not "
    )
    check += "" if exported.validated_by else "installed (pip install 'lorasp-harness[export]', Python 3.12 or later)"
    lines = [f"{files} below {to / 'data'}, {check}"]
    if exported.without_score:
        lines.append(f"cells without a score, not exported: {exported.without_score}")
    print_lines(lines)
