"""The bench `recompute`: saved activations in bytes and time of a step under each kind of activation checkpointing."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from harness.bench.subjects import TASK
from harness.bench.table import SPREAD, Bench, Panel, build_facts, compute_ratios, format_ratio
from harness.core.cell import Recompute
from harness.core.device import choose_device, choose_threads
from harness.core.errors import UserError
from harness.core.spec import Spec
from harness.core.text import format_bytes
from harness.planning.plan import make_plan
from harness.profiling.activations import measure_saved_activations
from harness.profiling.clocks import time_steps
from harness.profiling.request import ProfileRequest, build_trainer, load_alone, request_of
from harness.training.trainer import Trainer

WARMUP_STEPS = 3
RECOMPUTE_MODES: tuple[Recompute, ...] = ("none", "selective", "full")


@dataclasses.dataclass
class RecomputeCase:
    """One method with one kind of recomputation: saved activations in bytes (`saved_bytes`) and seconds per step."""

    method: str
    how: Recompute
    trainer: Trainer
    saved_bytes: int = 0
    seconds: list[float] = dataclasses.field(default_factory=list)

    def warm_up(self) -> None:
        """Run untimed steps on the stream of a run, where a GPU captures its graph, then measure saved activations."""
        with self.trainer.runner.stream():
            for step in range(WARMUP_STEPS):
                self.trainer.train_step(step)
            self.saved_bytes = measure_saved_activations(lambda: self.trainer.losses(WARMUP_STEPS))

    def take(self, step: int, device: str) -> None:
        with self.trainer.runner.stream():
            self.seconds += time_steps(self.trainer, [step], device)

    @property
    def name(self) -> str:
        return f"{self.how} (not captured)" if self.trainer.runner.fallback else self.how


def measure(spec: Spec, repeats: int) -> Bench:
    """The bench of every method of a spec under each kind of recomputation. Raises UserError.

    The timed steps are interleaved, so that a change in the machine's speed slows all of them; a ratio compares steps
    of one round.
    """
    threads, device = choose_threads(spec.threads), choose_device(spec.device)
    cases = [_build_case(question, WARMUP_STEPS + repeats) for question in _build_requests(spec, device)]
    for case in cases:
        case.warm_up()
    for step in range(WARMUP_STEPS, WARMUP_STEPS + repeats):
        # in alternating order, so that no case always follows the same one
        for case in cases if step % 2 else reversed(cases):
            case.take(step, device)
    unchanged = {s.method: s for s in cases if s.how == "none"}
    facts = build_facts(spec, device, threads) | {"repeats": repeats, **SPREAD}
    rows, samples = [_build_row(s, unchanged[s.method]) for s in cases], [_build_sample(s) for s in cases]
    return Bench("recompute", facts, rows, samples, _build_panels(cases, unchanged))


def _build_requests(spec: Spec, device: str) -> list[ProfileRequest]:
    """Requests by method, then in the order of `RECOMPUTE_MODES`. Raises UserError."""
    plan = make_plan(spec.model_copy(update={"recompute": RECOMPUTE_MODES, "tasks": (TASK,), "seeds": "1"}))
    requests = [request_of(planned, device, spec.threads) for planned in plan.cells]
    by_label: dict[str, dict[Recompute, ProfileRequest]] = {}
    for request in requests:
        by_label.setdefault(request.cell.label, {})[request.cell.recompute] = request
    # a method with recompute=... of its own has one cell instead of three
    if any(len(by_mode) < len(RECOMPUTE_MODES) for by_mode in by_label.values()):
        raise UserError("bench recompute measures each kind itself: leave recompute=... out of --methods")
    ordered: list[ProfileRequest] = []
    for by_mode in by_label.values():
        ordered += [by_mode[how] for how in RECOMPUTE_MODES]
    return ordered


def _build_case(question: ProfileRequest, steps: int) -> RecomputeCase:
    trainer = build_trainer(question, load_alone(question), steps)
    return RecomputeCase(question.cell.label, question.cell.recompute, trainer)


def _build_panels(subjects: list[RecomputeCase], plain: dict[str, RecomputeCase]) -> list[Panel]:
    names = [f"{s.method}, {s.name}" for s in subjects]
    ratios = [compute_ratios(s.seconds, plain[s.method].seconds) for s in subjects]
    low, middle, high = zip(*ratios, strict=True)
    memory_panel = Panel("MiB kept for the backward pass", names, {"kept": [s.saved_bytes / 2**20 for s in subjects]})
    return [memory_panel, Panel("time of a step / none's", names, {"ratio": middle}, low, high, mark=1.0)]


def _build_row(subject: RecomputeCase, plain: RecomputeCase) -> dict[str, str]:
    return {
        "method": subject.method,
        "recompute": subject.name,
        "kept for backward": format_bytes(subject.saved_bytes),
        "of none's": f"{subject.saved_bytes / plain.saved_bytes:.2f}",
        "step": f"{1000 * np.median(subject.seconds):.1f} ms",
        "time / none's (10 % to 90 %)": format_ratio(compute_ratios(subject.seconds, plain.seconds)),
    }


def _build_sample(subject: RecomputeCase) -> dict[str, Any]:
    return {
        "method": subject.method,
        "recompute": subject.how,
        "kept_bytes": subject.saved_bytes,
        "step_seconds": subject.seconds,
        "not_captured": subject.trainer.runner.fallback,
    }
