"""One pack from backbone to records: load, attach, train, predict, score."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch

from harness.contracts import Calibration, Member, Suite, TaskData
from harness.errors import CellFailed, UserError
from harness.evaluate import decisions, predict
from harness.groups import Attached
from harness.models import load_encoder
from harness.packs import Pack
from harness.recompute import recompute
from harness.record import Parameters, Phases, TrainState
from harness.schedule import total_steps
from harness.seeds import Streams
from harness.simulated import NOTE
from harness.tokens import Inputs, Split
from harness.train import Trained, Trainer, replica_losses

if TYPE_CHECKING:
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


@dataclasses.dataclass
class Work:
    """All that a pack needs; no step reads anything else."""

    pack: Pack
    suite: Suite
    data: TaskData
    source: ModelSource
    inputs: Inputs
    input_seconds: float
    device: str


def load_backbone(work: Work) -> torch.nn.Module:
    """A fresh backbone, frozen unless the method trains it."""
    cell = work.pack.cells[0]
    return load_encoder(
        work.source,
        work.suite.tasks[cell.task].outputs,
        dtype=cell.dtype,
        quantize=cell.quantize,
        device=work.device,
        attention_dropout=cell.protocol.attention_dropout,
        trained_backbone=work.pack.methods[0].trains_backbone,
    )


CALIBRATION_ROWS, CALIBRATION_BATCH = 128, 16


def calibration_of(split: Split) -> Calibration:
    """The first rows of a fixed shuffle of the training rows, the same for each seed and method."""
    chosen = np.random.default_rng(0).permutation(len(split))[:CALIBRATION_ROWS]
    parts = [chosen[i : i + CALIBRATION_BATCH] for i in range(0, len(chosen), CALIBRATION_BATCH)]
    return Calibration([(split.batch(rows), split.labels[torch.from_numpy(rows)]) for rows in parts], replica_losses)


def attach_pack(model: torch.nn.Module, pack: Pack, split: Split) -> tuple[Attached, list[Streams]]:
    """Put the pack's methods on the model; `split` has the training rows."""
    streams = [Streams(c.seeds) for c in pack.cells]
    steps = [total_steps(c.protocol, len(split)) for c in pack.cells]
    members = [Member(m, s, n) for m, s, n in zip(pack.methods, streams, steps, strict=True)]
    try:
        attached = pack.methods[0].attach(model, members, calibration_of(split))
        recompute(model, pack.cells[0].recompute, attached)
    except UserError as error:
        raise CellFailed(str(error)) from error  # a method that refuses fails its cell; other user errors end the run
    return attached, streams


def counts(model_size: int, attached: Attached, slot: int) -> tuple[Parameters, TrainState]:
    """Numbers of one member, from the groups that really train."""
    parameters = Parameters(
        adapter_trained=attached.count("adapter", slot),
        adapter_frozen=attached.stored[slot],
        head_trained=attached.count("head", slot),
        backbone=model_size,
        backbone_trained=attached.count("backbone", slot),
    )
    held = sum(g.bytes_of(slot) for g in attached.groups)
    optimizer = sum(g.state_bytes(slot) for g in attached.groups)
    return parameters, TrainState(weights=held, gradients=held, optimizer=optimizer)


def run_pack(work: Work, progress: Progress) -> list[Result]:
    """Train and score each member of a pack. Raises what the method, the model or the machine raises."""
    started = time.perf_counter()
    cell = work.pack.cells[0]
    model = load_backbone(work)
    loaded = time.perf_counter()
    split = work.inputs.splits["train"].to(work.device)
    attached, streams = attach_pack(model, work.pack, split)
    frozen = sum(p.numel() for p in model.parameters())
    ready = time.perf_counter()
    autocast = cell.dtype == "bf16"
    protocols = [c.protocol for c in work.pack.cells]
    results: dict[int, Result] = {}
    measured = [counts(frozen, attached, slot) for slot in range(len(protocols))]
    trainer = Trainer(model, attached, split, protocols, streams, autocast=autocast)
    scoring = 0.0
    note = {"quantize": NOTE} if cell.simulated else {}

    def finished(members: Sequence[int]) -> None:
        nonlocal scoring
        before = time.perf_counter()
        done = [m for m in members if trainer.totals[m] == trainer.optimizer.steps]
        logits = {
            name: predict(trainer.model, work.inputs.splits[name].to(work.device), len(members), autocast=autocast)
            for name in work.suite.tasks[cell.task].eval_splits
        }
        for slot, member in enumerate(members):
            if member in done:
                own = {name: values[slot] for name, values in logits.items()}
                made = _scored(work, trainer.trained[member], own, *measured[member])
                results[member] = dataclasses.replace(made, extra=attached.extra_for(slot) | note)
        scoring += time.perf_counter() - before

    trainer.run(finished, progress)
    phases = Phases(
        load=loaded - started,
        input=work.input_seconds,
        attach=ready - loaded,
        train=time.perf_counter() - ready - scoring,
        evaluate=scoring,
    )
    return [dataclasses.replace(results[i], phases=phases) for i in range(len(protocols))]


def _scored(
    work: Work, trained: Trained, logits: dict[str, np.ndarray], parameters: Parameters, state: TrainState
) -> Result:
    task = work.pack.cells[0].task
    scores: dict[str, float] = {}
    frames = []
    for name, values in logits.items():
        split = work.inputs.splits[name]
        targets = split.labels.cpu().numpy()
        if not np.isfinite(values).all():
            trained.broke_at = trained.broke_at or trained.steps
            return Result(trained, {}, None, parameters, state)
        said = decisions(values)
        scores |= work.suite.score(task, name, said, targets)
        frame = {"id": split.example_ids, "split": name, "target": targets.astype(float), "prediction": said}
        frames.append(pd.DataFrame(frame | {"logits": list(values)}))
    return Result(trained, scores, pd.concat(frames, ignore_index=True), parameters, state)
