"""The interface of suites, their tasks and rows. Import these from harness.core.method.

    Suite.configure(request) ──> Suite
    Suite.load(task, request) ──> TaskData: splits of Examples
    Suite.score(task, split, predictions [n], targets [n]) ──> {metric: points}

A task that is not scored row by row has an Evaluator instead of `score`.
"""

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
"""Class id (classification), real number (regression), or target text (generation)."""

TaskKind = Literal["classification", "translation", "instruction"]
"""How a task trains and predicts, one file each in harness/data/task_types.

Regression is classification without labels.
"""


@dataclasses.dataclass(frozen=True)
class Example:
    """One row of a task: a stable id, one or two texts, and its label."""

    id: str
    texts: tuple[str, ...]
    label: Label


@dataclasses.dataclass(frozen=True)
class Task:
    """One task of a suite.

    labels         names of the classes, in the order of their ids; empty for regression
    eval_splits    splits that are scored
    metrics        names of the scores
    """

    name: str
    labels: tuple[str, ...]
    eval_splits: tuple[str, ...]
    metrics: tuple[str, ...]
    kind: TaskKind = "classification"

    @property
    def outputs(self) -> int | None:
        """Number of outputs of the head: one per class, 1 for regression; None for generation, which has no head."""
        return (len(self.labels) or 1) if self.kind == "classification" else None


@dataclasses.dataclass(frozen=True)
class TaskData:
    """The rows of one task.

    splits         "train" and every eval split -> rows
    fingerprint    hash of the rows, for the cell key
    source         where the rows come from
    notes          what is partial or derived
    """

    splits: Mapping[str, tuple[Example, ...]]
    fingerprint: str
    source: str
    notes: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class SourceRequest:
    """Where rows come from.

    kind          embedded: synthetic stand-in data of the package; data-dir: official files; hub: the datasets hub
    data_dir      folder of the official files
    files         (task, split) -> files that replace the official ones; a suite whose tasks share files may stand in
                  the place of the task
    text, label   names of the text columns and of the label column (suite table)
    labels        whether labels are classes or numbers; None: detected (suite table)
    """

    kind: Literal["embedded", "data-dir", "hub"]
    data_dir: Path | None = None
    files: Mapping[tuple[str, str], tuple[Path, ...]] = dataclasses.field(default_factory=dict)
    text: tuple[str, ...] = ()
    label: str | None = None
    labels: Literal["class", "number"] | None = None


@dataclasses.dataclass(frozen=True)
class Average:
    """A named average of a suite. A task's headline score is the mean of the scores that `scores` names for it."""

    name: str
    scores: Mapping[str, tuple[str, ...]]


@dataclasses.dataclass
class Evaluated:
    """The evaluation of one replica: scores in points, per-example predictions, and extra fields for the record."""

    scores: dict[str, float]
    predictions: pd.DataFrame
    extra: dict[str, Any] = dataclasses.field(default_factory=dict)


class Evaluator(typing.Protocol):
    """Evaluates the K = `k` replicas of a trained model at once; None for a replica with non-finite outputs."""

    def __call__(
        self, model: nn.Module, tokenizer: Any, k: int, protocol: Protocol, *, autocast: bool
    ) -> Sequence[Evaluated | None]: ...


class Suite(abc.ABC):
    """A benchmark suite: tasks, their rows from a source, and scores in points (0 to 100; correlations times 100).

    `version` is raised when rows or scores change, so that stored cells train again.
    """

    name: ClassVar[str]
    version: ClassVar[int] = 1
    summary: ClassVar[str]
    tasks: ClassVar[Mapping[str, Task]]
    averages: ClassVar[tuple[Average, ...]]

    def configure(self, request: SourceRequest, named: Sequence[str]) -> Suite:
        """The suite for one run; a suite whose tasks depend on the user's files or tasks overrides this."""
        return self

    @abc.abstractmethod
    def load(self, task: str, request: SourceRequest) -> TaskData:
        """The rows of one task. Raises UserError naming the file, the line and what was expected."""

    def check(self, task: str, data: TaskData, protocol: Protocol) -> None:  # noqa: B027 - most take any
        """Raise UserError if the rows, or the installed packages, do not suffice for the protocol."""

    @abc.abstractmethod
    def score(self, task: str, split: str, predictions: np.ndarray, targets: np.ndarray) -> dict[str, float]:
        """Metric -> points for one eval split; predictions are class ids [n] int64, values [n] float64 or texts [n]."""

    def notes(self, task: str) -> dict[str, Any]:
        """Extra fields for a record that say how the scores were computed."""
        return {}

    def evaluator(self, task: str, data: TaskData) -> Evaluator | None:
        """The evaluator of a task that is not scored row by row; None: `score` is used."""
        return None

    def files(self) -> Mapping[str, str]:
        """Description -> sha256 of files of other packages on which scores depend, for the cell key."""
        return {}

    @abc.abstractmethod
    def majority(self, task: str, data: TaskData) -> float | None:
        """The majority baseline: headline score in points of the best constant prediction; None if undefined."""

    def headline(self, task: str, scores: Mapping[str, float], average: Average) -> float | None:
        """The task's headline score in `average`, in points; None if the task or one of its scores is missing."""
        named = average.scores.get(task, ())
        if not named or any(name not in scores for name in named):
            return None
        return sum(scores[name] for name in named) / len(named)
