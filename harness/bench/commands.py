"""The verbs of `bench`: one a file beside this one."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

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
