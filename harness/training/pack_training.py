"""Train one pack: load the backbone, attach the methods, train, predict, score.

    job, tokenized rows
       load_backbone ──> attach_methods ──> Trainer.run ──> score_pack ──> Result by slot
                                              │   ^
                      PackCheckpoint <────────┘   └── restore, if the job resumes

pack_setup.py has the first two steps. A member is a slot of the pack. Its number stays the same when other members
leave; its row in the trainer's tensors changes.
"""

from __future__ import annotations

import dataclasses
import functools
import time
import weakref
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

import torch

from harness.core.failure import CheckpointMismatch, OutOfMemory, is_out_of_memory, release_memory, summarize_error
from harness.core.interrupt import defer_interrupts
from harness.core.method import Evaluated
from harness.core.quantization import SIMULATED_NOTE
from harness.core.record import Phases
from harness.data.inputs import Inputs
from harness.data.task_types import load_task_type
from harness.data.task_types.base import Losses, Split
from harness.models.adapter_load import load_initial
from harness.models.adapter_save import add_drawn_parameters
from harness.models.backbone import measure_storage
from harness.models.weights_report import describe_drawn_parameters, list_drawn_parameters
from harness.training.checkpoint import PackCheckpoint
from harness.training.checkpoint_timer import CheckpointTimer
from harness.training.forgetting import ForgettingLoss
from harness.training.pack_job import PackJob
from harness.training.pack_setup import attach_methods, build_calibration, count_parameters, load_backbone
from harness.training.result import Result
from harness.training.scoring import score_pack
from harness.training.trainer import Trainer

if TYPE_CHECKING:
    from harness.core.listener import Listener
    from harness.training.sharpness import PackSharpness


def train_pack(
    job: PackJob,
    inputs: Inputs,
    input_seconds: float,
    device: str,
    listener: Listener,
    save_checkpoint: Callable[[PackCheckpoint], None] = lambda checkpoint: None,
) -> dict[int, Result]:
    """Results by slot of a job's pack, trained and scored.

    `inputs` are the task's tokenized rows, which took `input_seconds`. `save_checkpoint` is called when a checkpoint is
    due and on Ctrl-C. Raises OutOfMemory with a checkpoint if smaller packs can resume from the last completed step,
    and any other error of the method, the model or the machine.
    """
    run = PackTraining(job, inputs, input_seconds, device)
    try:
        with defer_interrupts(functools.partial(_is_between_steps, run.trainer)) as raise_interrupt:
            after_step = run.build_step_callback(listener, save_checkpoint, raise_interrupt)
            run.trainer.run(run.finish, listener.step, after_step)
    except KeyboardInterrupt:
        if run.trainer.is_intact:
            save_checkpoint(run.checkpoint())
        raise
    except Exception as error:
        # a single member cannot be split, and half an update cannot be resumed
        if is_out_of_memory(error) and run.trainer.is_intact and len(run.trainer.members) > 1:
            raise OutOfMemory(summarize_error(error), run.checkpoint()) from error
        raise
    results = {slot: dataclasses.replace(result, phases=run.phases()) for slot, result in run.results.items()}
    tensors = [weakref.ref(tensor) for tensor in run.tensors()]
    # without reference cycles the pack's tensors are free now; collecting garbage after every pack would take time
    del run, after_step, raise_interrupt
    if any(tensor() is not None for tensor in tensors):
        release_memory()  # a replaced forward method refers to its own block, a cycle that holds the weights
    return results


def _is_between_steps(trainer: Trainer) -> bool:
    return trainer.phase == "between"


class PackTraining:
    """A pack in training: its trainer, the results of members that have finished, and its time in seconds.

    The constructor loads, attaches and, if the job resumes, restores the checkpoint.
    """

    def __init__(self, job: PackJob, inputs: Inputs, input_seconds: float, device: str) -> None:
        start_time = time.perf_counter()
        self.job, self.inputs, self.device = job, inputs, device
        self.first, self.cell = job.pack.first, job.pack.first.cell
        if device == "cuda":
            torch.cuda.reset_peak_memory_stats()
        self.model = load_backbone(self.cell, self.first.method, self.first.task, self.first.source, device)
        # an exported adapter must hold these: they are drawn at random and are not in the files of the backbone
        drawn_names = list_drawn_parameters(self.model)
        self.drawn_parameters = {name: p for name, p in self.model.named_parameters() if name in drawn_names}
        backbone_parameters = list(self.model.parameters())  # before the adapter adds its own
        self.notes = describe_drawn_parameters(self.model)
        load_time = time.perf_counter()
        self.autocast = self.cell.dtype == "bf16" and self.first.method.autocasts
        # before anything is attached: the loss of the backbone as it was pretrained
        self.forgetting_loss = self._measure_forgetting_loss()
        forgetting_seconds = time.perf_counter() - load_time
        split = inputs.splits["train"].to(device)
        losses = load_task_type(self.first.task.kind).losses(self.cell.protocol)
        initials = [None if member.start is None else load_initial(member.start) for member in job.pack.members]
        self.attached, streams = attach_methods(self.model, job.pack.cells, job.pack.methods, split, losses, initials)
        backbone = measure_storage(self.model, backbone_parameters)
        self.ready = time.perf_counter()
        protocols = [c.protocol for c in job.pack.cells]
        self.member_counts = [count_parameters(backbone, self.attached, *member) for member in enumerate(protocols)]
        self.trainer = Trainer(self.model, self.attached, split, protocols, streams, losses, autocast=self.autocast)
        self.earlier_phases = Phases(
            load=load_time - start_time,
            input=input_seconds,
            attach=self.ready - load_time - forgetting_seconds,
            train=0,
            evaluate=forgetting_seconds,
        )
        self.scoring_seconds, self.noted_fallback = 0.0, False
        # before a checkpoint is restored: at the initial values, which follow from the seeds
        self.sharpness = self._measure_sharpness(split, losses) if job.sharpness else None
        self.results: dict[int, Result] = {}
        self.marks: dict[str, int] = {}
        if job.start is not None:
            self._resume(job.start)

    def _measure_forgetting_loss(self) -> ForgettingLoss | None:
        """The forgetting text of the task with the backbone's loss; None for a task without one."""
        text = self.first.suite.get_forgetting_text(self.first.task.name, synthetic=self.first.source.stand_in)
        if text is None:
            return None
        return ForgettingLoss(text, self.model, self.inputs.tokenizer, autocast=self.autocast)

    def _measure_sharpness(self, split: Split, losses: Losses) -> PackSharpness:
        """The sharpness of all members at their initial values."""
        from harness.training.sharpness import PackSharpness  # imports scipy, which training does not need

        began = time.perf_counter()
        sharpness = PackSharpness(self.trainer.model, self.attached, build_calibration(split, losses))
        self.scoring_seconds += time.perf_counter() - began
        return sharpness

    def _resume(self, start: PackCheckpoint) -> None:
        """Restore a checkpoint. Raises CheckpointMismatch if the state does not fit the attached pack."""
        try:
            self.trainer.restore(start.state, start.members)
        except (ValueError, KeyError, IndexError, TypeError, AttributeError) as error:
            raise CheckpointMismatch(f"the checkpoint does not fit ({type(error).__name__})") from error
        except RuntimeError as error:
            if is_out_of_memory(error):
                raise
            raise CheckpointMismatch("the checkpoint does not fit (RuntimeError)") from error
        self.earlier_phases = add_phases(self.earlier_phases, start.spent)
        self.results, self.marks = dict(start.results), dict(start.marks)

    def build_step_callback(
        self,
        listener: Listener,
        save_checkpoint: Callable[[PackCheckpoint], None],
        raise_interrupt: Callable[[], None],
    ) -> Callable[[], None]:
        """A function to call between two steps: it raises a pending interrupt and saves a checkpoint that is due."""
        timer = CheckpointTimer(self.trainer.state_bytes)

        def completed() -> None:
            raise_interrupt()
            if self.trainer.runner.fallback and not self.noted_fallback:
                self.noted_fallback = True
                listener.note(f"{self.cell.task}: steps run without a CUDA graph: {self.trainer.runner.fallback}")
            if timer.is_due():
                with timer.time_write():
                    save_checkpoint(self.checkpoint())

        return completed

    def tensors(self) -> Iterator[torch.Tensor]:
        """The tensors that hold most of the pack's memory: weights, and the trained values [K, N] of each group."""
        yield from self.model.parameters()
        yield from (group.theta for group in self.attached.groups)

    def checkpoint(self) -> PackCheckpoint:
        """A checkpoint of the pack after the last completed step."""
        members, step = tuple(self.trainer.members), self.trainer.optimizer.steps
        keys, state = self.job.pack.keys, self.trainer.state()
        return PackCheckpoint(keys, members, step, state, dict(self.results), self.phases(), self.marks)

    def phases(self) -> Phases:
        """Seconds so far by phase, including those before a resume."""
        capture_seconds = self.trainer.runner.seconds
        train_seconds = time.perf_counter() - self.ready - self.scoring_seconds - capture_seconds
        current = Phases(
            load=0, input=0, attach=0, train=train_seconds, capture=capture_seconds, evaluate=self.scoring_seconds
        )
        return add_phases(self.earlier_phases, current)

    def finish(self, members: Sequence[int]) -> None:
        """Score the pack and store results of the members that have taken their last step."""
        began = time.perf_counter()
        try:
            scored = score_pack(
                self.first, self.inputs, self.device, self.trainer.model, len(members), autocast=self.autocast
            )
            losses = self.forgetting_loss.compute(self.trainer.model, len(members)) if self.forgetting_loss else []
            sharpness = self.sharpness.describe(members) if self.sharpness else []
            for row, member in enumerate(members):
                if self.trainer.totals[member] == self.trainer.optimizer.steps:
                    self.results[member] = self._build_result(row, member, scored[row])
                    if self.forgetting_loss:
                        self.results[member].forgetting = self.forgetting_loss.describe(losses[row])
                    if self.sharpness:
                        self.results[member].sharpness = sharpness[row]
        finally:
            self.scoring_seconds += time.perf_counter() - began

    def _build_result(self, row: int, member: int, scored: Evaluated | None) -> Result:
        """The result of a member in row `row` of the pack's tensors; `scored` is None if an output is not finite."""
        history, counts = self.trainer.histories[member], self.member_counts[member]
        simulated = {"quantize": SIMULATED_NOTE} if self.cell.is_simulated else {}
        extra = self.attached.collect_extra(row) | self.marks | simulated
        if self.trainer.runner.fallback:
            extra["not captured"] = self.trainer.runner.fallback
        if scored is None:
            history.broke_at = history.broke_at or history.steps
            result = Result(history, {}, None, *counts, extra=extra)
        else:
            result = Result(history, scored.scores, scored.predictions, *counts, extra=extra | scored.extra)
        result.notes = self.notes
        method = self.job.pack.methods[member]
        if self.job.save_adapters and method.exports and history.broke_at is None:
            result.adapter = add_drawn_parameters(method.export(self.model, self.attached, row), self.drawn_parameters)
            if self.drawn_parameters:
                result.extra["drawn at random, kept in the adapter"] = sorted(self.drawn_parameters)
        return result


def add_phases(one: Phases, other: Phases) -> Phases:
    """The sum of two times, phase by phase."""
    return Phases(**{name: value + getattr(other, name) for name, value in one.model_dump().items()})
