"""One pack from backbone to records: load, attach, train, predict, score."""

from __future__ import annotations

import dataclasses
import time
import weakref
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch

from harness.core.errors import CellFailed, UserError
from harness.core.failure import OutOfMemory, Unfit, free_again, one_line, out_of_memory
from harness.core.interrupt import deferred
from harness.core.method import Calibration, Evaluated, Initial, Member, Suite, TaskData
from harness.core.record import Parameters, Phases, TrainState
from harness.core.seeds import Streams
from harness.data.inputs import Inputs
from harness.data.task_types import task_type
from harness.data.task_types.base import Losses, Split
from harness.models.adapter_save import with_drawn
from harness.models.backbone import Held, held
from harness.models.load import drawn_notes, load_model, newly_drawn
from harness.models.simulated import NOTE
from harness.planning.packs import Pack
from harness.planning.schedule import total_steps
from harness.replicas.cuda_graph import side_stream
from harness.replicas.groups import Attached
from harness.training.checkpoint import Pace, Saved
from harness.training.recompute import recompute
from harness.training.result import Result
from harness.training.scoring import score_pack
from harness.training.trainer import Trainer

if TYPE_CHECKING:
    from harness.core.listener import Listener
    from harness.models.source import ModelSource


@dataclasses.dataclass
class Work:
    """All that a pack needs; no step reads anything else. `initials`: what each member starts from, if anything."""

    pack: Pack
    suite: Suite
    data: TaskData
    source: ModelSource
    inputs: Inputs
    input_seconds: float
    device: str
    initials: Sequence[Initial | None] = ()
    save_adapters: bool = False


def load_backbone(work: Work) -> torch.nn.Module:
    """A fresh backbone, frozen unless the method trains it."""
    cell = work.pack.cells[0]
    return load_model(
        work.source,
        work.suite.tasks[cell.task].outputs,
        dtype=cell.dtype,
        quantize=cell.quantize,
        device=work.device,
        attention_dropout=cell.protocol.attention_dropout,
        trained_backbone=work.pack.methods[0].trains_backbone,
    )


CALIBRATION_ROWS, CALIBRATION_BATCH = 128, 16


def calibration_of(split: Split, losses: Losses) -> Calibration:
    """The first rows of a fixed shuffle of the training rows, the same for each seed and method."""
    chosen = np.random.default_rng(0).permutation(len(split))[:CALIBRATION_ROWS]
    parts = [chosen[i : i + CALIBRATION_BATCH] for i in range(0, len(chosen), CALIBRATION_BATCH)]
    return Calibration(
        [(split.batch(rows), split.targets(split.place(rows), split.shape(rows))) for rows in parts], losses
    )


def attach_pack(
    model: torch.nn.Module, pack: Pack, split: Split, losses: Losses, initials: Sequence[Initial | None] = ()
) -> tuple[Attached, list[Streams]]:
    """Put the pack's methods on the model; `split` has the training rows."""
    streams = [Streams(c.seeds) for c in pack.cells]
    steps = [total_steps(c.protocol, len(split)) for c in pack.cells]
    given = initials or [None] * len(streams)
    members = [Member(*facts) for facts in zip(pack.methods, streams, steps, given, strict=True)]
    try:
        with side_stream(split.device):  # a calibration's products too: each stream costs a workspace of cuBLAS
            attached = pack.methods[0].attach(model, members, calibration_of(split, losses))
        recompute(model, pack.cells[0].recompute, attached)
    except UserError as error:
        raise CellFailed(str(error)) from error  # a method that refuses fails its cell; other user errors end the run
    return attached, streams


def counts(backbone: Held, attached: Attached, slot: int) -> tuple[Parameters, TrainState]:
    """Numbers of one member, from the groups that really train."""
    parameters = Parameters(
        adapter_trained=attached.count("adapter", slot),
        adapter_frozen=attached.stored[slot],
        head_trained=attached.count("head", slot),
        backbone=backbone.numbers,
        backbone_trained=attached.count("backbone", slot),
    )
    trained = sum(g.bytes_of(slot) for g in attached.groups)
    optimizer = sum(g.state_bytes(slot) for g in attached.groups)
    state = TrainState(
        weights=trained,
        gradients=trained,
        optimizer=optimizer,
        frozen=attached.frozen_bytes[slot] if attached.frozen_bytes else None if attached.stored[slot] else 0,
        backbone=backbone.weights,
        quantization=backbone.quantization,
    )
    return parameters, state


def run_pack(
    work: Work, listener: Listener, start: Saved | None = None, keep: Callable[[Saved], None] = lambda saved: None
) -> dict[int, Result]:
    """Train and score a pack, or what `start` says of it; results by slot. Raises what method, model or machine raise.

    `keep` gets checkpoints. Raises OutOfMemory where a smaller pack can go on from the last completed step.
    """
    results, held = _run(work, listener, start, keep)
    if any(tensor() is not None for tensor in held):
        free_again()  # a forward pass put in place of a block's own holds that block, and so its weights
    return results


def _run(
    work: Work, listener: Listener, start: Saved | None, keep: Callable[[Saved], None]
) -> tuple[dict[int, Result], list[weakref.ref[torch.Tensor]]]:
    """The results, and what the pack held."""
    run = PackRun(work, start)
    try:
        with deferred(lambda: run.trainer.phase == "between") as interrupted:
            run.train(listener, keep, interrupted)
    except KeyboardInterrupt:
        if run.trainer.intact:
            keep(run.saved())
        raise
    except Exception as error:
        if out_of_memory(error) and run.trainer.intact and len(run.trainer.members) > 1:
            raise OutOfMemory(one_line(error), run.saved()) from error
        raise
    results = {slot: dataclasses.replace(result, phases=run.phases()) for slot, result in run.results.items()}
    return results, [weakref.ref(tensor) for tensor in run.tensors()]


class PackRun:
    """A pack on its way: its trainer, the results of those that have left, and its time."""

    def __init__(self, work: Work, start: Saved | None = None) -> None:
        began = time.perf_counter()
        self.work, self.cell = work, work.pack.cells[0]
        if work.device == "cuda":
            torch.cuda.reset_peak_memory_stats()
        self.model = load_backbone(work)
        self.drawn = {name: p for name, p in self.model.named_parameters() if name in newly_drawn(self.model)}
        own = list(self.model.parameters())
        self.notes = drawn_notes(self.model)
        loaded = time.perf_counter()
        split = work.inputs.splits["train"].to(work.device)
        losses = task_type(work.suite.tasks[self.cell.task].kind).losses(self.cell.protocol)
        self.attached, streams = attach_pack(self.model, work.pack, split, losses, work.initials)
        backbone = held(self.model, own)
        self.ready = time.perf_counter()
        self.autocast = self.cell.dtype == "bf16" and work.pack.methods[0].autocasts
        protocols = [c.protocol for c in work.pack.cells]
        self.measured = [counts(backbone, self.attached, slot) for slot in range(len(protocols))]
        self.trainer = Trainer(self.model, self.attached, split, protocols, streams, losses, autocast=self.autocast)
        self.before = Phases(
            load=loaded - began, input=work.input_seconds, attach=self.ready - loaded, train=0, evaluate=0
        )
        self.scoring, self.told = 0.0, False
        self.results: dict[int, Result] = {}
        self.marks: dict[str, int] = {}
        if start is not None:
            self._go_on(start)

    def _go_on(self, start: Saved) -> None:
        try:
            self.trainer.restore(start.state, start.members)
        except (ValueError, KeyError, IndexError, TypeError, AttributeError) as error:
            raise Unfit(f"the checkpoint does not fit ({type(error).__name__})") from error
        except RuntimeError as error:
            if out_of_memory(error):
                raise
            raise Unfit("the checkpoint does not fit (RuntimeError)") from error
        self.before = added(self.before, start.spent)
        self.results, self.marks = dict(start.results), dict(start.marks)

    def train(self, listener: Listener, keep: Callable[[Saved], None], interrupted: Callable[[], None]) -> None:
        """To the end, with a checkpoint now and then."""
        pace = Pace(self.trainer.state_bytes)

        def completed() -> None:
            interrupted()
            if self.trainer.runner.fallback and not self.told:
                self.told = True
                listener.note(f"{self.cell.task}: steps run without a CUDA graph: {self.trainer.runner.fallback}")
            if pace.due():
                with pace.writing():
                    keep(self.saved())

        self.trainer.run(self._finished, listener.step, completed)

    def tensors(self) -> Iterator[torch.Tensor]:
        """What takes its memory: weights, and what trains."""
        yield from self.model.parameters()
        yield from (group.theta for group in self.attached.groups)

    def saved(self) -> Saved:
        """Where it stands."""
        keys = tuple(c.key for c in self.work.pack.cells)
        members, step = tuple(self.trainer.members), self.trainer.optimizer.steps
        return Saved(keys, members, step, self.trainer.state(), dict(self.results), self.phases(), self.marks)

    def phases(self) -> Phases:
        """Its time so far, earlier sittings included."""
        captured = self.trainer.runner.seconds
        train = time.perf_counter() - self.ready - self.scoring - captured
        since = Phases(load=0, input=0, attach=0, train=train, capture=captured, evaluate=self.scoring)
        return added(self.before, since)

    def _finished(self, members: Sequence[int]) -> None:
        """Score the pack; results of those that have taken their last step."""
        began = time.perf_counter()
        try:
            scored = score_pack(self.work, self.trainer.model, len(members), autocast=self.autocast)
            for slot, member in enumerate(members):
                if self.trainer.totals[member] == self.trainer.optimizer.steps:
                    self.results[member] = self._result(slot, member, scored[slot])
        finally:
            self.scoring += time.perf_counter() - began

    def _result(self, slot: int, member: int, scored: Evaluated | None) -> Result:
        trained, measured = self.trainer.trained[member], self.measured[member]
        extra = self.attached.extra_for(slot) | self.marks | ({"quantize": NOTE} if self.cell.simulated else {})
        if self.trainer.runner.fallback:
            extra["not captured"] = self.trainer.runner.fallback
        if scored is None:
            trained.broke_at = trained.broke_at or trained.steps
            made = Result(trained, {}, None, *measured, extra=extra)
        else:
            made = Result(trained, scored.scores, scored.predictions, *measured, extra=extra | scored.extra)
        made.notes = self.notes
        method = self.work.pack.methods[member]
        if self.work.save_adapters and method.exports and trained.broke_at is None:
            made.adapter = with_drawn(method.export(self.model, self.attached, slot), self.drawn)
            if self.drawn:
                made.extra["drawn at random, kept in the adapter"] = sorted(self.drawn)
        return made


def added(one: Phases, other: Phases) -> Phases:
    """Phase by phase."""
    return Phases(**{name: value + getattr(other, name) for name, value in one.model_dump().items()})
