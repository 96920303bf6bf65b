"""One pack from backbone to records: load, attach, train, predict, score."""

from __future__ import annotations

import dataclasses
import functools
import time
import weakref
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch

from harness.core.cell import Cell
from harness.core.errors import CellFailed, UserError
from harness.core.failure import CheckpointMismatch, OutOfMemory, is_out_of_memory, release_memory, summarize_error
from harness.core.interrupt import defer_interrupts
from harness.core.method import Calibration, Evaluated, Initial, Member, Method
from harness.core.quantization import SIMULATED_NOTE
from harness.core.record import Parameters, Phases, TrainState
from harness.core.seeds import Streams
from harness.data.inputs import Inputs
from harness.data.task_types import load_task_type
from harness.data.task_types.base import Losses, Split
from harness.models.adapter_load import load_initial
from harness.models.adapter_save import add_drawn_parameters
from harness.models.backbone import BackboneStorage, measure_storage
from harness.models.load import describe_drawn_parameters, list_drawn_parameters, load_model
from harness.planning.planned_cell import PlannedCell
from harness.planning.schedule import count_steps
from harness.replicas.cuda_graph import use_side_stream
from harness.replicas.groups import Attached
from harness.training.checkpoint import CheckpointTimer, PackCheckpoint
from harness.training.pack_job import PackJob
from harness.training.recompute import apply_checkpointing
from harness.training.result import Result
from harness.training.scoring import score_pack
from harness.training.trainer import Trainer

if TYPE_CHECKING:
    from harness.core.listener import Listener


def load_backbone(planned: PlannedCell, device: str) -> torch.nn.Module:
    """A fresh backbone, frozen unless the method trains it."""
    cell = planned.cell
    return load_model(
        planned.source,
        planned.task.outputs,
        dtype=cell.dtype,
        quantize=cell.quantize,
        device=device,
        attention_dropout=cell.protocol.attention_dropout,
        trained_backbone=planned.method.trains_backbone,
    )


CALIBRATION_ROWS, CALIBRATION_BATCH = 128, 16


def build_calibration(split: Split, losses: Losses) -> Calibration:
    """The first rows of a fixed shuffle of the training rows, the same for each seed and method."""
    indices = np.random.default_rng(0).permutation(len(split))[:CALIBRATION_ROWS]
    batches = [indices[i : i + CALIBRATION_BATCH] for i in range(0, len(indices), CALIBRATION_BATCH)]
    return Calibration(
        [(split.batch(rows), split.targets(split.place(rows), split.shape(rows))) for rows in batches], losses
    )


def attach_methods(
    model: torch.nn.Module,
    cells: Sequence[Cell],
    methods: Sequence[Method],
    split: Split,
    losses: Losses,
    initials: Sequence[Initial | None] = (),
) -> tuple[Attached, list[Streams]]:
    """Put the methods of a pack's cells on the model; `split` has the training rows."""
    streams = [Streams(c.seeds) for c in cells]
    steps = [count_steps(c.protocol, len(split)) for c in cells]
    given = initials or [None] * len(streams)
    members = [Member(*facts) for facts in zip(methods, streams, steps, given, strict=True)]
    try:
        with use_side_stream(split.device):  # a calibration's products too: each stream costs a workspace of cuBLAS
            attached = methods[0].attach(model, members, build_calibration(split, losses))
        apply_checkpointing(model, cells[0].recompute, attached)
    except UserError as error:
        raise CellFailed(str(error)) from error  # a method that refuses fails its cell; other user errors end the run
    return attached, streams


def count_parameters(backbone: BackboneStorage, attached: Attached, slot: int) -> tuple[Parameters, TrainState]:
    """Numbers of one member, from the groups that really train."""
    parameters = Parameters(
        adapter_trained=attached.count("adapter", slot),
        adapter_frozen=attached.stored[slot],
        head_trained=attached.count("head", slot),
        backbone=backbone.numbers,
        backbone_trained=attached.count("backbone", slot),
    )
    trained_bytes = sum(g.count_trained_bytes(slot) for g in attached.groups)
    optimizer_bytes = sum(g.state_bytes(slot) for g in attached.groups)
    state = TrainState(
        weights=trained_bytes,
        gradients=trained_bytes,
        optimizer=optimizer_bytes,
        frozen=attached.frozen_bytes[slot] if attached.frozen_bytes else None if attached.stored[slot] else 0,
        backbone=backbone.weights,
        quantization=backbone.quantization,
    )
    return parameters, state


def train_pack(
    job: PackJob,
    inputs: Inputs,
    input_seconds: float,
    device: str,
    listener: Listener,
    keep: Callable[[PackCheckpoint], None] = lambda saved: None,
) -> dict[int, Result]:
    """Train and score a job's pack; results by slot. Raises what method, model or machine raise.

    `inputs` are the task's tokenized rows, which took `input_seconds`; `keep` gets checkpoints. Raises OutOfMemory
    where a smaller pack can go on from the last completed step.
    """
    run = PackTraining(job, inputs, input_seconds, device)
    try:
        with defer_interrupts(functools.partial(_is_between_steps, run.trainer)) as interrupted:
            run.trainer.run(run.finish, listener.step, run.after_step(listener, keep, interrupted))
    except KeyboardInterrupt:
        if run.trainer.is_intact:
            keep(run.checkpoint())
        raise
    except Exception as error:
        if is_out_of_memory(error) and run.trainer.is_intact and len(run.trainer.members) > 1:
            raise OutOfMemory(summarize_error(error), run.checkpoint()) from error
        raise
    results = {slot: dataclasses.replace(result, phases=run.phases()) for slot, result in run.results.items()}
    tensors = [weakref.ref(tensor) for tensor in run.tensors()]
    del run, interrupted
    if any(tensor() is not None for tensor in tensors):
        release_memory()  # a forward pass put in place of a block's own holds that block, and so its weights
    return results


def _is_between_steps(trainer: Trainer) -> bool:
    return trainer.phase == "between"


class PackTraining:
    """A pack on its way: its trainer, the results of those that have left, and its time."""

    def __init__(self, job: PackJob, inputs: Inputs, input_seconds: float, device: str) -> None:
        start_time = time.perf_counter()
        self.job, self.inputs, self.device = job, inputs, device
        self.first, self.cell = job.pack.first, job.pack.first.cell
        if device == "cuda":
            torch.cuda.reset_peak_memory_stats()
        self.model = load_backbone(self.first, device)
        self.drawn = {name: p for name, p in self.model.named_parameters() if name in list_drawn_parameters(self.model)}
        backbone_parameters = list(self.model.parameters())
        self.notes = describe_drawn_parameters(self.model)
        load_time = time.perf_counter()
        split = inputs.splits["train"].to(device)
        losses = load_task_type(self.first.task.kind).losses(self.cell.protocol)
        initials = [None if member.start is None else load_initial(member.start) for member in job.pack.members]
        self.attached, streams = attach_methods(self.model, job.pack.cells, job.pack.methods, split, losses, initials)
        backbone = measure_storage(self.model, backbone_parameters)
        self.ready = time.perf_counter()
        self.autocast = self.cell.dtype == "bf16" and self.first.method.autocasts
        protocols = [c.protocol for c in job.pack.cells]
        self.measured = [count_parameters(backbone, self.attached, slot) for slot in range(len(protocols))]
        self.trainer = Trainer(self.model, self.attached, split, protocols, streams, losses, autocast=self.autocast)
        self.before = Phases(
            load=load_time - start_time, input=input_seconds, attach=self.ready - load_time, train=0, evaluate=0
        )
        self.scoring, self.told = 0.0, False
        self.results: dict[int, Result] = {}
        self.marks: dict[str, int] = {}
        if job.start is not None:
            self._resume(job.start)

    def _resume(self, start: PackCheckpoint) -> None:
        try:
            self.trainer.restore(start.state, start.members)
        except (ValueError, KeyError, IndexError, TypeError, AttributeError) as error:
            raise CheckpointMismatch(f"the checkpoint does not fit ({type(error).__name__})") from error
        except RuntimeError as error:
            if is_out_of_memory(error):
                raise
            raise CheckpointMismatch("the checkpoint does not fit (RuntimeError)") from error
        self.before = add_phases(self.before, start.spent)
        self.results, self.marks = dict(start.results), dict(start.marks)

    def after_step(
        self, listener: Listener, keep: Callable[[PackCheckpoint], None], interrupted: Callable[[], None]
    ) -> Callable[[], None]:
        """What happens between two steps: interrupts are raised, and now and then a checkpoint is written."""
        pace = CheckpointTimer(self.trainer.state_bytes)

        def completed() -> None:
            interrupted()
            if self.trainer.runner.fallback and not self.told:
                self.told = True
                listener.note(f"{self.cell.task}: steps run without a CUDA graph: {self.trainer.runner.fallback}")
            if pace.is_due():
                with pace.time_write():
                    keep(self.checkpoint())

        return completed

    def tensors(self) -> Iterator[torch.Tensor]:
        """What takes its memory: weights, and what trains."""
        yield from self.model.parameters()
        yield from (group.theta for group in self.attached.groups)

    def checkpoint(self) -> PackCheckpoint:
        """Where it stands."""
        members, step = tuple(self.trainer.members), self.trainer.optimizer.steps
        keys, state = self.job.pack.keys, self.trainer.state()
        return PackCheckpoint(keys, members, step, state, dict(self.results), self.phases(), self.marks)

    def phases(self) -> Phases:
        """Its time so far, earlier sittings included."""
        capture_seconds = self.trainer.runner.seconds
        train_seconds = time.perf_counter() - self.ready - self.scoring - capture_seconds
        current = Phases(load=0, input=0, attach=0, train=train_seconds, capture=capture_seconds, evaluate=self.scoring)
        return add_phases(self.before, current)

    def finish(self, members: Sequence[int]) -> None:
        """Score the pack; results of those that have taken their last step."""
        began = time.perf_counter()
        try:
            scored = score_pack(
                self.first, self.inputs, self.device, self.trainer.model, len(members), autocast=self.autocast
            )
            for slot, member in enumerate(members):
                if self.trainer.totals[member] == self.trainer.optimizer.steps:
                    self.results[member] = self._build_result(slot, member, scored[slot])
        finally:
            self.scoring += time.perf_counter() - began

    def _build_result(self, slot: int, member: int, scored: Evaluated | None) -> Result:
        trained, numbers = self.trainer.trained[member], self.measured[member]
        simulated = {"quantize": SIMULATED_NOTE} if self.cell.is_simulated else {}
        extra = self.attached.collect_extra(slot) | self.marks | simulated
        if self.trainer.runner.fallback:
            extra["not captured"] = self.trainer.runner.fallback
        if scored is None:
            trained.broke_at = trained.broke_at or trained.steps
            result = Result(trained, {}, None, *numbers, extra=extra)
        else:
            result = Result(trained, scored.scores, scored.predictions, *numbers, extra=extra | scored.extra)
        result.notes = self.notes
        method = self.job.pack.methods[member]
        if self.job.save_adapters and method.exports and trained.broke_at is None:
            result.adapter = add_drawn_parameters(method.export(self.model, self.attached, slot), self.drawn)
            if self.drawn:
                result.extra["drawn at random, kept in the adapter"] = sorted(self.drawn)
        return result


def add_phases(one: Phases, other: Phases) -> Phases:
    """Phase by phase."""
    return Phases(**{name: value + getattr(other, name) for name, value in one.model_dump().items()})
