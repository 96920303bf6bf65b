"""What one process measures of memory: a method of ours or Trainer's, alone in it."""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Sequence
from typing import Any

import torch

from harness.activations import held_bytes
from harness.bench.rival import callback
from harness.bench.silence import silenced
from harness.bench.usual import Usual, adapted, loaded, trainer_of
from harness.execute import choose_threads
from harness.groups import Attached
from harness.measure import TIMED_STEPS, WARMUP_STEPS, Question, RssPeak, load_alone, measure, train_alone
from harness.predict import predict
from harness.prediction import Step
from harness.registry import load_all


@dataclasses.dataclass(frozen=True)
class Job:
    """One thing to measure; `usual` is Trainer's in its place; without `peak` only what a step keeps is counted."""

    name: str
    question: Question
    usual: Usual | None = None
    peak: bool = True


@dataclasses.dataclass(frozen=True)
class Found:
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


def take(jobs: Sequence[Job]) -> list[Found]:
    """Measure some jobs in this process; one with a peak must be its only one."""
    load_all()
    with silenced():
        return [_ours(job) if job.usual is None else _usual(job, job.usual) for job in jobs]


def _ours(job: Job) -> Found:
    question = job.question
    choose_threads(question.threads)
    own: dict[str, Any] = {}
    if job.peak:
        profile = measure(question)
        own = {"peak": profile.peak_bytes, "counted": profile.shares and profile.shares.model_dump()}
        own |= {"reason": profile.reason} | _predicted(question)
    trainer = train_alone(question, load_alone(question), 2)
    kept = held_bytes(lambda: trainer.losses(0))
    gradients, moments = _trained(trainer.attached)
    return Found(job.name, gradients, moments, kept, **own)


def _trained(attached: Attached) -> tuple[int, int]:
    """Bytes of the gradients and of both moments of all groups but the head."""
    groups = [g for g in attached.groups if g.name != "head"]
    return sum(g.bytes_of(0) for g in groups), sum(g.state_bytes(0) for g in groups)


def _predicted(question: Question) -> dict[str, Any]:
    step = Step((question.cell,), (question.method,), question.task, question.source, question.length, question.device)
    try:
        return {"predicted": predict(step).shares.model_dump()}
    except Exception as error:  # a method may read numbers where fake tensors have none
        return {"reason": f"not predicted: {type(error).__name__}: {error}"}


def _less_the_head(model: torch.nn.Module) -> list[torch.nn.Parameter]:
    heads = ("classifier", "score")
    return [p for n, p in model.named_parameters() if p.requires_grad and not any(h in n.split(".") for h in heads)]


def _usual(job: Job, usual: Usual) -> Found:
    question, cuda = job.question, job.question.device == "cuda"
    choose_threads(question.threads)
    model = loaded(usual, question)
    start = RssPeak().start
    steady: list[RssPeak] = []
    model = adapted(model, usual, question)
    gradients: list[int] = []

    def before_update(args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        gradients.append(sum(p.grad.nbytes for p in _less_the_head(model) if p.grad is not None))

    def after_step(args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.global_step == 1:  # a peak of ours is of the steps after the first, too
            if cuda:
                torch.cuda.reset_peak_memory_stats()
            steady.append(RssPeak())

    with tempfile.TemporaryDirectory() as folder:
        trainer = trainer_of(model, question, WARMUP_STEPS + TIMED_STEPS, folder)
        trainer.add_callback(callback(on_pre_optimizer_step=before_update, on_step_end=after_step))
        trainer.train()
    peak = torch.cuda.max_memory_allocated() if cuda else steady[0].above(start)
    state = trainer.optimizer.state
    moments = sum(t.nbytes for p in _less_the_head(model) for n, t in state[p].items() if n != "step")
    return Found(job.name, gradients[-1], moments, _kept(trainer, question), peak)


def _kept(trainer: Any, question: Question) -> int:
    """Bytes that Trainer's forward pass leaves for the backward pass."""
    batch = {n: t.to(question.device) for n, t in next(iter(trainer.get_train_dataloader())).items()}
    trainer.model.train()
    with trainer.compute_loss_context_manager():
        return held_bytes(lambda: trainer.model(**batch).loss)
