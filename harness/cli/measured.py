"""plan: memory and time before a run; profile: memory and speed measured alone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from harness.cli.running import make_listener
from harness.core.spec import make_spec
from harness.core.terminal import print_lines

MEMORY = {
    "memory": (
        Annotated[str | None, typer.Option(help="plan for a device of so much: 24GiB; none: what is free")],
        None,
    )
}
REPEATS = {"repeats": (Annotated[int, typer.Option(min=1, max=10_000, help="blocks of 20 timed steps")], 3)}


def plan(spec_file: Path | None, as_json: bool, memory: str | None, flags: dict[str, Any]) -> None:
    """Say what a run would come to, without running it: packs, memory, time, and what will not fit (exit code 1).

    Example: python -m harness plan --model shape:llama-7b --methods lora,full --device cuda --memory 24GiB
    """
    from harness.cli.forecast_text import format_forecast
    from harness.core.registry import load_all
    from harness.runner.forecast import forecast_run

    spec = make_spec(flags, spec_file)
    load_all(spec.plugin)
    result = forecast_run(spec, memory)
    print_lines([json.dumps(result)] if as_json else format_forecast(result).split("\n"))
    raise typer.Exit(1 if result["too_large"] else 0)


def profile(spec_file: Path | None, as_json: bool, repeats: int, flags: dict[str, Any]) -> None:
    """Measure memory and speed of each method alone, in detail, and store it for the report of the same run.

    Example: python -m harness profile --model shape:roberta-base --methods lora,lorasp --batch-size 16
    """
    from harness.cli.profile_text import format_profiles
    from harness.core.registry import load_all
    from harness.runner.profiles import profile_methods as take

    spec = make_spec(flags, spec_file)
    load_all(spec.plugin)
    progress = make_listener(as_json, 0)
    try:
        profiles = take(spec, repeats, progress)
    finally:
        progress.close()
    answer = (
        [json.dumps([p.model_dump(mode="json") for p in profiles])]
        if as_json
        else format_profiles(profiles).split("\n")
    )
    print_lines(answer)
    raise typer.Exit(0 if profiles and all(p.status == "ok" for p in profiles) else 1)
