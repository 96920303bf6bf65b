"""Cells to records: pack by pack, and what happens when one fails."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness import SPINS
from harness.capacity import Capacity, free_memory
from harness.cell import Cell
from harness.checkpoint import Checkpoints
from harness.contracts import Suite
from harness.cost import kept_runs, stored_sizes
from harness.errors import UserError
from harness.failure import Failure, free_again, one_line
from harness.initial import load_initial
from harness.interrupt import interrupted, reason
from harness.knee import Timed
from harness.pack_size import PackSizes
from harness.packs import Pack, halves, remaining
from harness.process import available_cpus
from harness.provenance import environment, utc_now
from harness.record import Status
from harness.recorder import Recorder

if TYPE_CHECKING:
    from harness.checkpoint import Saved
    from harness.inputs import Inputs
    from harness.packrun import Work
    from harness.plan import Plan
    from harness.progress import Listener
    from harness.result import Result
    from harness.spec import Spec
    from harness.store import Store


def choose_device(asked: str) -> str:
    """'cpu' or 'cuda'. Raises UserError where a GPU was asked for and there is none."""
    import torch

    if asked == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if asked == "cuda" and not torch.cuda.is_available():
        raise UserError("--device cuda: no CUDA GPU is visible here; use --device cpu, or ask `harness doctor`")
    return asked


def choose_threads(asked: int | None) -> int:
    """Set and return the number of torch threads; it is a part of what makes a run repeat bit by bit."""
    import torch

    torch.set_num_threads(asked or available_cpus())
    return torch.get_num_threads()


class Executor:
    """Runs packs on one device; tokenised inputs are kept for the next pack of the same task."""

    def __init__(self, plan: Plan, cells: Sequence[Cell], spec: Spec, store: Store, listener: Listener) -> None:
        self.plan, self.listener = plan, listener
        self.todo = {c.key for c in cells}
        self.save_adapters = spec.save_adapters
        self.device = choose_device(spec.device)
        self.threads = choose_threads(spec.threads)
        if SPINS and self.threads > 1:
            listener.note(
                "torch was imported before the harness, so its idle threads spin and slow a busy machine; "
                "import the harness first, or set OMP_WAIT_POLICY=PASSIVE"
            )
        self.environment = environment(self.device, self.threads)
        made_by = self.environment.model_dump() | {"--save-adapters": spec.save_adapters}
        self.checkpoints = Checkpoints(store.out / "checkpoints", made_by, listener.note)
        self.cache = _cache(spec)
        self._inputs: tuple[str, Inputs, float] | None = None
        self._tokenizers: dict[str, Any] = {}
        self.recorder = Recorder(plan, store, self.environment)

    def run(self, pack: Pack, start: Saved | None = None) -> None:
        """Run a pack, or what `start` says of it, and store its records.

        KeyboardInterrupt stores `cancelled` ones and goes on up.
        """
        slots = list(range(len(pack.cells))) if start is None else start.slots
        own, began = pack.part(slots), utc_now()
        failure = None
        try:
            results = self._results(pack, start)
        except KeyboardInterrupt:
            self._cancel(own, began)
            raise
        except UserError:
            raise  # the model or the machine refuses: no fault of a cell, so nothing is stored of it
        except Exception as error:
            if interrupted():  # a library may turn the interrupt into an error of its own
                self._cancel(own, began)
                raise KeyboardInterrupt from error
            failure = Failure.of(error)
        if failure is None:
            self._store_results(own, [results[slot] for slot in slots], began)
        else:  # out here the error's frames are gone, and what they held can be freed
            self._recover(pack, slots, failure, start, began)
        self.checkpoints.drop([c.key for c in own.cells])

    def _cancel(self, pack: Pack, began: str) -> None:
        for slot in range(len(pack.cells)):
            self._store(pack, slot, "cancelled", began, reason=reason())

    def _store_results(self, pack: Pack, results: Sequence[Result | None], began: str) -> None:
        for index, result in enumerate(results):
            if result is not None:
                broke = result.trained.broke_at
                reason = None if broke is None else f"the loss is not finite (seen at step {broke})"
                self._store(pack, index, "ok" if broke is None else "failed", began, reason=reason, result=result)

    def _recover(self, pack: Pack, slots: Sequence[int], failure: Failure, start: Saved | None, began: str) -> None:
        """What has left is stored. Out of memory: halves of the rest go on, or are trained from the beginning.

        Anything else: each cell alone, so that only the bad one fails.
        """
        free_again()
        known = failure.saved or start
        done = {} if known is None else {s: r for s, r in known.results.items() if s not in known.members}
        if known is not None and done:
            results = {s: dataclasses.replace(r, phases=known.spent) for s, r in done.items()}
            self._store_results(pack.part(slots), [results.get(s) for s in slots], began)
        rest = [s for s in slots if s not in done]
        if failure.saved is not None:
            self._go_on(pack, failure.saved, failure)
        elif failure.unfit:
            self._note(pack, failure, "from the beginning")
            self.run(pack.part(rest))
        elif len(pack.cells) > 1:
            smaller = pack.part(rest).split() if failure.memory else pack.part(rest).alone()
            self._note(pack, failure, f"trying {len(smaller)} smaller packs")
            for part in smaller:
                self.run(part)
        else:
            status: Status = "oom" if failure.memory else "failed"
            self._store(pack, 0, status, began, reason=failure.line, trace=failure.trace)

    def _go_on(self, pack: Pack, saved: Saved, failure: Failure) -> None:
        """The halves of what had not left, from the step that the whole had completed."""
        parts = [saved.part(half) for half in halves(saved.members)]
        self._note(pack, failure, f"{len(parts)} smaller packs go on from step {saved.step}")
        for part in parts:
            self.checkpoints.write(part)
        self.checkpoints.drop(saved.own_keys)
        for part in parts:
            self.run(pack, part)

    def _note(self, pack: Pack, failure: Failure, what: str) -> None:
        self.listener.note(f"{pack.cells[0].task}: {failure.line}; {what}")

    def _results(self, pack: Pack, start: Saved | None) -> dict[int, Result]:
        from harness.packrun import run_pack
        from harness.schedule import total_steps

        work = self._work(pack)
        rows, task = work.inputs.rows["train"], pack.cells[0].task
        cells = len(pack.cells) if start is None else len(start.slots)
        self.listener.pack_started(task, cells, max(total_steps(c.protocol, rows) for c in pack.cells))
        if start is not None:
            self.listener.note(f"{task}: goes on from step {start.step}")
        return run_pack(work, self.listener, start, self.checkpoints.write)

    def _work(self, pack: Pack) -> Work:
        from harness.packrun import Work

        cell = pack.cells[0]
        suite = self._suite(cell)
        source, data = self.plan.models[cell.suite], self.plan.data[cell.suite, cell.task]
        inputs, seconds = self._read(cell, suite)
        starts = [self.plan.initial.get(c.key) for c in pack.cells]
        initials = [None if start is None else load_initial(start) for start in starts]
        return Work(pack, suite, data, source, inputs, seconds, self.device, initials, self.save_adapters)

    def _suite(self, cell: Cell) -> Suite:
        return self.plan.suites[cell.suite]

    def _read(self, cell: Cell, suite: Suite) -> tuple[Inputs, float]:
        """Tokenised rows; those of the last task are kept."""
        from harness.inputs import read_inputs
        from harness.models import load_tokenizer

        name = _named(cell)
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
        from harness.measure import Question
        from harness.step_timer import time_packs, usual_length

        first, methods = cells[0], [self.plan.methods[c.key] for c in cells]
        suite, source = self._suite(first), self.plan.models[first.suite]
        length = usual_length(self._read(first, suite)[0].splits["train"].lengths, first.protocol)
        question = Question("", first, methods[0], suite.tasks[first.task], source, length, self.device, self.threads)
        try:
            made = time_packs(question, cells, methods, most, replica_steps)
        except UserError:
            raise
        except Exception as error:
            self.listener.note(f"{first.task}: packs could not be timed: {one_line(error)}; their size follows memory")
            return Timed({}, False, 0.0), length
        each = ", ".join(f"{k}: {seconds / k * 1e3:.2f} ms" for k, seconds in made.steps.items())
        self.listener.note(f"{first.task}: packs timed in {made.seconds:.1f} s, a replica's step by size: {each}")
        return made, length

    def _store(self, pack: Pack, slot: int, status: Status, started: str, **found: Any) -> None:
        cell = pack.cells[slot]
        if cell.key not in self.todo:
            return  # a pack that goes on may hold cells whose records are stored
        inputs = self._inputs[1] if self._inputs and self._inputs[0] == _named(cell) else None
        self.listener.cell_finished(self.recorder.write(pack, slot, status, started, inputs, **found))


def _named(cell: Cell) -> str:
    """What the tokenised rows of a cell are kept under."""
    p = cell.protocol
    lengths = f"{p.max_length} {p.max_target_length} {p.train_rows} {p.eval_rows} {p.template} {p.packed}"
    return f"{cell.suite} {cell.task} {cell.data} {lengths}"


def _cache(spec: Spec) -> Path | None:
    """The folder of tokenised rows, if they are kept."""
    from harness.cache_folder import cache_folder

    return cache_folder() if spec.cache else None


def execute(plan: Plan, cells: Sequence[Cell], spec: Spec, store: Store, listener: Listener) -> None:
    """Run `cells` in packs and store a record of each. Raises KeyboardInterrupt after storing `cancelled` records."""
    executor = Executor(plan, cells, spec, store, listener)
    methods: Mapping[str, Any] = plan.methods
    capacity = Capacity(plan, executor.device, free_memory(executor.device), cache=spec.cache)
    begun = executor.checkpoints.find(plan, executor.todo, spec.pack)
    for pack, saved in begun:
        executor.run(pack, saved)
    taken = {key for _, saved in begun for key in saved.own_keys}
    rest = [c for c in cells if c.key not in taken]
    sizes = PackSizes(
        capacity,
        rest,
        executor.environment,
        stored=stored_sizes([store.out]),
        known=stored_sizes(kept_runs()),
        time=executor.time,
        keep=store.write_pack_size,
    )
    if spec.pack is None:
        executor.recorder.told = sizes.told
    for pack in remaining(plan.cells, [c.key for c in rest], methods, spec.pack or sizes.most):
        executor.run(pack)
