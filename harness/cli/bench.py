"""The verbs of `bench`: one a file beside this one."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Annotated, Any

import typer

from harness.bench.silence import silence_warnings
from harness.bench.table import Bench
from harness.cli.flags import with_flags
from harness.core.errors import UserError, shorten
from harness.core.spec import REPORT_FIELDS, Spec

bench = typer.Typer(no_args_is_help=True, rich_markup_mode=None)

Model = Annotated[str | None, typer.Option(help="a model folder or hub id; none: the embedded encoder")]
Methods = Annotated[str, typer.Option(help="methods with options, as for run")]
Device = Annotated[str, typer.Option(help="auto, cpu or cuda")]
Threads = Annotated[int | None, typer.Option(min=1, max=1024, help="CPU threads; none: all cores")]
Batch = Annotated[int, typer.Option(min=1, help="rows per step")]
Length = Annotated[int, typer.Option(min=4, help="tokens per row")]
Dtype = Annotated[str, typer.Option(help="precision of the frozen backbone: fp32 or bf16")]


PICTURES = ("png", "svg")


def _check_out(out: Path | None) -> Path | None:
    """Raise UserError for a file that cannot be written, before what takes minutes."""
    if out is not None and (os.path.isdir(out) or not os.access(out.parent, os.W_OK)):
        raise UserError(f"--out {out}: give a file in a folder that exists and can be written")
    if out is not None and out.suffix[1:] in PICTURES:
        raise UserError(
            f"--out {out}: give a name for the JSON, e.g. {out.with_suffix('.json')}; the picture lies beside"
        )
    return out


Out = Annotated[
    Path | None,
    typer.Option(help="a JSON file for the figures with all samples; the picture lies beside it", callback=_check_out),
]
Strategies = Annotated[str, typer.Option(help="of lorasp, against lora: names with commas; empty: none")]
STRUCTURED = "row,column,rank,a-only,b-only,layer,module"
SIZES = "1,2,4,8,16,32"


@bench.callback()
def root() -> None:
    """Measure what the harness saves and costs, against its baselines.

    Example: python -m harness bench recompute
    """


@bench.command()
def recompute(
    model: Model = None,
    methods: Methods = "lora,lorasp",
    batch_size: Batch = 16,
    length: Length = 64,
    dtype: Dtype = "fp32",
    repeats: Annotated[int, typer.Option(min=2, help="timed steps of each")] = 20,
    device: Device = "auto",
    threads: Threads = None,
    out: Out = None,
) -> None:
    """Bytes kept for the backward pass, and time of a step, with and without recomputation.

    Example: python -m harness bench recompute --model PATH --batch-size 8 --length 128 --out recompute.json
    """
    spec = _build_spec(methods, model, batch_size, length, dtype, device, threads)
    with silence_warnings():
        from harness.bench.recompute import measure

        result = measure(spec, repeats)
    _print_bench(result, out)


@bench.command()
def step(
    model: Model = None,
    methods: Methods = "lora,lorasp,dora,adalora,ia3,galore,full",
    strategies: Strategies = STRUCTURED,
    packs: Annotated[str, typer.Option(help="replicas in packs of the first method that packs; empty: none")] = SIZES,
    batch_size: Batch = 16,
    length: Length = 64,
    dtype: Dtype = "fp32",
    repeats: Annotated[int, typer.Option(min=2, help="rounds in which each takes its turn")] = 20,
    device: Device = "auto",
    threads: Threads = None,
    out: Out = None,
) -> None:
    """Time of a training step of each method, strategy and pack against that of transformers.Trainer with peft.

    Example: python -m harness bench step --methods lora,full --packs 1,2,4 --out step.json
    """
    spec = _build_spec(methods, model, batch_size, length, dtype, device, threads)
    with silence_warnings():
        from harness.bench.step import measure

        result = measure(spec, _split_words(strategies), _parse_numbers("packs", packs), repeats)
    _print_bench(result, out)


@bench.command()
def memory(
    model: Model = None,
    strategies: Strategies = STRUCTURED,
    levels: Annotated[str, typer.Option(help="quantization to save by; needs bitsandbytes; empty: none")] = "int8,nf4",
    batch_size: Batch = 16,
    length: Length = 64,
    dtype: Dtype = "fp32",
    device: Device = "auto",
    threads: Threads = None,
    out: Out = None,
) -> None:
    """Memory of LoRA-SP against LoRA, peft's LoRA and full fine-tuning, and the share of each way to save it.

    Each peak is of a process of its own.

    Example: python -m harness bench memory --model PATH --batch-size 32 --length 128 --out memory.json
    """
    spec = _build_spec("lora", model, batch_size, length, dtype, device, threads)
    with silence_warnings():
        from harness.bench.memory import measure

        result = measure(spec, _split_words(strategies), _split_words(levels))
    _print_bench(result, out)


@bench.command()
def startup(
    model: Model = None,
    cells: Annotated[int, typer.Option(min=1, help="cells of a grid that share one process of ours")] = 32,
    repeats: Annotated[int, typer.Option(min=1, help="fresh processes of each")] = 3,
    device: Device = "auto",
    threads: Threads = None,
    out: Out = None,
) -> None:
    """Seconds of imports and of the first step in fresh processes: ours, and peft with transformers.Trainer.

    Example: python -m harness bench startup --repeats 5 --out startup.json
    """
    spec = _build_spec("lora", model, 16, 32, "fp32", device, threads)
    from harness.bench.startup import measure

    _print_bench(measure(spec, cells, repeats), out)


def _build_spec(
    methods: str, model: str | None, batch: int, length: int, dtype: str, device: str, threads: int | None
) -> Spec:
    """What a bench on made-up rows asks for. Raises UserError."""
    from harness.core.registry import load_all
    from harness.core.spec import make_spec

    load_all()
    flags = {"methods": methods, "batch_size": batch, "max_length": length, "dtype": dtype, "device": device}
    return make_spec(flags | {"threads": threads, "model": (model,) if model else ()})


def _split_words(text: str) -> list[str]:
    return [word for word in text.split(",") if word]


def _parse_numbers(flag: str, text: str) -> list[int]:
    """Raises UserError."""
    if not all(re.fullmatch("[1-9][0-9]{0,5}", word) for word in _split_words(text)):
        raise UserError(f"--{flag} {shorten(text)}: allowed: whole numbers of 1 to 999,999 with commas, e.g. 2,4,8")
    return [int(word) for word in _split_words(text)]


def _print_bench(found: Bench, out: Path | None) -> None:
    """Print; beside the JSON, the picture as PNG and SVG. Raises UserError."""
    found.show(out)
    if out is None:
        return
    from harness.core.files import write_atomically
    from reports.figures import render_image
    from reports.plots.bench import draw_bench as draw

    figure = draw(found.content())
    for kind in PICTURES:
        write_atomically(out.with_suffix(f".{kind}"), render_image(figure, kind))


def grid(rivals: int, rival: str, at_once: str, steps: int, out: Path | None, flags: dict[str, Any]) -> None:
    """A grid as one batch against peft and transformers.Trainer: the same cells, rows, budget and scores.

    Example: python -m harness bench grid --tasks sst2 --methods lora,lorasp --seeds 8 --rivals 2 --at-once 2 --steps 50
    """
    from harness.bench.trainer_baseline import BASELINE_VARIANTS
    from harness.core.registry import load_all
    from harness.core.spec import make_spec

    invalid = [word for word in _split_words(rival) if word not in BASELINE_VARIANTS]
    if invalid or not _split_words(rival):
        raise UserError(f"--rival {rival}: allowed: best, default, or best,default")
    spec = make_spec({"tasks": ("sst2",)} | flags)
    load_all(spec.plugin)
    ways = [way for way in BASELINE_VARIANTS if way in _split_words(rival)]
    with silence_warnings():
        from harness.bench.grid import measure

        result = measure(spec, rivals, _parse_numbers("at-once", at_once), steps, ways)
    _print_bench(result, out)


TUNING = {"tune", "tune_tasks", "tune_seeds"}
EXCLUDED_FIELDS = {"out", "profile", "retry", "margin", "save_adapters", "init_from"} | TUNING | REPORT_FIELDS
GRID = {
    "rivals": (Annotated[int, typer.Option(min=1, help="cells of peft and Trainer, one by one")], 2),
    "rival": (Annotated[str, typer.Option(help="best: as ours where it can; default: TrainingArguments'")], "best"),
    "at_once": (Annotated[str, typer.Option(help="numbers of Trainer processes at once: 2,4,8; empty: none")], ""),
    "steps": (Annotated[int, typer.Option(min=5, help="steps of each process at once")], 100),
    "out": (Out, None),
}
bench.command("grid")(with_flags(grid, Spec.model_fields.keys() - EXCLUDED_FIELDS, GRID))
