"""The interface of suites, their tasks and rows. Import these from harness.core.method.

    Suite.configure(request) ──> Suite
    Suite.load(task, request) ──> TaskData: splits of Examples
    Suite.score(task, split, predictions [n], targets [n]) ──> {metric: points}

A task that is not scored row by row has an Evaluator instead of `score`.
"""

from __future__ import annotations

import abc
import contextlib
import copy
import dataclasses
import types
import typing
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

from harness.core.errors import UserError, build_unknown_error
from harness.core.metric import HELD_OUT, resolve_metric
from harness.core.protocol import Protocol
from harness.core.suite_options import SuiteOption, parse_options

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from torch import nn

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


def list_metric_names(task: Task) -> list[str]:
    """Registered metrics that the task's scores stand for; a suite may compute others itself."""
    names = []
    for score in task.metrics:
        with contextlib.suppress(UserError):
            names.append(resolve_metric(score, task.eval_splits)[0].name)
    return list(dict.fromkeys(names))


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

    A suite whose tasks share their files may be named in the place of the task.
    """

    kind: Literal["embedded", "data-dir", "hub"]
    data_dir: Path | None = None
    files: Mapping[tuple[str, str], tuple[Path, ...]] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class ForgettingText:
    """A text that no run trains on, for the loss of a causal model before and after fine-tuning."""

    name: str
    text: str


@dataclasses.dataclass(frozen=True)
class Average:
    """A named average of a suite. A task's headline score is the mean of the scores that `scores` names for it."""

    name: str
    scores: Mapping[str, tuple[str, ...]]


@dataclasses.dataclass(frozen=True)
class SuitePreset:
    """What a suite takes from one preset: its model, fields of Protocol that differ, and a note on that model."""

    model: str | None = None
    protocol: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    note: str | None = None


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
    """Names of tasks; rows from a source; scores in points (0 to 100; correlations times 100).

    `tasks` and `averages` belong to the instance: a suite whose tasks depend on the user's files or task names sets
    them in `configure`; the others declare them in the class. `options` are the suite's own (`--option NAME=VALUE`),
    `given` has those that the user set. `presets` maps a preset's name to what the suite takes from it.
    """

    name: ClassVar[str]
    version: ClassVar[int] = 1
    summary: ClassVar[str]
    options: ClassVar[tuple[SuiteOption, ...]] = ()
    presets: ClassVar[Mapping[str, SuitePreset]] = {}
    tasks: Mapping[str, Task] = types.MappingProxyType({})
    averages: tuple[Average, ...] = ()
    given: Mapping[str, Any] = types.MappingProxyType({})

    def __init__(self, **given: Any) -> None:
        """`given`: options as text or as values. Raises UserError for an unknown option, a wrong type or range."""
        self.given = parse_options(self.name, self.options, given)

    def get_option(self, name: str) -> Any:
        """The user's value of an option, else its default."""
        defaults = {option.name: option.default for option in self.options}
        return self.given.get(name, defaults[name])

    def parts(self) -> dict[str, str]:
        """Options that change results and that neither the rows nor the protocol show, for the key of a cell."""
        keyed = (o for o in self.options if not o.in_rows and o.name not in Protocol.model_fields)
        values = {option: self.get_option(option.name) for option in keyed}
        return {f"option {option.flag}": str(value) for option, value in values.items() if value != option.default}

    def configure(self, request: SourceRequest, named: Sequence[str]) -> Suite:
        """The suite for one run, given the source of its rows and the tasks that the user named."""
        return self

    def with_tasks(self, tasks: Mapping[str, Task], averages: tuple[Average, ...]) -> Self:
        """A copy with other tasks and the same options."""
        changed = copy.copy(self)
        changed.tasks, changed.averages = tasks, averages
        return changed

    def get_task(self, name: str) -> Task:
        """Raises UserError with the nearest name."""
        if name not in self.tasks:
            raise build_unknown_error(f"task of {self.name}", name, self.tasks)
        return self.tasks[name]

    @abc.abstractmethod
    def load(self, task: str, request: SourceRequest) -> TaskData:
        """The rows of one task. Raises UserError naming the file, the line and what was expected."""

    def check(self, task: str, data: TaskData, protocol: Protocol) -> None:  # noqa: B027 - most take any
        """Raise UserError if the rows, or the installed packages, do not suffice for the protocol."""

    def score(self, task: str, split: str, predictions: np.ndarray, targets: np.ndarray) -> dict[str, float]:
        """Scores of one eval split; predictions are class ids [n] int64, values [n] float64 or texts [n].

        Each of the task's metrics that belongs to the split, see `resolve_metric`. Raises UserError for a wrong name,
        CellFailed for a prediction that is not finite.
        """
        definition = self.get_task(task)
        if split not in definition.eval_splits:
            raise build_unknown_error(f"eval split of {task}", split, definition.eval_splits)
        scores = {}
        for name in definition.metrics:
            metric, metric_split = resolve_metric(name, definition.eval_splits)
            if metric_split == split:
                scores[name] = metric.score(predictions, targets)
        return scores

    def notes(self, task: str) -> dict[str, Any]:
        """Extra fields for a record that say how the scores were computed."""
        return {}

    def evaluator(self, task: str, data: TaskData) -> Evaluator | None:
        """The evaluator of a task that is not scored row by row; None: `score` is used."""
        return None

    def get_forgetting_text(self, task: str, *, synthetic: bool) -> ForgettingText | None:
        """The text on which a causal model's loss is measured before and after; `synthetic`: of an embedded model."""
        return None

    def files(self) -> Mapping[str, str]:
        """Description -> sha256 of files of other packages on which scores depend, for the cell key."""
        return {}

    def majority(self, task: str, data: TaskData) -> float | None:
        """Headline score in points of the best constant prediction; None where that means nothing."""
        return self.score_constants(task, data) if self.get_task(task).kind == "classification" else None

    def score_constants(self, task: str, data: TaskData, names: Sequence[str] = ()) -> float:
        """Mean over the scores `names` (none: all) if the best one class is predicted for each row of each split.

        0 for a regression: a constant has no correlation.
        """
        import numpy as np

        definition = self.get_task(task)
        targets: dict[str, np.ndarray] = {}
        for split in (name for name in definition.eval_splits if name != HELD_OUT):
            targets[split] = np.array([row.label for row in data.splits[split]])
        best = 0.0
        for constant in range(len(definition.labels)):
            scores: dict[str, float] = {}
            for split, labels in targets.items():
                scores |= self.score(task, split, np.full_like(labels, constant), labels)
            chosen = [value for name, value in scores.items() if not names or name in names]
            best = max(best, sum(chosen) / len(chosen))
        return best

    def headline(self, task: str, scores: Mapping[str, float], average: Average) -> float | None:
        """The task's headline score in `average`, in points; None if the task or one of its scores is missing."""
        named = average.scores.get(task, ())
        if not named or any(name not in scores for name in named):
            return None
        return sum(scores[name] for name in named) / len(named)
