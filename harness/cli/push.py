"""The command `push-to-hub`: one saved adapter with its model card."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from harness.cli.flags import Json, read_path
from harness.core.store import Store
from harness.core.terminal import print_lines


def push_to_hub(
    out: Annotated[
        Path, typer.Argument(parser=read_path, metavar="RUN", help="folder of a run that saved its adapters")
    ],
    method: Annotated[
        str, typer.Option("--method", metavar="METHOD", help="method with its options, as the report writes it")
    ],
    task: Annotated[str, typer.Option("--task", metavar="TASK", help="task of the run")],
    repo: Annotated[str, typer.Option(metavar="USER/NAME", help="repository on the hub; it is created if absent")],
    base: Annotated[
        str | None,
        typer.Option(
            metavar="ORGANIZATION/NAME", help="base model on the hub; default: the one that the run was given"
        ),
    ] = None,
    seed: Annotated[
        int | None,
        typer.Option(
            metavar="INTEGER",
            help="seed of the adapter; default: the first one, not the best, which the dev set would choose",
        ),
    ] = None,
    private: Annotated[bool, typer.Option(help="create a private repository")] = False,
    as_json: Json = False,
) -> None:
    """Push one saved adapter to the Hugging Face hub.

    Its model card has the scores of all seeds and the command of the run. A card that was edited by hand is pushed as
    it is.

    Example: python -m harness push-to-hub RUN --method lora --task rte --repo user/name
    """
    from harness.cli.stored import print_skipped
    from harness.runner.push import check_repo, choose_base, select_adapter, stage_adapter, upload
    from harness.runner.run import build_no_records_error, load_run
    from results.model_card import CARD, build_card, group_seeds, is_edited, read_task_type

    check_repo(repo)
    records, _, skipped = load_run(out)
    print_skipped(skipped)
    if not records:
        raise build_no_records_error(out, skipped)
    record = select_adapter(out, records, method, task, seed)
    base_id = choose_base(record, base)
    folder = out / "adapters" / record.key
    card = None
    if not is_edited(folder / CARD):
        command = Store(out).read_run()["command"]
        card = build_card(record, group_seeds(records)[record.key], command, read_task_type(folder), repo, base_id)
    with stage_adapter(out, record, base_id, card) as staged:
        url = upload(staged, repo, private=private, message=f"{record.cell.label} on {task}")
    print_lines([json.dumps({"url": url, "cell": record.key})] if as_json else [f"pushed {record.key}: {url}"])
