"""Cells to records: pack by pack, and what happens when one fails."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.core.cell import Cell
from harness.core.device import choose_device, choose_threads
from harness.core.errors import UserError
from harness.core.failure import Failure, release_memory, summarize_error
from harness.core.interrupt import describe_interrupt, is_interrupted
from harness.core.method import Suite
from harness.core.process import has_spinning_threads
from harness.core.provenance import describe_environment, get_utc_time
from harness.core.record import Status
from harness.models.adapter_load import load_initial
from harness.planning.packs import Pack, group_remaining, split_in_halves
from harness.profiling.capacity import Capacity, get_free_memory
from harness.profiling.cost import list_runs, load_pack_sizes
from harness.profiling.knee import Timed
from harness.profiling.pack_size import PackSizes
from harness.runner.recorder import Recorder
from harness.training.checkpoint import Checkpoints

if TYPE_CHECKING:
    from harness.core.listener import Listener
    from harness.core.spec import Spec
    from harness.core.store import Store
    from harness.data.inputs import Inputs
    from harness.planning.plan import Plan
    from harness.training.checkpoint import PackCheckpoint
    from harness.training.pack_training import PackJob
    from harness.training.result import Result


class Executor:
    """Runs packs on one device; tokenised inputs are kept for the next pack of the same task."""

    def __init__(self, plan: Plan, cells: Sequence[Cell], spec: Spec, store: Store, listener: Listener) -> None:
        self.plan, self.listener = plan, listener
        self.todo = {c.key for c in cells}
        self.save_adapters = spec.save_adapters
        self.device = choose_device(spec.device)
        self.threads = choose_threads(spec.threads)
        if has_spinning_threads() and self.threads > 1:
            listener.note(
                "torch was imported before the harness, so its idle threads spin and slow a busy machine; "
                "import the harness first, or set OMP_WAIT_POLICY=PASSIVE"
            )
        self.environment = describe_environment(self.device, self.threads)
        made_by = self.environment.model_dump() | {"--save-adapters": spec.save_adapters}
        self.checkpoints = Checkpoints(store.out / "checkpoints", made_by, listener.note)
        self.cache = _find_cache(spec)
        self._inputs: tuple[str, Inputs, float] | None = None
        self._tokenizers: dict[str, Any] = {}
        self.recorder = Recorder(plan, store, self.environment)

    def run(self, pack: Pack, start: PackCheckpoint | None = None) -> None:
        """Run a pack, or what `start` says of it, and store its records.

        KeyboardInterrupt stores `cancelled` ones and goes on up.
        """
        slots = list(range(len(pack.cells))) if start is None else start.slots
        subset, began = pack.part(slots), get_utc_time()
        failure = None
        try:
            results = self._train(pack, start)
        except KeyboardInterrupt:
            self._cancel(subset, began)
            raise
        except UserError:
            raise  # the model or the machine refuses: no fault of a cell, so nothing is stored of it
        except Exception as error:
            if is_interrupted():  # a library may turn the interrupt into an error of its own
                self._cancel(subset, began)
                raise KeyboardInterrupt from error
            failure = Failure.of(error)
        if failure is None:
            self._store_results(subset, [results[slot] for slot in slots], began)
        else:  # out here the error's frames are gone, and what they held can be freed
            self._recover(pack, slots, failure, start, began)
        self.checkpoints.drop([c.key for c in subset.cells])

    def _cancel(self, pack: Pack, began: str) -> None:
        for slot in range(len(pack.cells)):
            self._store(pack, slot, "cancelled", began, reason=describe_interrupt())

    def _store_results(self, pack: Pack, results: Sequence[Result | None], began: str) -> None:
        for index, result in enumerate(results):
            if result is not None:
                broke = result.trained.broke_at
                reason = None if broke is None else f"the loss is not finite (seen at step {broke})"
                self._store(pack, index, "ok" if broke is None else "failed", began, reason=reason, result=result)

    def _recover(
        self, pack: Pack, slots: Sequence[int], failure: Failure, start: PackCheckpoint | None, began: str
    ) -> None:
        """What has left is stored. Out of memory: halves of the rest go on, or are trained from the beginning.

        Anything else: each cell alone, so that only the bad one fails.
        """
        release_memory()
        checkpoint = failure.checkpoint or start
        finished_results = (
            {} if checkpoint is None else {s: r for s, r in checkpoint.results.items() if s not in checkpoint.members}
        )
        if checkpoint is not None and finished_results:
            results = {s: dataclasses.replace(r, phases=checkpoint.spent) for s, r in finished_results.items()}
            self._store_results(pack.part(slots), [results.get(s) for s in slots], began)
        unfinished = [s for s in slots if s not in finished_results]
        if failure.checkpoint is not None:
            self._resume(pack, failure.checkpoint, failure)
        elif failure.unfit:
            self._note(pack, failure, "from the beginning")
            self.run(pack.part(unfinished))
        elif len(pack.cells) > 1:
            smaller = pack.part(unfinished).split() if failure.memory else pack.part(unfinished).alone()
            self._note(pack, failure, f"trying {len(smaller)} smaller packs")
            for part in smaller:
                self.run(part)
        else:
            status: Status = "oom" if failure.memory else "failed"
            self._store(pack, 0, status, began, reason=failure.line, trace=failure.trace)

    def _resume(self, pack: Pack, saved: PackCheckpoint, failure: Failure) -> None:
        """The halves of what had not left, from the step that the whole had completed."""
        parts = [saved.part(half) for half in split_in_halves(saved.members)]
        self._note(pack, failure, f"{len(parts)} smaller packs go on from step {saved.step}")
        for part in parts:
            self.checkpoints.write(part)
        self.checkpoints.drop(saved.slot_keys)
        for part in parts:
            self.run(pack, part)

    def _note(self, pack: Pack, failure: Failure, what: str) -> None:
        self.listener.note(f"{pack.cells[0].task}: {failure.line}; {what}")

    def _train(self, pack: Pack, start: PackCheckpoint | None) -> dict[int, Result]:
        from harness.planning.schedule import count_steps
        from harness.training.pack_training import run_pack

        work = self._build_job(pack)
        rows, task = work.inputs.rows["train"], pack.cells[0].task
        cells = len(pack.cells) if start is None else len(start.slots)
        self.listener.on_pack_start(task, cells, max(count_steps(c.protocol, rows) for c in pack.cells))
        if start is not None:
            self.listener.note(f"{task}: goes on from step {start.step}")
        return run_pack(work, self.listener, start, self.checkpoints.write)

    def _build_job(self, pack: Pack) -> PackJob:
        from harness.training.pack_training import PackJob

        cell = pack.cells[0]
        suite = self._get_suite(cell)
        source, data = self.plan.models[cell.suite], self.plan.data[cell.suite, cell.task]
        inputs, seconds = self._read(cell, suite)
        starts = [self.plan.initial.get(c.key) for c in pack.cells]
        initials = [None if start is None else load_initial(start) for start in starts]
        return PackJob(pack, suite, data, source, inputs, seconds, self.device, initials, self.save_adapters)

    def _get_suite(self, cell: Cell) -> Suite:
        return self.plan.suites[cell.suite]

    def _read(self, cell: Cell, suite: Suite) -> tuple[Inputs, float]:
        """Tokenised rows; those of the last task are kept."""
        from harness.data.inputs import read_inputs
        from harness.models.load import load_tokenizer

        name = _build_input_key(cell)
        if self._inputs is None or self._inputs[0] != name:
            started = time.perf_counter()
            if cell.suite not in self._tokenizers:
                self._tokenizers[cell.suite] = load_tokenizer(self.plan.models[cell.suite])
            tokenizer, data = self._tokenizers[cell.suite], self.plan.data[cell.suite, cell.task]
            inputs = read_inputs(tokenizer, suite.tasks[cell.task], data, cell.protocol, self.cache)
            self._inputs = (name, inputs, time.perf_counter() - started)
        return self._inputs[1], self._inputs[2]

    def time(self, cells: Sequence[Cell], most: int, replica_steps: int) -> tuple[Timed, int]:
        """Time packs of some cells up to `most` on the rows' usual length; nothing where a method refuses."""
        from harness.profiling.request import ProfileRequest
        from harness.profiling.step_timer import time_packs, usual_length

        first, methods = cells[0], [self.plan.methods[c.key] for c in cells]
        suite, source = self._get_suite(first), self.plan.models[first.suite]
        length = usual_length(self._read(first, suite)[0].splits["train"].lengths, first.protocol)
        question = ProfileRequest(
            "", first, methods[0], suite.tasks[first.task], source, length, self.device, self.threads
        )
        try:
            timings = time_packs(question, cells, methods, most, replica_steps)
        except UserError:
            raise
        except Exception as error:
            self.listener.note(
                f"{first.task}: packs could not be timed: {summarize_error(error)}; their size follows memory"
            )
            return Timed({}, False, 0.0), length
        each = ", ".join(f"{k}: {seconds / k * 1e3:.2f} ms" for k, seconds in timings.steps.items())
        self.listener.note(f"{first.task}: packs timed in {timings.seconds:.1f} s, a replica's step by size: {each}")
        return timings, length

    def _store(self, pack: Pack, slot: int, status: Status, started: str, **found: Any) -> None:
        cell = pack.cells[slot]
        if cell.key not in self.todo:
            return  # a pack that goes on may hold cells whose records are stored
        inputs = self._inputs[1] if self._inputs and self._inputs[0] == _build_input_key(cell) else None
        self.listener.on_cell_end(self.recorder.write(pack, slot, status, started, inputs, **found))


def _build_input_key(cell: Cell) -> str:
    """What the tokenised rows of a cell are kept under."""
    p = cell.protocol
    lengths = f"{p.max_length} {p.max_target_length} {p.train_rows} {p.eval_rows} {p.template} {p.packed}"
    return f"{cell.suite} {cell.task} {cell.data} {lengths}"


def _find_cache(spec: Spec) -> Path | None:
    """The folder of tokenised rows, if they are kept."""
    from harness.core.cache_folder import cache_folder

    return cache_folder() if spec.cache else None


def execute(plan: Plan, cells: Sequence[Cell], spec: Spec, store: Store, listener: Listener) -> None:
    """Run `cells` in packs and store a record of each. Raises KeyboardInterrupt after storing `cancelled` records."""
    executor = Executor(plan, cells, spec, store, listener)
    methods: Mapping[str, Any] = plan.methods
    capacity = Capacity(plan, executor.device, get_free_memory(executor.device), cache=spec.cache)
    checkpoints = executor.checkpoints.find(plan, executor.todo, spec.pack)
    for pack, saved in checkpoints:
        executor.run(pack, saved)
    resumed_keys = {key for _, saved in checkpoints for key in saved.slot_keys}
    fresh_cells = [c for c in cells if c.key not in resumed_keys]
    sizes = PackSizes(
        capacity,
        fresh_cells,
        executor.environment,
        stored=load_pack_sizes([store.out]),
        known=load_pack_sizes(list_runs()),
        time=executor.time,
        keep=store.write_pack_size,
    )
    if spec.pack is None:
        executor.recorder.told = sizes.told
    for pack in group_remaining(plan.cells, [c.key for c in fresh_cells], methods, spec.pack or sizes.most):
        executor.run(pack)
