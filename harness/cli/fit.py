"""The command `fit`: what fits into which GPU memory, as a table, as JSON and as a picture."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from harness.cli.flags import Json, read_path
from harness.cli.running import show_phases
from harness.core.errors import UserError, quote, shorten
from harness.core.garbage import import_uncollected
from harness.core.terminal import print_lines, print_table, print_wrapped

if TYPE_CHECKING:
    from harness.profiling.fit import FitRequest, FitRow, Measured

PICTURES = ("svg", "png", "pdf")
MOST = 1_000_000
"""Largest length, batch size and GiB: far above any real one."""
Methods = Annotated[str, typer.Option(help="comma-separated methods with options, as for `run`")]
Shapes = Annotated[str, typer.Option(help="comma-separated model shapes, as in --model shape:NAME of `run`")]
Precisions = Annotated[str, typer.Option(help="comma-separated: fp32, bf16 or a quantization type beside bf16")]
Recompute = Annotated[str, typer.Option(help="comma-separated activation checkpointing: none, selective, full")]
Lengths = Annotated[str, typer.Option(help="comma-separated tokens per row")]
Batches = Annotated[str, typer.Option(help="comma-separated rows per batch to try")]
Memory = Annotated[str, typer.Option(help="comma-separated GPU memory in GiB")]
Plot = Annotated[
    Path | None,
    typer.Option(parser=read_path, metavar="FILE", help="also draw peaks against model size: a .svg, .png or .pdf"),
]
Cache = Annotated[bool, typer.Option("--cache/--no-cache", help="store predictions in the cache folder")]


def fit(
    methods: Methods = "lora,lorasp,full",
    shapes: Shapes = "llama-1b,llama-7b,llama-13b",
    precisions: Precisions = "bf16,nf4",
    recompute: Recompute = "none,full",
    lengths: Lengths = "1024",
    batch_sizes: Batches = "1,4,16,64",
    memory: Memory = "8,12,16,24,40,80,141",
    plot: Plot = None,
    as_json: Json = False,
    cache: Cache = True,
) -> None:
    """List what fits in the memory of GPUs.

    Shows the largest batch that fits, by predicted memory of one training step. Needs no GPU and no weights, and trains
    nothing.

    Example: python -m harness fit --methods lora,qlora,full --shapes llama-7b --lengths 1024 --memory 24,80
    """
    from harness.core.registry import load_all

    import_uncollected(("transformers.modeling_utils", "harness.profiling.fit"))
    from harness.profiling.fit import FitRequest, load_measured, predict_fit

    picture = None if plot is None else check_picture(plot)
    request = FitRequest(
        methods,
        parse_names("--shapes", shapes),
        parse_names("--precisions", precisions),
        parse_names("--recompute", recompute),
        parse_counts("--lengths", lengths),
        parse_counts("--batch-sizes", batch_sizes),
        parse_counts("--memory", memory, "GiB without a unit, such as 24"),
        cache,
    )
    load_all()
    measured = load_measured()
    with show_phases(as_json) as phases:
        rows = predict_fit(request, phases.show)
    print_fit(request, rows, measured, as_json=as_json)
    if plot is not None and picture is not None:
        from reports.plots.fit import draw_fit

        plot.parent.mkdir(parents=True, exist_ok=True)
        plot.write_bytes(draw_fit(rows, request.memory, measured, picture))
        if not as_json:
            print_lines([f"picture: {plot}"])


def check_picture(path: Path) -> str:
    """The kind of a picture's file. Raises UserError."""
    kind = path.suffix.lower().removeprefix(".")
    if kind not in PICTURES or path.is_dir():
        raise UserError(f"--plot {shorten(path)}: give a file that ends in {', '.join(f'.{k}' for k in PICTURES)}")
    return kind


def parse_names(flag: str, text: str) -> tuple[str, ...]:
    """Comma-separated names, each once. Raises UserError where there are none."""
    names = tuple(dict.fromkeys(name for part in text.split(",") if (name := part.strip())))
    if not names:
        raise UserError(f"{flag} {quote(text)}: no name is given; leave the flag out for the default")
    return names


def parse_counts(flag: str, text: str, what: str = "whole numbers") -> tuple[int, ...]:
    """Comma-separated whole numbers from 1 to `MOST`, each once and in order. Raises UserError."""
    numbers = set()
    for name in parse_names(flag, text):
        if not (name.isascii() and name.isdigit() and 1 <= int(name[:12]) <= MOST):
            raise UserError(f"{flag} {shorten(name)}: allowed: {what}, 1 to {MOST:,}, separated by commas")
        numbers.add(int(name))
    return tuple(sorted(numbers))


def print_fit(request: FitRequest, rows: list[FitRow], measured: list[Measured], *, as_json: bool) -> None:
    """Print the table and what it rests on, or all of it as one JSON object."""
    from harness.profiling.fit import describe_accuracy, list_left_out

    notes = [describe_accuracy(measured), *list_left_out(request, rows)]
    if as_json:
        content = {"rows": [dataclasses.asdict(row) for row in rows], "notes": notes}
        print_lines([json.dumps(content | {"memory_gib": request.memory, "batch_sizes": request.batches})])
        return
    title = "Largest batch that fits, with its predicted peak in GiB"
    print_table(build_rows(request, rows), {0, 1, 2, 3}, title)
    print_wrapped(notes)


def build_rows(request: FitRequest, rows: list[FitRow]) -> list[tuple[str, ...]]:
    """The head, and one row per combination; a single length is in no column."""
    several = len(request.lengths) > 1
    least = f"peak, batch {min(request.batches)}"
    head: list[str] = ["method", "shape", "precision", "checkpointing", *(["length"] if several else []), least]
    table = [(*head, *(f"{size} GiB" for size in request.memory))]
    for row in rows:
        names = [row.method, row.shape, row.precision, row.checkpointing, *([str(row.length)] if several else [])]
        first = _format_gib(row.peaks.get(min(request.batches)))
        table.append((*names, first, *(_format_largest(row, size) for size in request.memory)))
    return table


def _format_largest(row: FitRow, size: int) -> str:
    batch = row.largest[size]
    if not row.peaks:
        return "?"
    return "-" if batch is None else f"{batch} ({_format_gib(row.peaks[batch])})"


def _format_gib(count: Any) -> str:
    return "?" if count is None else f"{count / 2**30:.1f}"
