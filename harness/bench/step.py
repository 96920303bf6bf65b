"""Time of a training step: each method, strategy and pack against Trainer's step of its counterpart, in rounds."""

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
"""Steps between two looks at the clock: on a GPU a loop runs ahead of the device."""
WARMUP_STEPS = 4


@dataclasses.dataclass
class PairedTiming:
    """A rival and the subjects that took turns with it: seconds of a step, round by round."""

    baseline: TrainerBaseline
    baseline_seconds: list[float]
    subjects: list[CaseTimer]


def measure(spec: Spec, strategies: Sequence[str], packs: Sequence[int], repeats: int) -> Bench:
    """Every method of a spec, the strategies, and packs of its first method. Raises UserError."""
    threads, device = choose_threads(spec.threads), choose_device(spec.device)
    rounds = Rounds(repeats, BLOCK_STEPS[device], WARMUP_STEPS)
    all_cases, notes = build_cases(spec, strategies, packs, device)
    timings: list[PairedTiming] = []
    for _, case_group in itertools.groupby(all_cases, key=lambda c: c.baseline_label):
        timings.append(_time_interleaved(list(case_group), rounds, notes))
        release_memory()  # AdaLoRA's Trainer refers to itself
    dtype = torch.bfloat16 if spec.dtype[0] == "bf16" else torch.float32
    ceiling = measure_matmul_flops(device, dtype)
    packs_of = {s.k: float(np.median(s.seconds)) for r in timings for s in r.subjects if s.packed}
    facts = build_facts(spec, device, threads) | {
        "rounds": f"{repeats} of {rounds.block} steps",
        **SPREAD,
        "matmul ceiling": f"{ceiling / 1e12:.3g} TFLOP/s",
    }
    if packs_of:
        facts["knee"] = f"K = {knee(packs_of)}"
    if notes:
        facts["left out"] = "; ".join(notes)
    return Bench(
        "step", facts, _build_rows(timings, ceiling), _build_samples(timings, ceiling), _build_panels(timings, packs_of)
    )


def _time_interleaved(together: Sequence[Case], rounds: Rounds, notes: list[str]) -> PairedTiming:
    """One Trainer, and after each of its blocks one of every subject, in turn forwards and backwards."""
    candidates = [prepare_timer(case, rounds.steps, rounds.warmup, notes) for case in together]
    subjects = [s for s in candidates if s is not None]
    baseline = subjects[0].build_counterpart()

    def between(number: int) -> None:
        for subject in subjects if number % 2 else reversed(subjects):
            subject.take(rounds.block)

    with tempfile.TemporaryDirectory() as folder:
        baseline_seconds = time_baseline(baseline, together[0].question, rounds, folder, between)
    for subject in subjects:
        subject.release()
    return PairedTiming(baseline, baseline_seconds, subjects)


def _compute_replica_seconds(subject: CaseTimer) -> list[float]:
    """Seconds of a step for one replica."""
    return [s / subject.k for s in subject.seconds]


def _compute_speedup(race: PairedTiming, subject: CaseTimer) -> tuple[float, float, float]:
    return compute_ratios(race.baseline_seconds, _compute_replica_seconds(subject))


def _find_lora(race: PairedTiming) -> CaseTimer | None:
    """LoRA alone, where it ran in the same rounds."""
    return next((s for s in race.subjects if s.name == "lora" and not s.packed), None)


def _build_rows(races: Sequence[PairedTiming], ceiling: float) -> list[dict[str, str]]:
    rows = []
    for race in races:
        median = 1000 * float(np.median(race.baseline_seconds))
        baseline_row = {"what": f"peft + Trainer: {race.baseline.name}", "K": "1", "step": f"{median:.2f} ms"}
        blank = ("Trainer's / ours (10 % to 90 %)", "time / lora's", "GFLOP/s", "of ceiling")
        if race.baseline.config is None:
            baseline_row["what"] = "Trainer: full"
        rows.append(baseline_row | {"a replica": f"{median:.2f} ms"} | dict.fromkeys(blank, ""))
        rows += [_build_row(race, subject, ceiling) for subject in race.subjects]
    return rows


def _format_name(subject: CaseTimer) -> str:
    name = f"pack of {subject.name}" if subject.packed else subject.name
    return f"{name} (not captured)" if subject.fallback else name


def _build_row(race: PairedTiming, subject: CaseTimer, ceiling: float) -> dict[str, str]:
    median, lora = float(np.median(subject.seconds)), _find_lora(race)
    flops_per_second = subject.flops / median
    return {
        "what": _format_name(subject),
        "K": str(subject.k),
        "step": f"{1000 * median:.2f} ms",
        "a replica": f"{1000 * median / subject.k:.2f} ms",
        "Trainer's / ours (10 % to 90 %)": format_ratio(_compute_speedup(race, subject)),
        "time / lora's": format_ratio(compute_ratios(_compute_replica_seconds(subject), lora.seconds)) if lora else "",
        "GFLOP/s": f"{flops_per_second / 1e9:.1f}",
        "of ceiling": f"{100 * flops_per_second / ceiling:.1f} %",
    }


def _build_samples(races: Sequence[PairedTiming], ceiling: float) -> list[dict[str, Any]]:
    samples: list[dict[str, Any]] = []
    for race in races:
        samples.append({"what": race.baseline.name, "rival": None, "k": 1, "step_seconds": race.baseline_seconds})
        samples += [
            {
                "what": s.name,
                "rival": race.baseline.name,
                "k": s.k,
                "packed": s.packed,
                "step_seconds": s.seconds,
                "flops": s.flops,
                "ceiling_flops": ceiling,
                "not_captured": s.fallback,
            }
            for s in race.subjects
        ]
    return samples


def _build_panels(races: Sequence[PairedTiming], packs_of: Mapping[int, float]) -> list[Panel]:
    """`packs_of`: seconds of a step by size of the pack."""
    alone = [(r, s) for r in races for s in r.subjects if not s.packed]
    names = [f"{s.name} (Trainer: {r.baseline.name})" for r, s in alone]
    low, middle, high = zip(*(_compute_speedup(r, s) for r, s in alone), strict=True)
    panels = [Panel("Trainer's step / ours", names, {"ratio": middle}, low, high, mark=1.0)]
    if len(packs_of) > 1:
        times = {"pack": [1000 * seconds / k for k, seconds in packs_of.items()]}
        panels.append(Panel("ms per replica", [], times, mark=knee(packs_of), places=list(packs_of)))
    return panels


def knee(steps: Mapping[int, float]) -> int:
    """The smallest K whose seconds per replica and step lie within 5 % of the best; `steps` has those of the pack."""
    each = {k: seconds / k for k, seconds in steps.items()}
    return min(k for k, seconds in each.items() if seconds <= min(each.values()) * 1.05)
