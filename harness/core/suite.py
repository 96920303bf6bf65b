"""What a suite must be, and what its tasks and their rows are. Import these from harness.core.method."""

from __future__ import annotations

import abc
import dataclasses
import typing
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from torch import nn

    from harness.core.cell import Protocol

Label = int | float | str
"""Class id, real number, or the text to be written."""

TaskKind = Literal["classification", "translation", "instruction"]
"""How a task trains and predicts, a file each in harness/task_types; regression is a classification without labels."""


@dataclasses.dataclass(frozen=True)
class Example:
    """One row of a task: a stable id, one or two texts, and its label."""

    id: str
    texts: tuple[str, ...]
    label: Label


@dataclasses.dataclass(frozen=True)
class Task:
    """One task of a suite. `labels` is empty for regression. Each name of `eval_splits` is scored once."""

    name: str
    labels: tuple[str, ...]
    eval_splits: tuple[str, ...]
    metrics: tuple[str, ...]
    kind: TaskKind = "classification"

    @property
    def outputs(self) -> int | None:
        """Width of the head: one per class, 1 for regression; None where a language model writes text."""
        return (len(self.labels) or 1) if self.kind == "classification" else None


@dataclasses.dataclass(frozen=True)
class TaskData:
    """The rows of one task: `splits` has "train" and every eval split. `notes` says what is partial or derived."""

    splits: Mapping[str, tuple[Example, ...]]
    fingerprint: str
    source: str
    notes: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class SourceRequest:
    """Where rows come from: `kind`, the folder of official files, and single files as {(task, split): paths}.

    A suite whose tasks share their files may be named in the place of the task.
    `text`, `label` and `labels` say how a suite without columns of its own reads its files.
    """

    kind: Literal["embedded", "data-dir", "hub"]
    data_dir: Path | None = None
    files: Mapping[tuple[str, str], tuple[Path, ...]] = dataclasses.field(default_factory=dict)
    text: tuple[str, ...] = ()
    label: str | None = None
    labels: Literal["class", "number"] | None = None


@dataclasses.dataclass(frozen=True)
class Average:
    """A named average of a suite: each task's headline score is the mean of the scores named here."""

    name: str
    scores: Mapping[str, tuple[str, ...]]


@dataclasses.dataclass
class Evaluated:
    """What an evaluator found for one replica: scores in points, per-example predictions, what else the record gets."""

    scores: dict[str, float]
    predictions: pd.DataFrame
    extra: dict[str, Any] = dataclasses.field(default_factory=dict)


class Evaluator(typing.Protocol):
    """Scores K replicas of a trained model at once; None for one whose outputs are not finite."""

    def __call__(
        self, model: nn.Module, tokenizer: Any, k: int, protocol: Protocol, *, autocast: bool
    ) -> Sequence[Evaluated | None]: ...


class Suite(abc.ABC):
    """Names of tasks; rows from a source; scores in points (0 to 100; correlations times 100)."""

    name: ClassVar[str]
    version: ClassVar[int] = 1
    summary: ClassVar[str]
    tasks: ClassVar[Mapping[str, Task]]
    averages: ClassVar[tuple[Average, ...]]

    def configure(self, request: SourceRequest, named: Sequence[str]) -> Suite:
        """The suite for one run, given its rows' source and the tasks that the user named: where tasks hang on them."""
        return self

    @abc.abstractmethod
    def load(self, task: str, request: SourceRequest) -> TaskData:
        """Rows of one task. Raises UserError naming the file, the line and what was expected."""

    def check(self, task: str, data: TaskData, protocol: Protocol) -> None:  # noqa: B027 - most take any
        """Raise UserError where the rows, or what is installed, cannot do what the protocol asks."""

    @abc.abstractmethod
    def score(self, task: str, split: str, predictions: np.ndarray, targets: np.ndarray) -> dict[str, float]:
        """Scores of one eval split; predictions are class ids [n] int64, values [n] float64 or texts [n]."""

    def notes(self, task: str) -> dict[str, Any]:
        """What a record gets beside the scores: how they were computed."""
        return {}

    def evaluator(self, task: str, data: TaskData) -> Evaluator | None:
        """What scores a task whose evaluation is not a prediction per row; None: `score` does."""
        return None

    def files(self) -> Mapping[str, str]:
        """sha256 of the files of other packages that scores depend on, by what they are; part of the cell key."""
        return {}

    @abc.abstractmethod
    def majority(self, task: str, data: TaskData) -> float | None:
        """Headline score in points of the best constant prediction; None where that means nothing."""

    def headline(self, task: str, scores: Mapping[str, float], average: Average) -> float | None:
        """The task's score in `average`: mean of the scores it names; None if the task or a score is not there."""
        named = average.scores.get(task, ())
        if not named or any(name not in scores for name in named):
            return None
        return sum(scores[name] for name in named) / len(named)
