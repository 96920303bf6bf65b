"""The bench `step`: time of a training step of methods, strategies and packs against peft + Trainer.

Baseline and subjects take turns in one process, so that a change in the machine's speed slows all of them:

    round      0                           1
    baseline   block                       block
    subjects         s3 s2 s1 (reversed)         s1 s2 s3      a block each, in alternating order
    ratio      baseline 0 / subject 0      baseline 1 / subject 1
"""

from __future__ import annotations

import dataclasses
import itertools
import tempfile
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from harness.bench.subjects import Case, CaseTimer, build_cases, prepare_timer
from harness.bench.table import SPREAD, Bench, Panel, build_facts, compute_ratios, format_ratio
from harness.bench.trainer_step import Rounds, TrainerBaseline, time_baseline
from harness.core.device import choose_device, choose_threads
from harness.core.failure import release_memory
from harness.core.spec import Spec
from harness.profiling.ceiling import measure_matmul_flops

BLOCK_STEPS = {"cpu": 1, "cuda": 5}
"""Steps per timed block: on a GPU waiting for the device after each step would slow the loop."""
WARMUP_STEPS = 4
"""Untimed steps of the baseline and of each subject."""


@dataclasses.dataclass
class PairedTiming:
    """A baseline and the subjects that took turns with it; `baseline_seconds` per step, one for each round."""

    baseline: TrainerBaseline
    baseline_seconds: list[float]
    subjects: list[CaseTimer]


def measure(spec: Spec, strategies: Sequence[str], packs: Sequence[int], repeats: int) -> Bench:
    """The bench of every method of a spec, of strategies, and of packs of its first method that packs.

    Raises UserError.
    """
    threads, device = choose_threads(spec.threads), choose_device(spec.device)
    rounds = Rounds(repeats, BLOCK_STEPS[device], WARMUP_STEPS)
    all_cases, notes = build_cases(spec, strategies, packs, device)
    timings: list[PairedTiming] = []
    for _, case_group in itertools.groupby(all_cases, key=lambda c: c.baseline_label):
        timings.append(_time_interleaved(list(case_group), rounds, notes))
        release_memory()  # AdaLoRA's Trainer is a reference cycle
    dtype = torch.bfloat16 if spec.dtype[0] == "bf16" else torch.float32
    ceiling = measure_matmul_flops(device, dtype)
    packs_of: dict[int, float] = {}
    for timing in timings:
        packs_of |= {s.k: float(np.median(s.seconds)) for s in timing.subjects if s.packed}
    facts = build_facts(spec, device, threads) | {
        "rounds": f"{repeats} of {rounds.block} steps",
        **SPREAD,
        "matmul ceiling": f"{ceiling / 1e12:.3g} TFLOP/s",
    }
    if packs_of:
        facts["knee"] = f"K = {knee(packs_of)}"
    if notes:
        facts["left out"] = "; ".join(notes)
    rows, samples = _build_rows(timings, ceiling), _build_samples(timings, ceiling)
    return Bench("step", facts, rows, samples, _build_panels(timings, packs_of))


def _time_interleaved(together: Sequence[Case], rounds: Rounds, notes: list[str]) -> PairedTiming:
    """Times of one baseline and of its subjects; after each block of Trainer every subject runs one block."""
    candidates = [prepare_timer(case, rounds.steps, rounds.warmup, notes) for case in together]
    subjects = [s for s in candidates if s is not None]
    # the first case of a group is the method that the group's baseline label names
    baseline = subjects[0].build_counterpart()

    def between(number: int) -> None:
        # in alternating order, so that no subject always follows the same one
        for subject in subjects if number % 2 else reversed(subjects):
            subject.take(rounds.block)

    with tempfile.TemporaryDirectory() as folder:
        baseline_seconds = time_baseline(baseline, together[0].question, rounds, folder, between)
    for subject in subjects:
        subject.release()
    return PairedTiming(baseline, baseline_seconds, subjects)


def _compute_replica_seconds(subject: CaseTimer) -> list[float]:
    """Seconds per step and replica, one for each round."""
    return [s / subject.k for s in subject.seconds]


def _compute_speedup(timing: PairedTiming, subject: CaseTimer) -> tuple[float, float, float]:
    """10 %, 50 % and 90 % quantiles of the baseline's time over the subject's, per replica."""
    return compute_ratios(timing.baseline_seconds, _compute_replica_seconds(subject))


def _find_lora(timing: PairedTiming) -> CaseTimer | None:
    """LoRA alone, if it ran in the same rounds: only such times are comparable."""
    return next((s for s in timing.subjects if s.name == "lora" and not s.packed), None)


def _build_rows(timings: Sequence[PairedTiming], ceiling: float) -> list[dict[str, str]]:
    rows = []
    for timing in timings:
        median = 1000 * float(np.median(timing.baseline_seconds))
        baseline_row = {"what": f"peft + Trainer: {timing.baseline.name}", "K": "1", "step": f"{median:.2f} ms"}
        blank = ("Trainer's / ours (10 % to 90 %)", "time / lora's", "GFLOP/s", "of ceiling")
        if timing.baseline.config is None:
            baseline_row["what"] = "Trainer: full"
        rows.append(baseline_row | {"a replica": f"{median:.2f} ms"} | dict.fromkeys(blank, ""))
        rows += [_build_row(timing, subject, ceiling) for subject in timing.subjects]
    return rows


def _format_name(subject: CaseTimer) -> str:
    name = f"pack of {subject.name}" if subject.packed else subject.name
    return f"{name} (not captured)" if subject.fallback else name


def _build_row(timing: PairedTiming, subject: CaseTimer, ceiling: float) -> dict[str, str]:
    median, lora = float(np.median(subject.seconds)), _find_lora(timing)
    flops_per_second = subject.flops / median
    return {
        "what": _format_name(subject),
        "K": str(subject.k),
        "step": f"{1000 * median:.2f} ms",
        "a replica": f"{1000 * median / subject.k:.2f} ms",
        "Trainer's / ours (10 % to 90 %)": format_ratio(_compute_speedup(timing, subject)),
        "time / lora's": format_ratio(compute_ratios(_compute_replica_seconds(subject), lora.seconds)) if lora else "",
        "GFLOP/s": f"{flops_per_second / 1e9:.1f}",
        "of ceiling": f"{100 * flops_per_second / ceiling:.1f} %",
    }


def _build_samples(timings: Sequence[PairedTiming], ceiling: float) -> list[dict[str, Any]]:
    samples: list[dict[str, Any]] = []
    for timing in timings:
        samples.append({"what": timing.baseline.name, "rival": None, "k": 1, "step_seconds": timing.baseline_seconds})
        samples += [
            {
                "what": s.name,
                "rival": timing.baseline.name,
                "k": s.k,
                "packed": s.packed,
                "step_seconds": s.seconds,
                "flops": s.flops,
                "ceiling_flops": ceiling,
                "not_captured": s.fallback,
            }
            for s in timing.subjects
        ]
    return samples


def _build_panels(timings: Sequence[PairedTiming], packs_of: Mapping[int, float]) -> list[Panel]:
    """Figures of the bench; `packs_of` has seconds per step by pack size."""
    alone: list[tuple[PairedTiming, CaseTimer]] = []
    for timing in timings:
        alone += [(timing, subject) for subject in timing.subjects if not subject.packed]
    names = [f"{s.name} (Trainer: {r.baseline.name})" for r, s in alone]
    low, middle, high = zip(*(_compute_speedup(r, s) for r, s in alone), strict=True)
    panels = [Panel("Trainer's step / ours", names, {"ratio": middle}, low, high, mark=1.0)]
    if len(packs_of) > 1:
        times = {"pack": [1000 * seconds / k for k, seconds in packs_of.items()]}
        panels.append(Panel("ms per replica", [], times, mark=knee(packs_of), places=list(packs_of)))
    return panels


def knee(steps: Mapping[int, float]) -> int:
    """The smallest K with seconds per replica within 5 % of the best; `steps` has seconds per step by pack size."""
    each = {k: seconds / k for k, seconds in steps.items()}
    return min(k for k, seconds in each.items() if seconds <= min(each.values()) * 1.05)
