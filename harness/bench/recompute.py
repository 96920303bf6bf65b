"""What recomputation saves and costs: bytes kept for the backward pass, and time of a step, side by side."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from harness.bench.subjects import TASK
from harness.bench.table import SPREAD, Bench, Panel, made_up, ratios, written
from harness.core.cell import Recompute
from harness.core.device import choose_device, choose_threads
from harness.core.errors import UserError
from harness.core.method import SUITES
from harness.core.spec import Spec
from harness.planning.plan import make_plan
from harness.profiling.activations import held_bytes
from harness.profiling.clocks import timed_steps
from harness.profiling.request import Question, load_alone, train_alone
from harness.training.trainer import Trainer

WARMUP_STEPS = 3
WAYS: tuple[Recompute, ...] = ("none", "selective", "full")


@dataclasses.dataclass
class Subject:
    """One method with one way to recompute, and what was measured of it."""

    method: str
    how: Recompute
    trainer: Trainer
    held: int = 0
    seconds: list[float] = dataclasses.field(default_factory=list)

    def warm_up(self) -> None:
        """On a GPU a graph is captured in these steps, which must lie on the stream of a run's."""
        with self.trainer.runner.stream():
            for step in range(WARMUP_STEPS):
                self.trainer.one_step(step)
            self.held = held_bytes(lambda: self.trainer.losses(WARMUP_STEPS))

    def take(self, step: int, device: str) -> None:
        with self.trainer.runner.stream():
            self.seconds += timed_steps(self.trainer, [step], device)

    @property
    def name(self) -> str:
        return f"{self.how} (not captured)" if self.trainer.runner.fallback else self.how


def measure(spec: Spec, repeats: int) -> Bench:
    """Every method of a spec under each way. Raises UserError.

    The timed steps are interleaved, so a machine that slows down slows down all; a ratio is of steps in one round.
    """
    threads, device = choose_threads(spec.threads), choose_device(spec.device)
    subjects = [_subject(question, WARMUP_STEPS + repeats) for question in _questions(spec, device)]
    for subject in subjects:
        subject.warm_up()
    for step in range(WARMUP_STEPS, WARMUP_STEPS + repeats):
        for subject in subjects if step % 2 else reversed(subjects):
            subject.take(step, device)
    plain = {s.method: s for s in subjects if s.how == "none"}
    facts = made_up(spec, device, threads) | {"repeats": repeats, **SPREAD}
    rows, samples = [_row(s, plain[s.method]) for s in subjects], [_sample(s) for s in subjects]
    return Bench("recompute", facts, rows, samples, _panels(subjects, plain))


def _questions(spec: Spec, device: str) -> list[Question]:
    """By method, then in the order of `WAYS`."""
    plan = make_plan(spec.model_copy(update={"recompute": WAYS, "tasks": (TASK,), "seeds": "1"}))
    task = SUITES.get(plan.cells[0].suite).tasks[TASK]
    source = plan.models[plan.cells[0].suite]
    made = [
        Question(c.key, c, plan.methods[c.key], task, source, c.protocol.max_length, device, spec.threads)
        for c in plan.cells
    ]
    by_label = {q.cell.label: {o.cell.recompute: o for o in made if o.cell.label == q.cell.label} for q in made}
    if any(len(found) < len(WAYS) for found in by_label.values()):
        raise UserError("bench recompute measures each way itself: leave recompute=... out of --methods")
    return [found[how] for found in by_label.values() for how in WAYS]


def _subject(question: Question, steps: int) -> Subject:
    trainer = train_alone(question, load_alone(question), steps)
    return Subject(question.cell.label, question.cell.recompute, trainer)


def _panels(subjects: list[Subject], plain: dict[str, Subject]) -> list[Panel]:
    names = [f"{s.method}, {s.name}" for s in subjects]
    low, middle, high = zip(*(ratios(s.seconds, plain[s.method].seconds) for s in subjects), strict=True)
    held = Panel("MiB kept for the backward pass", names, {"kept": [s.held / 2**20 for s in subjects]})
    return [held, Panel("time of a step / none's", names, {"ratio": middle}, low, high, mark=1.0)]


def _row(subject: Subject, plain: Subject) -> dict[str, str]:
    return {
        "method": subject.method,
        "recompute": subject.name,
        "kept for backward": f"{subject.held / 2**20:.2f} MiB",
        "of none's": f"{subject.held / plain.held:.2f}",
        "step": f"{1000 * np.median(subject.seconds):.1f} ms",
        "time / none's (10 % to 90 %)": written(ratios(subject.seconds, plain.seconds)),
    }


def _sample(subject: Subject) -> dict[str, Any]:
    return {
        "method": subject.method,
        "recompute": subject.how,
        "kept_bytes": subject.held,
        "step_seconds": subject.seconds,
        "not_captured": subject.trainer.runner.fallback,
    }
