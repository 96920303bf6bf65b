"""Score a trained pack: one pass over each eval split predicts for all replicas."""

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
    """Scores and predictions of K replicas by slot; None for a replica with outputs that are not finite.

    Scores are in points. A suite with an evaluator of its own replaces the prediction and scoring here.
    """
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
    evaluated: list[Evaluated | None] = []
    for slot in range(k):
        own_predictions = {name: replicas[slot] for name, replicas in predictions.items()}
        evaluated.append(_score(planned, inputs, own_predictions))
    return evaluated


def _score(planned: PlannedCell, inputs: Inputs, predictions: Mapping[str, ReplicaPredictions]) -> Evaluated | None:
    """Scores of one replica from its predictions by eval split; None if an output is not finite."""
    # a metric may rank nan like a number, so one output that is not finite voids all scores of the replica
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
