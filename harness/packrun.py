"""One pack from backbone to records: load, attach, train, predict, score."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from harness.backbone import Held, held
from harness.contracts import Calibration, Evaluated, Exported, Initial, Member, Suite, TaskData
from harness.errors import CellFailed, UserError
from harness.groups import Attached
from harness.inputs import Inputs
from harness.models import load_model
from harness.packs import Pack
from harness.recompute import recompute
from harness.record import Parameters, Phases, TrainState
from harness.schedule import total_steps
from harness.scoring import score_pack
from harness.seeds import Streams
from harness.simulated import NOTE
from harness.task_types import task_type
from harness.task_types.base import Losses, Split
from harness.train import Trained, Trainer

if TYPE_CHECKING:
    import pandas as pd

    from harness.model_source import ModelSource

Progress = Callable[[int, Sequence[float]], None]


@dataclasses.dataclass
class Result:
    """What came of one member of a pack."""

    trained: Trained
    scores: dict[str, float]
    predictions: pd.DataFrame | None
    parameters: Parameters
    state: TrainState
    phases: Phases | None = None
    extra: dict[str, Any] = dataclasses.field(default_factory=dict)
    adapter: Exported | None = None


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


def run_pack(work: Work, progress: Progress) -> list[Result]:
    """Train and score each member of a pack. Raises what the method, the model or the machine raises."""
    started = time.perf_counter()
    cell = work.pack.cells[0]
    model = load_backbone(work)
    own = list(model.parameters())
    loaded = time.perf_counter()
    split = work.inputs.splits["train"].to(work.device)
    losses = task_type(work.suite.tasks[cell.task].kind).losses(cell.protocol)
    attached, streams = attach_pack(model, work.pack, split, losses, work.initials)
    backbone = held(model, own)
    ready = time.perf_counter()
    autocast = cell.dtype == "bf16" and work.pack.methods[0].autocasts
    protocols = [c.protocol for c in work.pack.cells]
    results: dict[int, Result] = {}
    measured = [counts(backbone, attached, slot) for slot in range(len(protocols))]
    trainer = Trainer(model, attached, split, protocols, streams, losses, autocast=autocast)
    scoring = 0.0
    note = {"quantize": NOTE} if cell.simulated else {}

    def finished(members: Sequence[int]) -> None:
        nonlocal scoring
        before = time.perf_counter()
        scored = score_pack(work, trainer.model, len(members), autocast=autocast)
        for slot, member in enumerate(members):
            if trainer.totals[member] == trainer.optimizer.steps:
                extra = attached.extra_for(slot) | note
                if trainer.runner.fallback:
                    extra["not captured"] = trainer.runner.fallback
                made = _result(trainer.trained[member], scored[slot], *measured[member], extra)
                method = work.pack.methods[member]
                if work.save_adapters and method.exports and made.trained.broke_at is None:
                    made.adapter = method.export(model, attached, slot)
                results[member] = made
        scoring += time.perf_counter() - before

    trainer.run(finished, progress)
    phases = Phases(
        load=loaded - started,
        input=work.input_seconds,
        attach=ready - loaded,
        train=time.perf_counter() - ready - scoring - trainer.runner.seconds,
        capture=trainer.runner.seconds,
        evaluate=scoring,
    )
    return [dataclasses.replace(results[i], phases=phases) for i in range(len(protocols))]


def _result(
    trained: Trained, scored: Evaluated | None, parameters: Parameters, state: TrainState, extra: dict[str, Any]
) -> Result:
    if scored is None:
        trained.broke_at = trained.broke_at or trained.steps
        return Result(trained, {}, None, parameters, state, extra=extra)
    return Result(trained, scored.scores, scored.predictions, parameters, state, extra=extra | scored.extra)
