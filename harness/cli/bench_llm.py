"""`bench llm`: the flags of the bench of causal models; harness/bench/llm.py measures."""

from __future__ import annotations

from typing import Annotated

import typer

from harness.bench.silence import silence_warnings
from harness.cli.bench import Device, Dtype, Out, Threads, parse_numbers, print_bench, split_words
from harness.core.errors import UserError


def llm(
    shape: Annotated[
        str,
        typer.Option(
            "--shape",
            metavar="SHAPE",
            help="shape of the model, with random weights; default: llama-7b on a GPU, llama-tiny on a CPU",
            show_default=False,
        ),
    ] = "",
    batch_sizes: Annotated[str, typer.Option(metavar="INTEGER[,...]", help="comma-separated rows per step")] = "2",
    lengths: Annotated[str, typer.Option(metavar="INTEGER[,...]", help="comma-separated tokens per row")] = "1024",
    rank: Annotated[int, typer.Option(min=1, help="LoRA rank on all linear layers")] = 16,
    dropout: Annotated[float, typer.Option(min=0, max=0.99, help="dropout on the LoRA input")] = 0.0,
    dtype: Dtype = "bf16",
    subjects: Annotated[
        str, typer.Option(metavar="SUBJECT[,...]", help="comma-separated: ours and the baselines to compare with")
    ] = "ours,peft,peft+liger,peft+liger+compile,unsloth",
    warmup: Annotated[int, typer.Option(min=3, help="untimed steps, in which a subject compiles or captures")] = 5,
    repeats: Annotated[int, typer.Option(min=2, help="timed steps")] = 20,
    device: Device = "auto",
    threads: Threads = None,
    out: Out = None,
) -> None:
    """Time LoRA on a causal model against its baselines.

    Baselines are peft alone, with Liger, with Liger and torch.compile, and Unsloth. Reports tokens/s, peak memory and
    losses. Each subject runs in its own process; one that cannot run is named.

    Example: python -m harness bench llm --shape llama-7b --batch-sizes 1,2,4 --lengths 1024 --out llm.json
    """
    sizes = {"batch-sizes": parse_numbers("batch-sizes", batch_sizes), "lengths": parse_numbers("lengths", lengths)}
    for flag, numbers in sizes.items():
        if not numbers:
            raise UserError(f"--{flag}: no number is given; give one or more with commas, e.g. 1,2,4")
    with silence_warnings():
        from harness.bench.llm import measure
        from harness.bench.llm_job import LlmJob

        base = LlmJob("", shape, 0, 0, rank, dropout, dtype, warmup, repeats, device, threads)
        result = measure(base, split_words(subjects), sizes["batch-sizes"], sizes["lengths"])
    print_bench(result, out)
