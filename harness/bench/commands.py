"""The verbs of `bench`: one a file beside this one."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from harness.flags import with_flags
from harness.spec import SHOWN, Spec

bench = typer.Typer(no_args_is_help=True, rich_markup_mode=None)

Model = Annotated[str | None, typer.Option(help="a model folder or hub id; none: the embedded encoder")]
Methods = Annotated[str, typer.Option(help="methods with options, as for run")]
Device = Annotated[str, typer.Option(help="auto, cpu or cuda")]
Threads = Annotated[int | None, typer.Option(min=1, help="CPU threads; none: all cores")]
Out = Annotated[Path | None, typer.Option(help="a JSON file for the figures with all samples")]


@bench.callback()
def root() -> None:
    """Measure what a choice of the harness costs.

    Example: python -m harness bench recompute
    """


@bench.command()
def recompute(
    model: Model = None,
    methods: Methods = "lora,lorasp",
    batch_size: Annotated[int, typer.Option(min=1, help="rows per step")] = 16,
    length: Annotated[int, typer.Option(min=4, help="tokens per row")] = 64,
    dtype: Annotated[str, typer.Option(help="precision of the frozen backbone: fp32 or bf16")] = "fp32",
    repeats: Annotated[int, typer.Option(min=2, help="timed steps of each")] = 20,
    device: Device = "auto",
    threads: Threads = None,
    out: Out = None,
) -> None:
    """Bytes kept for the backward pass, and time of a step, with and without recomputation.

    Example: python -m harness bench recompute --model PATH --batch-size 8 --length 128 --out recompute.json
    """
    from harness.bench.recompute import measure
    from harness.registry import load_all
    from harness.spec import make_spec

    load_all()
    flags = {"methods": methods, "batch_size": batch_size, "max_length": length, "dtype": dtype, "device": device}
    spec = make_spec(flags | {"threads": threads, "model": (model,) if model else ()})
    measure(spec, repeats).show(out)


def grid(rivals: int, at_once: str, steps: int, out: Path | None, flags: dict[str, Any]) -> None:
    """A grid as one batch against peft and transformers.Trainer: the same cells, rows, budget and scores.

    Example: python -m harness bench grid --tasks sst2 --methods lora,lorasp --seeds 8 --rivals 2 --at-once 2 --steps 50
    """
    from harness.bench.grid import measure
    from harness.registry import load_all
    from harness.spec import make_spec

    load_all()
    several = [int(n) for n in at_once.split(",") if n]
    measure(make_spec({"tasks": ("sst2",)} | flags), rivals, several, steps).show(out)


NOT_OF_A_BENCH = {"out", "profile", "retry", "margin", "save_adapters", "init_from"} | SHOWN
GRID = {
    "rivals": (Annotated[int, typer.Option(min=1, help="cells of peft and Trainer, one by one")], 2),
    "at_once": (Annotated[str, typer.Option(help="numbers of Trainer processes at once: 2,4,8; empty: none")], ""),
    "steps": (Annotated[int, typer.Option(min=5, help="steps of each process at once")], 100),
    "out": (Out, None),
}
bench.command("grid")(with_flags(grid, Spec.model_fields.keys() - NOT_OF_A_BENCH, GRID))
