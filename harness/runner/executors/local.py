"""The executor that trains packs one after another on one device, in this process."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.core.errors import UserError
from harness.core.executor import EXECUTORS
from harness.core.failure import Failure
from harness.core.interrupt import is_interrupted
from harness.core.listener import Listener
from harness.core.provenance import get_utc_time
from harness.planning.schedule import count_steps
from harness.training.checkpoint import Checkpoints
from harness.training.pack_job import InputFacts, PackJob, PackOutcome

if TYPE_CHECKING:
    from harness.data.inputs import Inputs
    from harness.planning.planned_cell import PlannedCell


@EXECUTORS.register("local")
class LocalExecutor:
    """Trains on `device` ('cpu' or 'cuda') and holds the tokenized rows of one task for its next pack.

    `cache` is the folder of tokenized rows; None: no cache.
    """

    def __init__(self, device: str, cache: Path | None, checkpoints: Checkpoints, listener: Listener) -> None:
        self.device, self.cache = device, cache
        self.checkpoints, self.listener = checkpoints, listener
        self._inputs: tuple[str, Inputs, float] | None = None
        self._tokenizers: dict[str, Any] = {}

    def run(self, jobs: deque[PackJob]) -> Iterator[PackOutcome]:
        from harness.training.pack_training import train_pack

        while jobs:
            job, started = jobs.popleft(), get_utc_time()
            facts = None
            try:
                inputs, seconds = self._read_inputs(job.pack.first)
                facts = InputFacts.of(inputs)
                self._announce(job, inputs)
                results = train_pack(job, inputs, seconds, self.device, self.listener, self.checkpoints.write)
                outcome = PackOutcome(job, started, results, facts)
            except KeyboardInterrupt:
                outcome = PackOutcome(job, started, inputs=facts, interrupted=True)
            except UserError:  # ends the run: a cell is not at fault
                raise
            except Exception as error:
                if is_interrupted():  # a library may convert the KeyboardInterrupt into its own error
                    outcome = PackOutcome(job, started, inputs=facts, interrupted=True)
                else:
                    outcome = PackOutcome(job, started, inputs=facts, failure=Failure.of(error))
            yield outcome
            if outcome.interrupted:
                return

    def _announce(self, job: PackJob, inputs: Inputs) -> None:
        task, rows = job.pack.first.cell.task, inputs.rows["train"]
        steps = max(count_steps(cell.protocol, rows) for cell in job.pack.cells)
        self.listener.on_pack_start(task, len(job.slots), steps)
        if job.start is not None:
            self.listener.note(f"{task}: resumes from step {job.start.step}")

    def _read_inputs(self, planned: PlannedCell) -> tuple[Inputs, float]:
        """Tokenized rows of the cell's task, and the seconds that reading them took the first time."""
        from harness.data.inputs import read_inputs
        from harness.models.load import load_tokenizer

        cell = planned.cell
        name = _name_inputs(planned)
        # packs are ordered by task, so holding the rows of the last task suffices
        if self._inputs is None or self._inputs[0] != name:
            started = time.perf_counter()
            if cell.suite not in self._tokenizers:
                self._tokenizers[cell.suite] = load_tokenizer(planned.source)
            tokenizer = self._tokenizers[cell.suite]
            inputs = read_inputs(tokenizer, planned.task, planned.data, cell.protocol, self.cache)
            self._inputs = (name, inputs, time.perf_counter() - started)
        return self._inputs[1], self._inputs[2]


def _name_inputs(planned: PlannedCell) -> str:
    """What tokenized rows depend on, within a run."""
    cell = planned.cell
    return f"{cell.suite} {cell.task} {cell.data} {cell.protocol.select('tokenization', 'rows')}"
