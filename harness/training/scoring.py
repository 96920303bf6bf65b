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

    from harness.data.inputs import Inputs
    from harness.planning.planned_cell import PlannedCell


def score_pack(
    planned: PlannedCell, inputs: Inputs, device: str, model: nn.Module, k: int, *, autocast: bool
) -> Sequence[Evaluated | None]:
    """What each of K replicas scores on the cell's task; None for one whose outputs are not finite."""
    task, protocol = planned.task, planned.cell.protocol
    evaluator = planned.suite.evaluator(task.name, planned.data)
    if evaluator is not None:
        return evaluator(model, inputs.tokenizer, k, protocol, autocast=autocast)
    kind = load_task_type(task.kind)
    splits = {name: inputs.splits[name].to(device) for name in task.eval_splits}
    predictions = {
        name: kind.predict(model, split, k, inputs.tokenizer, protocol, autocast=autocast)
        for name, split in splits.items()
    }
    by_slot = [{name: replicas[slot] for name, replicas in predictions.items()} for slot in range(k)]
    return [_score(planned, inputs, predicted) for predicted in by_slot]


def _score(planned: PlannedCell, inputs: Inputs, predictions: Mapping[str, ReplicaPredictions]) -> Evaluated | None:
    """Scores of one replica from its predictions by eval split."""
    if not all(predicted.finite for predicted in predictions.values()):
        return None
    task = planned.cell.task
    scores: dict[str, float] = {}
    frames = []
    for name, predicted in predictions.items():
        split = inputs.splits[name]
        scores |= planned.suite.score(task, name, predicted.values, split.references)
        frames.append(pd.DataFrame({"id": list(split.example_ids), "split": name} | predicted.columns))
    return Evaluated(scores, pd.concat(frames, ignore_index=True), planned.suite.notes(task))
