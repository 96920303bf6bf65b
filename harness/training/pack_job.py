"""The job that an executor takes, a pack to train, and the outcome that it returns.

PackJob ──> Executor ──> PackOutcome ──> records
   ^                          │
   └───── recovery.py <───────┘   smaller jobs, if the pack did not fit or one of its cells failed

harness/runner/execute.py turns this loop, harness/training/pack_training.py trains a job.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING

from harness.core.failure import Failure
from harness.core.record import Environment, Truncation
from harness.planning.packs import Pack

if TYPE_CHECKING:
    from harness.data.inputs import Inputs
    from harness.training.checkpoint import PackCheckpoint
    from harness.training.result import Result


@dataclasses.dataclass(frozen=True)
class PackJob:
    """A pack to train from the beginning or, with `start`, the members of that checkpoint to resume.

    A job can be pickled and sent to another process, which must have loaded the run's plugins.
    """

    pack: Pack
    start: PackCheckpoint | None = None
    save_adapters: bool = False
    sharpness: bool = False

    @property
    def slots(self) -> list[int]:
        """Slots of the pack that this job trains and records."""
        return list(range(len(self.pack.members))) if self.start is None else self.start.slots

    @property
    def own_pack(self) -> Pack:
        """The cells that this job trains and records, as a pack."""
        return self.pack.select(self.slots)


@dataclasses.dataclass(frozen=True)
class InputFacts:
    """Tokenized rows as a record describes them: rows and truncated rows of each split, and notes."""

    rows: Mapping[str, int]
    truncation: Truncation
    notes: tuple[str, ...]

    @staticmethod
    def of(inputs: Inputs) -> InputFacts:
        return InputFacts(inputs.rows, inputs.truncation, inputs.notes)


@dataclasses.dataclass(frozen=True)
class PackOutcome:
    """The outcome of a job: results by slot, or the failure or interrupt that left none.

    `environment` is the machine that trained it; None stands for the one that the executor describes.
    """

    job: PackJob
    started: str
    """UTC, ISO 8601."""
    results: Mapping[int, Result] = dataclasses.field(default_factory=dict)
    inputs: InputFacts | None = None
    failure: Failure | None = None
    interrupted: bool = False
    environment: Environment | None = None
    worker: str = ""
    """The process that trained it, as listeners name it."""
