"""What one process measures of memory: a method of ours or Trainer's, alone in it."""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Sequence
from typing import Any

import torch

from harness.bench.silence import silence_warnings
from harness.bench.trainer_baseline import build_callback
from harness.bench.trainer_step import TrainerBaseline, add_adapter, build_hf_trainer, load_baseline
from harness.core.device import choose_threads
from harness.core.registry import load_all
from harness.profiling.activations import measure_saved_activations
from harness.profiling.clocks import TIMED_STEPS, WARMUP_STEPS, RssPeak
from harness.profiling.measure import measure
from harness.profiling.predict import predict
from harness.profiling.prediction import Step
from harness.profiling.request import ProfileRequest, build_trainer, load_alone
from harness.replicas.groups import Attached


@dataclasses.dataclass(frozen=True)
class MemoryJob:
    """One thing to measure; `baseline` is Trainer's in its place; without `peak` only what a step keeps is counted."""

    name: str
    question: ProfileRequest
    baseline: TrainerBaseline | None = None
    peak: bool = True


@dataclasses.dataclass(frozen=True)
class MemoryMeasurement:
    """Bytes. Gradients and moments are those of what trains less the head; `predicted` and `counted` by category."""

    name: str
    gradients: int
    moments: int
    kept: int
    peak: int | None = None
    predicted: dict[str, int] | None = None
    counted: dict[str, int] | None = None
    reason: str | None = None

    @property
    def predicted_peak(self) -> int | None:
        return sum(self.predicted.values()) if self.predicted else None


def measure_jobs(jobs: Sequence[MemoryJob]) -> list[MemoryMeasurement]:
    """Measure some jobs in this process; one with a peak must be its only one."""
    load_all()
    with silence_warnings():
        return [_measure_harness(job) if job.baseline is None else _measure_baseline(job, job.baseline) for job in jobs]


def _measure_harness(job: MemoryJob) -> MemoryMeasurement:
    question = job.question
    choose_threads(question.threads)
    fields: dict[str, Any] = {}
    if job.peak:
        profile = measure(question)
        fields = {"peak": profile.peak_bytes, "counted": profile.shares and profile.shares.model_dump()}
        fields |= {"reason": profile.reason} | _predict_shares(question)
    trainer = build_trainer(question, load_alone(question), 2)
    activations = measure_saved_activations(lambda: trainer.losses(0))
    gradients, moments = _count_trained_bytes(trainer.attached)
    return MemoryMeasurement(job.name, gradients, moments, activations, **fields)


def _count_trained_bytes(attached: Attached) -> tuple[int, int]:
    """Bytes of the gradients and of both moments of all groups but the head."""
    groups = [g for g in attached.groups if g.name != "head"]
    return sum(g.count_trained_bytes(0) for g in groups), sum(g.state_bytes(0) for g in groups)


def _predict_shares(question: ProfileRequest) -> dict[str, Any]:
    step = Step((question.cell,), (question.method,), question.task, question.source, question.length, question.device)
    try:
        return {"predicted": predict(step).shares.model_dump()}
    except Exception as error:  # a method may read numbers where fake tensors have none
        return {"reason": f"not predicted: {type(error).__name__}: {error}"}


def _exclude_head(model: torch.nn.Module) -> list[torch.nn.Parameter]:
    heads = ("classifier", "score")
    return [p for n, p in model.named_parameters() if p.requires_grad and not any(h in n.split(".") for h in heads)]


def _measure_baseline(job: MemoryJob, baseline: TrainerBaseline) -> MemoryMeasurement:
    question, cuda = job.question, job.question.device == "cuda"
    choose_threads(question.threads)
    model = load_baseline(baseline, question)
    start = RssPeak().start
    steady: list[RssPeak] = []
    model = add_adapter(model, baseline, question)
    gradients: list[int] = []

    def before_update(args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        gradients.append(sum(p.grad.nbytes for p in _exclude_head(model) if p.grad is not None))

    def after_step(args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.global_step == 1:  # a peak of ours is of the steps after the first, too
            if cuda:
                torch.cuda.reset_peak_memory_stats()
            steady.append(RssPeak())

    with tempfile.TemporaryDirectory() as folder:
        trainer = build_hf_trainer(model, question, WARMUP_STEPS + TIMED_STEPS, folder)
        trainer.add_callback(build_callback(on_pre_optimizer_step=before_update, on_step_end=after_step))
        trainer.train()
    peak = torch.cuda.max_memory_allocated() if cuda else steady[0].measure_above(start)
    state = trainer.optimizer.state
    moments = sum(t.nbytes for p in _exclude_head(model) for n, t in state[p].items() if n != "step")
    return MemoryMeasurement(job.name, gradients[-1], moments, _measure_activations(trainer, question), peak)


def _measure_activations(trainer: Any, question: ProfileRequest) -> int:
    """Bytes that Trainer's forward pass leaves for the backward pass."""
    batch = {n: t.to(question.device) for n, t in next(iter(trainer.get_train_dataloader())).items()}
    trainer.model.train()
    with trainer.compute_loss_context_manager():
        return measure_saved_activations(lambda: trainer.model(**batch).loss)
