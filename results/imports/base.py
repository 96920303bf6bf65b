"""What a source of imported results must be, and what its rows are.

    folder of others ──> Source.read ──> ImportedRow, per-question answers ──> OUT/rows ──> Source.describe ──> report

An imported row is no Record: nothing of it was measured here, so no statistic, board or export of runs can mix the two.
"""

from __future__ import annotations

import abc
import dataclasses
import hashlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import Field

from harness.core.record import SCHEMA_VERSION, Predictions, Status
from harness.core.registry import Registry
from harness.core.strict import Stored, Strict
from reports.document import Rows, Section

if TYPE_CHECKING:
    import pandas as pd


class Provenance(Strict):
    """Where a row comes from."""

    source: str = Field(description="name of the source: what `import` was told")
    file: str = Field(description="the file, relative to the folder that was imported")
    sha256: str = Field(description="sha256 of that file")
    created: str = Field(description="when the result was made, as the file says")


class ImportedRow(Stored):
    """One result that others measured: OUT/rows/KEY.json, and OUT/rows/KEY.parquet where it has answers.

    `scores` are as the file has them: accuracies are shares of 1. `answers` is the file of per-question values.
    """

    schema_version: int = SCHEMA_VERSION
    key: str = Field(description="16 hex digits, a hash of the source, the file's content and the row")
    provenance: Provenance
    benchmark: str = Field(description="what was scored; rows of different benchmarks are never compared")
    name: str = Field(description="how the source calls the row: an experiment or a model")
    model: str = Field(description="the base model")
    status: Status
    reason: str | None = Field(default=None, description="why there is no score; null when ok")
    scores: dict[str, float] = Field(default_factory=dict, description="as the file has them; accuracies from 0 to 1")
    headline: str | None = Field(default=None, description="the score that rows are compared by")
    questions: int | None = Field(
        default=None, description="number of questions; null if the score is no share of them"
    )
    settings: dict[str, Any] = Field(default_factory=dict, description="protocol and adapter, as the file has them")
    software: dict[str, str] = Field(default_factory=dict, description="package -> version or commit")
    hardware: str | None = None
    costs: dict[str, float] = Field(default_factory=dict, description="bytes, seconds and parameters, as the file says")
    loss_curve: list[tuple[int, float]] = Field(default_factory=list, description="(step, training loss)")
    facts: dict[str, Any] = Field(default_factory=dict, description="other fields that the source's report needs")
    answers: Predictions | None = None

    @property
    def score(self) -> float | None:
        """The headline score."""
        return None if self.headline is None else self.scores.get(self.headline)


class ImportInfo(Stored):
    """import.json: what was imported, and what was not."""

    schema_version: int = SCHEMA_VERSION
    source: str
    folder: str = Field(description="the folder that was imported, as it was given")
    command: str
    imported: str = Field(description="UTC, ISO 8601")
    baseline: str | None = Field(default=None, description="row that others are compared with; null: the source's own")
    order: list[str] = Field(description="keys of the rows")
    files: int = Field(description="files looked at")
    skipped: list[str] = Field(default_factory=list, description="one line per file or part that was not imported")
    repeats: int = Field(default=0, description="files that repeat a result which another file has too")


@dataclasses.dataclass(frozen=True)
class Collected:
    """What a source read: each row with its per-question answers, if it has some, and what it left out.

    `repeats` counts files that repeat a result; `skipped` has a line for everything else that is not in `rows`.
    """

    rows: Sequence[tuple[ImportedRow, pd.DataFrame | None]]
    files: int
    skipped: Sequence[str]
    repeats: int = 0


@dataclasses.dataclass(frozen=True)
class Content:
    """What a source says about its rows: sentences above all tables, and rows in full by the name of their CSV file."""

    sentences: Sequence[str]
    sections: Sequence[Section]
    flat: Mapping[str, Rows] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class AnsweredRows:
    """Rows of one import, and the function that reads the per-question answers of one; it gives None for none."""

    rows: Sequence[ImportedRow]
    read_answers: Callable[[ImportedRow], pd.DataFrame | None]


class Source(abc.ABC):
    """A kind of result files of another project."""

    summary: str
    """What it reads, in a few words."""

    @abc.abstractmethod
    def read(self, folder: Path) -> Collected:
        """All results below a folder. Damaged and unknown files become lines of `skipped`, never errors."""

    @abc.abstractmethod
    def describe(self, imported: AnsweredRows, baseline: str | None) -> Content:
        """The report. `baseline`: the name of the row to compare with; None: the source's own choice."""

    @abc.abstractmethod
    def compare(self, before: AnsweredRows, after: AnsweredRows) -> list[str]:
        """Lines about the rows that two imports share, saying what differs between them beside the score."""


SOURCES: Registry[type[Source]] = Registry("source", "results.imports")


def make_key(source: str, *parts: str) -> str:
    """The key of a row: the same for the same part of the same file content."""
    return hashlib.sha256("\n".join((source, *parts)).encode()).hexdigest()[:16]
