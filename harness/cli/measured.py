"""The commands `plan` (memory and time estimated before a run) and `profile` (memory and speed in isolation)."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer

from harness.cli.flags import Json, SpecFile, add_flags, collect_flags
from harness.cli.running import make_listener, show_phases
from harness.core.spec import Spec
from harness.core.spec_reading import make_spec
from harness.core.terminal import print_lines

Memory = Annotated[
    str | None,
    typer.Option(metavar="SIZE", help="plan for a device with this much memory, e.g. 24GiB; default: free memory"),
]
Detail = Annotated[bool, typer.Option("--detail", help="also list the packs with their memory by category")]
Repeats = Annotated[int, typer.Option(min=1, max=10_000, help="blocks of 20 timed steps")]


@add_flags(Spec.model_fields)
def plan(
    spec_file: SpecFile = None, as_json: Json = False, memory: Memory = None, detail: Detail = False, **values: Any
) -> None:
    """Estimate memory and time before a run.

    Shows for each method whether it fits in memory, and what would make it fit. Trains nothing. Exit code 1 if a method
    does not fit.

    Example: python -m harness plan --model shape:llama-7b --methods lora,full --device cuda --memory 24GiB
    """
    from harness.cli.forecast_text import print_forecast
    from harness.core.registry import load_all
    from harness.runner.forecast import forecast_run

    spec = make_spec(collect_flags(values), spec_file)
    load_all(spec.plugin)
    with show_phases(as_json):
        result = forecast_run(spec, memory)
    if as_json:
        print_lines([json.dumps(result)])
    else:
        print_forecast(result, detail=detail)
    raise typer.Exit(1 if result["too_large"] else 0)


@add_flags(Spec.model_fields)
def profile(spec_file: SpecFile = None, as_json: Json = False, repeats: Repeats = 3, **values: Any) -> None:
    """Profile memory and speed of each method in isolation.

    More detailed than the profiles of `run`: memory by category and phase, spread over blocks, FLOP/s, energy. The
    profiles are stored for the report of the same run. Exit code 1 if a profile failed.

    Example: python -m harness profile --model shape:roberta-base --methods lora,lorasp --batch-size 16
    """
    from harness.cli.profile_text import print_profiles
    from harness.core.registry import load_all
    from harness.runner.profiles import profile_methods as take

    spec = make_spec(collect_flags(values), spec_file)
    load_all(spec.plugin)
    progress = make_listener(as_json, 0)
    # a live display that is not closed leaves the terminal without its cursor
    try:
        profiles = take(spec, repeats, progress)
    finally:
        progress.close()
    if as_json:
        print_lines([json.dumps([p.model_dump(mode="json") for p in profiles])])
    else:
        print_profiles(profiles)
    raise typer.Exit(0 if profiles and all(p.status == "ok" for p in profiles) else 1)
