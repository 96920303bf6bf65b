"""Measure the memory of one method of ours or of the baseline, alone in its process."""

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
    """One measurement, of `baseline` in place of our method if given; without `peak` only saved activations count."""

    name: str
    question: ProfileRequest
    baseline: TrainerBaseline | None = None
    peak: bool = True


@dataclasses.dataclass(frozen=True)
class MemoryMeasurement:
    """Bytes: gradients and AdamW moments of trainable parameters (head excluded), and saved activations (`kept`).

    `predicted` and `counted` are the shares of the peak by category.
    """

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
    """Measurements of jobs in this process; a job with a peak must be the only one."""
    load_all()
    with silence_warnings():
        return [_measure_harness(job) if job.baseline is None else _measure_baseline(job, job.baseline) for job in jobs]


def _measure_harness(job: MemoryJob) -> MemoryMeasurement:
    """Memory of our method."""
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
    except Exception as error:  # whatever a method raises that reads values of fake tensors
        return {"reason": f"not predicted: {type(error).__name__}: {error}"}


def _exclude_head(model: torch.nn.Module) -> list[torch.nn.Parameter]:
    """Trainable parameters outside of the classification head, by transformers' names of heads."""
    heads = {"classifier", "score"}
    return [p for name, p in model.named_parameters() if p.requires_grad and heads.isdisjoint(name.split("."))]


def _measure_baseline(job: MemoryJob, baseline: TrainerBaseline) -> MemoryMeasurement:
    """Memory of the baseline in Trainer's own loop."""
    question, cuda = job.question, job.question.device == "cuda"
    choose_threads(question.threads)
    model = load_baseline(baseline, question)
    # from the loaded backbone on, as our profiles measure it
    start = RssPeak().start
    steady: list[RssPeak] = []
    model = add_adapter(model, baseline, question)
    gradients: list[int] = []

    def before_update(args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        gradients.append(sum(p.grad.nbytes for p in _exclude_head(model) if p.grad is not None))

    def after_step(args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.global_step == 1:  # our peaks are of the steps after the first, too
            if cuda:
                torch.cuda.reset_peak_memory_stats()
            steady.append(RssPeak())

    with tempfile.TemporaryDirectory() as folder:
        trainer = build_hf_trainer(model, question, WARMUP_STEPS + TIMED_STEPS, folder)
        trainer.add_callback(build_callback(on_pre_optimizer_step=before_update, on_step_end=after_step))
        trainer.train()
    peak = torch.cuda.max_memory_allocated() if cuda else steady[0].measure_above(start)
    state = trainer.optimizer.state
    moments = 0
    for parameter in _exclude_head(model):
        moments += sum(tensor.nbytes for name, tensor in state[parameter].items() if name != "step")
    return MemoryMeasurement(job.name, gradients[-1], moments, _measure_activations(trainer, question), peak)


def _measure_activations(trainer: Any, question: ProfileRequest) -> int:
    """Bytes of the activations that Trainer's forward pass saves for the backward pass."""
    batch = {n: t.to(question.device) for n, t in next(iter(trainer.get_train_dataloader())).items()}
    trainer.model.train()
    with trainer.compute_loss_context_manager():
        return measure_saved_activations(lambda: trainer.model(**batch).loss)
