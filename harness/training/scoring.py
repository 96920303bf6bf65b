"""Scores of a trained pack: each eval split once, all replicas in one pass."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import pandas as pd

from harness.core.method import Evaluated
from harness.data.task_types import load_task_type
from harness.data.task_types.base import ReplicaPredictions

if TYPE_CHECKING:
    from torch import nn

    from harness.training.pack_training import PackJob


def score_pack(work: PackJob, model: nn.Module, k: int, *, autocast: bool) -> Sequence[Evaluated | None]:
    """What each of K replicas scores; None for one whose outputs are not finite."""
    cell = work.pack.cells[0]
    task = work.suite.tasks[cell.task]
    tokenizer, protocol = work.inputs.tokenizer, cell.protocol
    evaluator = work.suite.evaluator(cell.task, work.data)
    if evaluator is not None:
        return evaluator(model, tokenizer, k, protocol, autocast=autocast)
    kind = load_task_type(task.kind)
    splits = {name: work.inputs.splits[name].to(work.device) for name in task.eval_splits}
    predictions = {
        name: kind.predict(model, split, k, tokenizer, protocol, autocast=autocast) for name, split in splits.items()
    }
    return [
        _score_replica(work, {name: predicted[slot] for name, predicted in predictions.items()}) for slot in range(k)
    ]


def _score_replica(work: PackJob, found: Mapping[str, ReplicaPredictions]) -> Evaluated | None:
    if not all(predicted.finite for predicted in found.values()):
        return None
    scores: dict[str, float] = {}
    frames = []
    for name, predicted in found.items():
        split = work.inputs.splits[name]
        scores |= work.suite.score(work.pack.cells[0].task, name, predicted.values, split.references)
        frames.append(pd.DataFrame({"id": list(split.example_ids), "split": name} | predicted.columns))
    notes = work.suite.notes(work.pack.cells[0].task)
    return Evaluated(scores, pd.concat(frames, ignore_index=True), notes)
