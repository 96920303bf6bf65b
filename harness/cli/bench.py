"""`bench NAME`: the benchmark commands. The measurements themselves are in harness/bench, one file per command."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Annotated, Any

import typer

from harness.bench.silence import silence_warnings
from harness.bench.table import Bench
from harness.cli.flags import add_flags, collect_flags, read_path
from harness.cli.panels import PanelCommand
from harness.core.errors import UserError, shorten
from harness.core.spec import DECLARED_FIELDS, REPORT_FIELDS, Spec

bench = typer.Typer(no_args_is_help=True, rich_markup_mode=None)

Model = Annotated[
    str | None, typer.Option("--model", metavar="MODEL", help="model folder or hub id; default: the embedded encoder")
]
Methods = Annotated[
    str, typer.Option(metavar="METHOD[,...]", help="comma-separated methods with options, as for `run`")
]
Device = Annotated[str, typer.Option(metavar="auto|cpu|cuda", help="where to run")]
Threads = Annotated[int | None, typer.Option(min=1, max=1024, help="number of CPU threads; default: all cores")]
Batch = Annotated[int, typer.Option(min=1, help="batch size: rows per step")]
Length = Annotated[int, typer.Option(min=4, help="sequence length: tokens per row")]
Dtype = Annotated[str, typer.Option(metavar="fp32|bf16", help="precision of the frozen backbone")]


PICTURES = ("png", "svg")
"""Formats of the figure that is written beside the JSON file."""


def _check_out(out: Path | None) -> Path | None:
    """The value of --out. Raises UserError if the file cannot be written."""
    # typer calls this while it parses, so a wrong path fails before a benchmark that takes minutes
    if out is not None and (os.path.isdir(out) or not os.access(out.parent, os.W_OK)):
        raise UserError(f"--out {out}: give a file in a folder that exists and can be written")
    if out is not None and out.suffix[1:] in PICTURES:
        raise UserError(
            f"--out {out}: give a name for the JSON, e.g. {out.with_suffix('.json')}; the figure is written beside it"
        )
    return out


Out = Annotated[
    Path | None,
    typer.Option(
        parser=read_path,
        metavar="FILE",
        help="JSON file for the results and all raw samples; a figure (PNG, SVG) is written beside it; default: none",
        callback=_check_out,
    ),
]
Strategies = Annotated[
    str,
    typer.Option(
        metavar="STRATEGY[,...]",
        help="comma-separated selection strategies of lorasp to compare with lora; empty: none",
    ),
]
STRUCTURED = "row,column,rank,a-only,b-only,layer,module"
SIZES = "1,2,4,8,16,32"


@bench.callback()
def root() -> None:
    """Benchmark memory and speed against peft + Trainer.

    Example: python -m harness bench recompute
    """


@bench.command()
def recompute(
    model: Model = None,
    methods: Methods = "lora,lorasp",
    batch_size: Batch = 16,
    length: Length = 64,
    dtype: Dtype = "fp32",
    repeats: Annotated[int, typer.Option(min=2, help="timed steps of each method and mode")] = 20,
    device: Device = "auto",
    threads: Threads = None,
    out: Out = None,
) -> None:
    """Measure what activation checkpointing saves and costs.

    Reports saved activations (bytes) and the time of a step, with and without checkpointing.

    Example: python -m harness bench recompute --model PATH --batch-size 8 --length 128 --out recompute.json
    """
    spec = _build_spec(methods, model, batch_size, length, dtype, device, threads)
    with silence_warnings():
        from harness.bench.recompute import measure

        result = measure(spec, repeats)
    print_bench(result, out)


@bench.command()
def step(
    model: Model = None,
    methods: Methods = "lora,lorasp,dora,adalora,ia3,galore,full",
    strategies: Strategies = STRUCTURED,
    packs: Annotated[
        str,
        typer.Option(
            metavar="INTEGER[,...]",
            help="comma-separated pack sizes, for the first method that can share a pack; empty: none",
        ),
    ] = SIZES,
    batch_size: Batch = 16,
    length: Length = 64,
    dtype: Dtype = "fp32",
    repeats: Annotated[int, typer.Option(min=2, help="rounds; each round times one step of each case")] = 20,
    device: Device = "auto",
    threads: Threads = None,
    out: Out = None,
) -> None:
    """Time training steps against peft + Trainer.

    Covers each method, selection strategy and pack size.

    Example: python -m harness bench step --methods lora,full --packs 1,2,4 --out step.json
    """
    spec = _build_spec(methods, model, batch_size, length, dtype, device, threads)
    with silence_warnings():
        from harness.bench.step import measure

        result = measure(spec, split_words(strategies), parse_numbers("packs", packs), repeats)
    print_bench(result, out)


@bench.command()
def memory(
    model: Model = None,
    strategies: Strategies = STRUCTURED,
    quantizations: Annotated[
        str,
        typer.Option(
            metavar="TYPE[,...]", help="comma-separated quantization types to compare; needs bitsandbytes; empty: none"
        ),
    ] = "int8,nf4",
    batch_size: Batch = 16,
    length: Length = 64,
    dtype: Dtype = "fp32",
    device: Device = "auto",
    threads: Threads = None,
    out: Out = None,
) -> None:
    """Measure peak memory of LoRA-SP, LoRA and full fine-tuning.

    Also measures peft's LoRA, and what each way to save memory contributes. Each peak is taken in a separate process.

    Example: python -m harness bench memory --model PATH --batch-size 32 --length 128 --out memory.json
    """
    spec = _build_spec("lora", model, batch_size, length, dtype, device, threads)
    with silence_warnings():
        from harness.bench.memory import measure

        result = measure(spec, split_words(strategies), split_words(quantizations))
    print_bench(result, out)


@bench.command()
def startup(
    model: Model = None,
    cells: Annotated[int, typer.Option(min=1, help="cells of a grid that share one process of the harness")] = 32,
    repeats: Annotated[int, typer.Option(min=1, help="fresh processes to start for each side")] = 3,
    device: Device = "auto",
    threads: Threads = None,
    out: Out = None,
) -> None:
    """Time imports and the first step in fresh processes.

    Seconds of the harness, and of peft with transformers.Trainer.

    Example: python -m harness bench startup --repeats 5 --out startup.json
    """
    spec = _build_spec("lora", model, 16, 32, "fp32", device, threads)
    from harness.bench.startup import measure

    print_bench(measure(spec, cells, repeats), out)


def _build_spec(
    methods: str, model: str | None, batch: int, length: int, dtype: str, device: str, threads: int | None
) -> Spec:
    """The spec of a benchmark on generated rows. Raises UserError."""
    # imported here: these load every plugin, which `bench --help` does not need
    from harness.core.registry import load_all
    from harness.core.spec_reading import make_spec

    load_all()
    flags = {"methods": methods, "batch_size": batch, "max_length": length, "dtype": dtype, "device": device}
    return make_spec(flags | {"threads": threads, "model": (model,) if model else ()})


def split_words(text: str) -> list[str]:
    return [word for word in text.split(",") if word]


def parse_numbers(flag: str, text: str) -> list[int]:
    """The whole numbers of a comma-separated flag. Raises UserError."""
    if not all(re.fullmatch("[1-9][0-9]{0,5}", word) for word in split_words(text)):
        raise UserError(f"--{flag} {shorten(text)}: allowed: whole numbers of 1 to 999,999 with commas, e.g. 2,4,8")
    return [int(word) for word in split_words(text)]


def print_bench(result: Bench, out: Path | None) -> None:
    """Print the result; with `out`, write the JSON file and the figures beside it. Raises UserError."""
    result.show(out)
    if out is None:
        return
    # imported here: matplotlib is slow to import, and only --out needs it
    from harness.core.files import write_atomically
    from reports.figures import render_image
    from reports.plots.bench import draw_bench as draw

    figure = draw(result.content())
    for kind in PICTURES:
        write_atomically(out.with_suffix(f".{kind}"), render_image(figure, kind))


TUNING = {"tune", "tune_tasks", "tune_seeds"}
# `bench grid` compares training only: it neither tunes nor writes the report, and it stores no cells to resume from
EXCLUDED_FIELDS = (
    frozenset("out log executor devices address slurm profile retry margin save_adapters sharpness init_from".split())
    | TUNING
    | REPORT_FIELDS
    | DECLARED_FIELDS
)


@bench.command("grid", cls=PanelCommand)
@add_flags(Spec.model_fields.keys() - EXCLUDED_FIELDS)
def grid(
    baselines: Annotated[
        int, typer.Option(min=1, help="cells that the baseline (peft + Trainer) trains, one at a time")
    ] = 2,
    baseline: Annotated[
        str,
        typer.Option(
            metavar="best|default[,...]",
            help="settings of the baseline: best (precision and length-bucketed batches as in the harness), "
            "default (those of TrainingArguments), or best,default",
        ),
    ] = "best",
    at_once: Annotated[
        str,
        typer.Option(
            metavar="INTEGER[,...]", help="comma-separated numbers of concurrent baseline processes; empty: none"
        ),
    ] = "",
    steps: Annotated[int, typer.Option(min=5, help="optimizer steps of each concurrent baseline process")] = 100,
    out: Out = None,
    **values: Any,
) -> None:
    """Time a grid in packs against peft + Trainer.

    Both sides train the same cells on the same rows with the same budget and scores.

    Example: python -m harness bench grid --tasks sst2 --methods lora,lorasp --seeds 8 --baselines 2 --at-once 2
    """
    from harness.bench.trainer_baseline import BASELINE_VARIANTS
    from harness.core.registry import load_all
    from harness.core.spec_reading import make_spec

    invalid = [word for word in split_words(baseline) if word not in BASELINE_VARIANTS]
    if invalid or not split_words(baseline):
        raise UserError(f"--baseline {baseline}: allowed: best, default, or best,default")
    spec = make_spec({"tasks": ("sst2",)} | collect_flags(values))
    load_all(spec.plugin)
    ways = [way for way in BASELINE_VARIANTS if way in split_words(baseline)]
    with silence_warnings():
        from harness.bench.grid import measure

        result = measure(spec, baselines, parse_numbers("at-once", at_once), steps, ways)
    print_bench(result, out)
