"""The executor that trains packs one after another on one device, in this process.

`--executor local` uses it for a run on one device (local.py); on several, each worker process has one (worker.py).
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from harness.core.device import choose_device, choose_threads
from harness.core.errors import UserError
from harness.core.failure import Failure, release_memory
from harness.core.garbage import import_uncollected
from harness.core.interrupt import is_interrupted
from harness.core.listener import Listener
from harness.core.process import has_spinning_threads
from harness.core.provenance import describe_environment, get_utc_time
from harness.planning.schedule import count_steps
from harness.runner.executors.base import ExecutorSetup, Machine
from harness.training.checkpoint import Checkpoints
from harness.training.pack_job import InputFacts, PackJob, PackOutcome

if TYPE_CHECKING:
    from harness.data.inputs import Inputs
    from harness.planning.planned_cell import PlannedCell

SPINNING = (
    "torch was imported before the harness, so its idle threads spin and slow a busy machine; "
    "import the harness first, or set OMP_WAIT_POLICY=PASSIVE"
)
MODULES = (
    "harness.runner.executors.in_process",
    "harness.training.pack_training",
    "harness.training.checkpoint",
    "harness.profiling.capacity",
    "harness.data.inputs",
    "harness.models.load",
    "transformers.modeling_utils",
    "transformers.models.auto.modeling_auto",
    "transformers.models.auto.tokenization_auto",
    # what any model and its first steps import otherwise, in each worker anew
    "transformers.generation.utils",
    "transformers.modeling_layers",
    "transformers.masking_utils",
    "transformers.processing_utils",
    "transformers.tokenization_python",
    "harness.replicas.fused_adamw",
    "methods.layers.lowrank",
    "methods.layers.resampling",
)
"""What a process imports before it trains its first pack, with torch. bitsandbytes is not here: it opens the GPU."""
MAX_INPUTS = 4
"""Tasks whose tokenized rows are held: packs of one task follow each other, but not if they are sorted by length."""


class LocalExecutor:
    """Trains packs one after another in this process and holds the tokenized rows of the last tasks."""

    workers = 1

    def __init__(self, setup: ExecutorSetup) -> None:
        self.setup = setup
        self._inputs: dict[str, tuple[Inputs, float]] = {}
        self._tokenizers: dict[str, Any] = {}

    def describe(self) -> Machine:
        """This machine; imports all that training needs, and sets torch's number of threads."""
        import_uncollected(MODULES)
        from harness.profiling.capacity import get_free_memory

        device, threads = choose_device(self.setup.device), choose_threads(self.setup.threads)
        return Machine(describe_environment(device, threads), get_free_memory(device))

    def close(self) -> None:
        """Drop the tokenized rows."""
        self._inputs.clear()

    def run(self, jobs: deque[PackJob], checkpoints: Checkpoints, listener: Listener) -> Iterator[PackOutcome]:
        """See Executor."""
        from harness.training.pack_training import train_pack

        device, threads = choose_device(self.setup.device), choose_threads(self.setup.threads)
        if has_spinning_threads() and threads > 1:
            listener.note(SPINNING)
        while jobs:
            job, started = jobs.popleft(), get_utc_time()
            facts = None
            try:
                inputs, seconds = self._read_inputs(job.pack.first)
                facts = InputFacts.of(inputs)
                _announce(job, inputs, listener)
                results = train_pack(job, inputs, seconds, device, listener, checkpoints.write)
                outcome = PackOutcome(job, started, results, facts)
            except KeyboardInterrupt:
                outcome = PackOutcome(job, started, inputs=facts, interrupted=True)
            except UserError:  # ends the run: a cell is not at fault
                raise
            except (Exception, SystemExit) as error:  # a plugin that calls sys.exit ends its pack, not the run
                if is_interrupted():  # a library may convert the KeyboardInterrupt into its own error
                    outcome = PackOutcome(job, started, inputs=facts, interrupted=True)
                else:
                    outcome = PackOutcome(job, started, inputs=facts, failure=Failure.of(error))
            if outcome.failure is not None:
                release_memory()  # outside of `except`: the error's frames, which held the pack's tensors, are gone
            yield outcome
            if outcome.interrupted:
                return

    def _read_inputs(self, planned: PlannedCell) -> tuple[Inputs, float]:
        """Tokenized rows of the cell's task, and the seconds that reading them took the first time."""
        from harness.data.inputs import read_inputs
        from harness.models.load import load_tokenizer

        cell = planned.cell
        name = _name_inputs(planned)
        if name not in self._inputs:
            started = time.perf_counter()
            if cell.suite not in self._tokenizers:
                self._tokenizers[cell.suite] = load_tokenizer(planned.source)
            tokenizer = self._tokenizers[cell.suite]
            inputs = read_inputs(tokenizer, planned.task, planned.data, cell.protocol, self.setup.cache)
            if len(self._inputs) == MAX_INPUTS:
                del self._inputs[next(iter(self._inputs))]
            self._inputs[name] = (inputs, time.perf_counter() - started)
        return self._inputs[name]


def _name_inputs(planned: PlannedCell) -> str:
    """What tokenized rows depend on, within a run."""
    cell = planned.cell
    return f"{cell.suite} {cell.task} {cell.data} {cell.protocol.select('tokenization', 'rows')}"


def _announce(job: PackJob, inputs: Inputs, listener: Listener) -> None:
    task, rows = job.pack.first.cell.task, inputs.rows["train"]
    steps = max(count_steps(cell.protocol, rows) for cell in job.pack.cells)
    listener.on_pack_start(task, len(job.slots), steps, job.own_pack.keys)
    if job.start is not None:
        listener.note(f"{task}: resumes from step {job.start.step}")
