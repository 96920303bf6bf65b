"""The bench `memory`: peaks of LoRA-SP against LoRA, peft's LoRA and full fine-tuning, and single savings."""

from __future__ import annotations

import dataclasses
import importlib.util
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from harness.bench.table import Bench, Panel, build_facts
from harness.core.cell import Cell
from harness.core.device import choose_device, choose_threads
from harness.core.errors import UserError
from harness.core.profile import MemoryShares
from harness.core.spec import Spec
from harness.core.text import format_bytes
from harness.profiling.worker import WorkerKilled, call_alone

if TYPE_CHECKING:
    from harness.bench.memory_process import MemoryJob, MemoryMeasurement
    from harness.profiling.request import ProfileRequest

LORA, SELECTED = "lora", "lorasp"
RECOMPUTE_MODES = ("selective", "full")
PARTS = tuple(MemoryShares.model_fields)


def measure(spec: Spec, strategies: Sequence[str], quantizations: Sequence[str]) -> Bench:
    """The bench of peaks, each in its own process, and of the saved activations of strategies. Raises UserError."""
    device = choose_device(spec.device)
    has_bitsandbytes = importlib.util.find_spec("bitsandbytes") is not None
    jobs = _build_jobs(spec, strategies, quantizations if has_bitsandbytes else (), device)
    # a peak needs a process of its own; jobs without one share a last process
    job_groups = [[job] for job in jobs if job.peak]
    if counted := [job for job in jobs if not job.peak]:
        job_groups.append(counted)
    measurements: list[MemoryMeasurement] = []
    for group in job_groups:
        measurements += _run_in_process(group)
    facts = build_facts(spec, device, choose_threads(spec.threads)) | {
        "peak": "cuda allocated" if device == "cuda" else "rss above the loaded backbone",
    }
    if (
        device == "cpu"
        and (predicted_peak := measurements[0].predicted_peak)
        and (measurements[0].peak or 0) > 2 * predicted_peak
    ):
        facts["mind"] = "the model is so small that the peak is mostly libraries; see 'predicted', or give --model"
    if quantizations and not has_bitsandbytes:
        facts["left out"] = f"{', '.join(quantizations)}: bitsandbytes is not installed"
    return Bench(
        "memory",
        facts,
        [_build_row(f, measurements[0]) for f in measurements],
        _build_samples(measurements),
        _build_panels(measurements),
    )


def _build_jobs(spec: Spec, strategies: Sequence[str], quantizations: Sequence[str], device: str) -> list[MemoryJob]:
    """Jobs of LoRA, its baselines, LoRA-SP and full; of each saving alone and of all together; of the strategies."""
    from harness.bench.memory_process import MemoryJob
    from harness.bench.subjects import find_counterpart_on_cpu
    from harness.bench.trainer_step import FULL

    quantize_option = f"quantize={quantizations[-1]}," if quantizations else ""
    savings = [f"{LORA}:quantize={quantization}" for quantization in quantizations]
    savings += [f"{LORA}:recompute={how}" for how in RECOMPUTE_MODES] + [
        f"{SELECTED}:{quantize_option}recompute={RECOMPUTE_MODES[-1]}"
    ]
    peak_requests = _build_requests(spec, [LORA, SELECTED, "full", *savings], device)
    lora, full = peak_requests[0], next(q for q in peak_requests if q.cell.method == "full")
    # `full` needs no peft: Trainer trains the model itself
    baselines = [
        MemoryJob("peft + Trainer: lora", lora, find_counterpart_on_cpu(lora)),
        MemoryJob("Trainer: full", full, FULL),
    ]
    strategy_requests = _build_requests(spec, [f"{SELECTED}:select={name}" for name in strategies], device)
    jobs = [MemoryJob(_format_name(q.cell), q) for q in peak_requests]
    return [
        jobs[0],
        baselines[0],
        *jobs[1:3],
        baselines[1],
        *jobs[3:],
        *(MemoryJob(_format_name(q.cell), q, peak=False) for q in strategy_requests),
    ]


def _build_requests(spec: Spec, methods: Sequence[str], device: str) -> list[ProfileRequest]:
    from harness.bench.subjects import build_requests

    return build_requests(spec.model_copy(update={"methods": ",".join(methods)}), device)[0] if methods else []


def _format_name(cell: Cell) -> str:
    recompute_note = "" if cell.recompute == "none" else f"{cell.recompute} activation checkpointing"
    return ", ".join(filter(None, [cell.label, "" if cell.quantize == "none" else cell.quantize, recompute_note]))


def _run_in_process(jobs: Sequence[MemoryJob]) -> list[MemoryMeasurement]:
    """Measurements of jobs in one fresh process. Raises UserError if the process is killed."""
    from harness.bench.memory_process import measure_jobs

    # with a GPU bitsandbytes must not be preloaded: it opens the GPU on import, which a forked process cannot use.
    # On a CPU the peak is resident memory, so libraries must be loaded before the process forks
    cuda = jobs[0].question.device == "cuda"
    preload = "harness.bench.memory_process" if cuda else "harness.bench.forked"
    try:
        return call_alone(preload, measure_jobs, list(jobs))
    except WorkerKilled as error:
        raise UserError(f"{jobs[0].name}: its process was killed (out of memory?); use a smaller batch") from error


def compute_saving(size: int | None, base: int | None) -> float | None:
    """The share of `base` bytes that is saved, negative if `size` is larger; None if one of them is unknown."""
    return None if not size or not base else 1 - size / base


def _build_row(measured: MemoryMeasurement, base: MemoryMeasurement) -> dict[str, str]:
    """A row of texts; savings are relative to `base`, which is LoRA."""
    parts, total = measured.predicted or {}, measured.predicted_peak
    shares = {name: f"{100 * parts[name] / total:.1f} %" if total else "" for name in PARTS}
    return {
        "what": measured.name,
        "peak": format_bytes(measured.peak),
        "saved": _format_percent(compute_saving(measured.peak, base.peak)),
        "predicted": format_bytes(total),
        "saved of it": _format_percent(compute_saving(total, base.predicted_peak)),
        **shares,
        "gradient bytes": str(measured.gradients),
        "moment bytes": str(measured.moments),
        "kept for backward": format_bytes(measured.kept),
        "kept / lora's": f"{measured.kept / base.kept:.2f}",
    }


def _format_percent(share: float | None) -> str:
    return "" if share is None else f"{100 * share:.1f} %"


def _build_samples(measured: Sequence[MemoryMeasurement]) -> list[dict[str, Any]]:
    base = measured[0]
    return [
        dataclasses.asdict(f)
        | {
            "saved": compute_saving(f.peak, base.peak),
            "saved_predicted": compute_saving(f.predicted_peak, base.predicted_peak),
        }
        for f in measured
    ]


def _build_panels(measured: Sequence[MemoryMeasurement]) -> list[Panel]:
    """Figures of the predicted peak by category, of the measured peak, and of saved activations."""
    predicted = [f for f in measured if f.predicted]
    stacked: dict[str, list[float]] = {}
    for name in PARTS:
        stacked[name] = [(f.predicted or {})[name] / 2**20 for f in predicted]
    peaks = [f for f in measured if f.peak]
    return [
        Panel("MiB at the predicted peak", [f.name for f in predicted], stacked),
        Panel("MiB at the measured peak", [f.name for f in peaks], {"peak": [(f.peak or 0) / 2**20 for f in peaks]}),
        Panel(
            "MiB kept for the backward pass", [f.name for f in measured], {"kept": [f.kept / 2**20 for f in measured]}
        ),
    ]
