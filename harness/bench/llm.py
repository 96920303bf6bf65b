"""The bench `llm`: training steps of a causal model with LoRA, ours against peft, Liger, torch.compile and Unsloth.

    job = (subject, batch, length) ──> a process of its own ──> warm-up steps | timed steps ──> LlmMeasurement
                                        same random weights, same rows, same budget

A process of its own, because Liger and Unsloth change transformers for all models of a process.
"""

from __future__ import annotations

import dataclasses
import importlib.util
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from harness.bench.llm_job import OURS, LlmJob, LlmMeasurement
from harness.bench.table import Bench, Panel
from harness.core.device import choose_device, choose_threads
from harness.core.errors import UserError
from harness.core.provenance import format_machine
from harness.core.text import format_bytes
from harness.models.shapes import count_llama_parameters, get_shape
from harness.profiling.capacity import get_free_memory
from harness.profiling.worker import WorkerKilled, call_alone

NEEDED: Mapping[str, tuple[str, ...]] = {
    OURS: (),
    "peft": (),
    "peft+liger": ("liger_kernel", "triton"),
    "peft+liger+compile": ("liger_kernel", "triton"),
    "unsloth": ("unsloth",),
}
"""Subject -> packages that it needs beside those of the harness; all of these need a GPU."""
DEFAULT_SHAPES = {"cuda": "llama-7b", "cpu": "llama-tiny"}
"""Device -> the shape where the user names none; a step of llama-7b takes minutes on a CPU."""
LEAST_LENGTH = 2
"""Tokens per row: all but the first have a loss."""
INSTALL = {"liger_kernel": "pip install 'lorasp-harness[kernels]'", "unsloth": "pip install unsloth"}


def measure(base: LlmJob, subjects: Sequence[str], batches: Sequence[int], lengths: Sequence[int]) -> Bench:
    """The bench of the subjects at each batch and length; `base` gives everything else. Raises UserError."""
    device, threads = choose_device(base.device), choose_threads(base.threads)
    base = dataclasses.replace(base, shape=base.shape or DEFAULT_SHAPES[device])
    _check(base, subjects, lengths)
    _check_weights(base, device)
    results: list[tuple[LlmJob, LlmMeasurement]] = []
    for batch in batches:
        for length in lengths:
            for subject in subjects:
                job = dataclasses.replace(base, subject=subject, batch=batch, length=length, device=device)
                results.append((job, _run(job)))
    facts = {
        "shape": base.shape,
        "method": f"lora rank {base.rank} on all linear layers, dropout {base.dropout}",
        "dtype": base.dtype,
        "device": format_machine(device, threads),
        "steps": f"{base.repeats} timed after {base.warmup}, each waited for",
        "peak": "cuda allocated" if device == "cuda" else "rss above the start of the process",
    }
    rows = [_build_row(job, result, results) for job, result in results]
    return Bench("llm", facts, rows, [_build_sample(*pair) for pair in results], _build_panels(results))


def _check(base: LlmJob, subjects: Sequence[str], lengths: Sequence[int]) -> None:
    """Raise UserError for an unknown subject, and for a shape or a precision that this bench cannot train."""
    unknown = [subject for subject in subjects if subject not in NEEDED]
    if unknown or not subjects:
        raise UserError(f"--subjects {','.join(subjects)}: allowed: {', '.join(NEEDED)}, with commas")
    if get_shape(base.shape).kind != "llama":
        raise UserError(f"--shape {base.shape}: not a causal model; allowed: a shape of llama, such as llama-7b")
    if base.dtype not in ("fp32", "bf16"):
        raise UserError(f"--dtype {base.dtype}: allowed: fp32 or bf16")
    width = get_shape(base.shape).fields["hidden_size"]
    if base.rank > width:
        raise UserError(f"--rank {base.rank}: allowed: at most {width}, the width of {base.shape}")
    if min(lengths) < LEAST_LENGTH:
        raise UserError(f"--lengths {min(lengths)}: allowed: {LEAST_LENGTH} or more tokens per row")


def _check_weights(base: LlmJob, device: str) -> None:
    """Raise UserError if the weights alone take more memory than is free."""
    weights = count_llama_parameters(get_shape(base.shape).fields) * (2 if base.dtype == "bf16" else 4)
    free = get_free_memory(device)
    if weights > free:
        raise UserError(
            f"--shape {base.shape}: its weights take {format_bytes(weights)} in {base.dtype}, and {format_bytes(free)}"
            f" are free on {device}; give a smaller shape, such as llama-tiny"
        )


def find_reason_missing(subject: str, device: str) -> str | None:
    """Why a subject cannot run here; None if it can."""
    missing = [package for package in NEEDED[subject] if importlib.util.find_spec(package) is None]
    if missing:
        hint = INSTALL.get(missing[0], "")
        return f"missing: {', '.join(missing)} not installed" + (f" ({hint})" if hint else "")
    return "missing: its kernels need a GPU" if NEEDED[subject] and device != "cuda" else None


def _run(job: LlmJob) -> LlmMeasurement:
    reason = find_reason_missing(job.subject, job.device)
    if reason is not None:
        return LlmMeasurement(failure=reason)
    # imported here: it loads torch and transformers, which only the process of a job needs
    from harness.bench.llm_process import measure_job

    try:
        return call_alone("harness.bench.llm_process", measure_job, job)
    except WorkerKilled:
        return LlmMeasurement(failure="failed: its process was killed (out of memory?)")


def compute_rate(job: LlmJob, result: LlmMeasurement) -> float:
    """Tokens per second at the median step."""
    return job.batch * job.length / float(np.median(result.seconds))


def _build_row(job: LlmJob, result: LlmMeasurement, results: Sequence[tuple[LlmJob, LlmMeasurement]]) -> dict[str, str]:
    row = {"what": job.subject, "batch": f"{job.batch} x {job.length}"}
    if not result.seconds:
        blank = ("tokens/s", "ms per step (10 % to 90 %)", "peak", "ours / it", "its peak / ours", "loss")
        return row | dict.fromkeys(blank, "-") | {"note": result.failure or ""}
    low, middle, high = 1000 * np.quantile(result.seconds, [0.1, 0.5, 0.9])
    ours = next((r for j, r in results if j == dataclasses.replace(job, subject=OURS) and r.seconds), None)
    peaks = ours is not None and ours.peak and result.peak
    return row | {
        "tokens/s": f"{compute_rate(job, result):,.0f}",
        "ms per step (10 % to 90 %)": f"{middle:.1f} ({low:.1f} to {high:.1f})",
        "peak": format_bytes(result.peak),
        "ours / it": f"{compute_rate(job, ours) / compute_rate(job, result):.2f}" if ours else "-",
        "its peak / ours": f"{(result.peak or 0) / (ours.peak or 1):.2f}" if ours and peaks else "-",
        "loss": f"{result.losses[0]:.4f} to {result.losses[-1]:.4f}",
        "note": f"not captured: {result.fallback}" if result.fallback else "",
    }


def _build_sample(job: LlmJob, result: LlmMeasurement) -> dict[str, Any]:
    rate = compute_rate(job, result) if result.seconds else None
    return dataclasses.asdict(job) | {"tokens_per_second": rate} | dataclasses.asdict(result)


def _build_panels(results: Sequence[tuple[LlmJob, LlmMeasurement]]) -> list[Panel]:
    """Figures of speed and of the peak, of the subjects that ran."""
    timed = [(job, result) for job, result in results if result.seconds]
    if not timed:
        return []
    names = [f"{job.subject}, {job.batch} x {job.length}" for job, _ in timed]
    rates = [compute_rate(job, result) for job, result in timed]
    peaks = [(result.peak or 0) / 2**30 for _, result in timed]
    return [Panel("tokens/s", names, {"tokens/s": rates}), Panel("GiB at the peak", names, {"peak": peaks})]
