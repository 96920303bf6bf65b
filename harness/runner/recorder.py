"""Turn outcomes of packs into records, adapters and predictions, and store them."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from harness.core.interrupt import describe_interrupt
from harness.core.method import Suite, TaskData
from harness.core.provenance import get_utc_time
from harness.core.record import AdapterInfo, AverageInfo, Chosen, Environment, PackInfo, Record, Status
from harness.core.truncation import describe_truncation
from harness.data.row_limit import select_rows
from harness.models.adapter_files import add_digests, build_labelled_config, prepare_base, write_adapter
from harness.planning.planned_cell import PlannedCell
from harness.training.pack_job import InputFacts, PackOutcome

if TYPE_CHECKING:
    from harness.core.store import Store
    from harness.training.recovery import Recovery
    from harness.training.result import Result


class Recorder:
    """Builds the records of an outcome and stores them in `store`.

    Only cells in `keys` are stored: a resumed pack may hold cells that already have a record. `chosen` says what bounds
    the size of packs.
    """

    def __init__(self, store: Store, environment: Environment, keys: Collection[str], *, chosen: Chosen) -> None:
        self.store, self.environment, self.keys, self.chosen = store, environment, set(keys), chosen
        self.written: set[str] = set()
        self.truncations: set[str] = set()

    def write(self, outcome: PackOutcome) -> list[Record]:
        """Records of an outcome's results, or of all its cells as cancelled after an interrupt; stores them."""
        if outcome.interrupted:
            return self._write_all(outcome, "cancelled", describe_interrupt())
        return self._write_results(outcome, outcome.results)

    def write_recovered(self, outcome: PackOutcome, recovery: Recovery) -> list[Record]:
        """Records of members that finished before a failure and, if no job retries, of the failed cell; stores them."""
        records = self._write_results(outcome, recovery.results)
        if outcome.failure is not None and not recovery.jobs:
            failure = outcome.failure
            status: Status = "oom" if failure.memory else "failed"
            records += self._write_all(outcome, status, failure.line, failure.trace)
        return records

    def list_new_truncations(self, records: Iterable[Record]) -> list[str]:
        """One line for each task of these records with many truncated rows, the first time it is seen in this run."""
        lines = dict.fromkeys(filter(None, map(describe_truncation, records)))
        fresh = [line for line in lines if line not in self.truncations]
        self.truncations.update(fresh)
        return fresh

    def _write_results(self, outcome: PackOutcome, results: Mapping[int, Result]) -> list[Record]:
        records: list[Record] = []
        for slot, result in sorted(results.items()):
            broke_at = result.history.broke_at
            reason = None if broke_at is None else f"the loss is not finite (seen at step {broke_at})"
            status: Status = "ok" if broke_at is None else "failed"
            records += self._write(outcome, slot, status, reason, result=result)
        return records

    def _write_all(
        self, outcome: PackOutcome, status: Status, reason: str | None, trace: str | None = None
    ) -> list[Record]:
        records: list[Record] = []
        for slot in outcome.job.slots:
            records += self._write(outcome, slot, status, reason, trace)
        return records

    def _write(
        self,
        outcome: PackOutcome,
        slot: int,
        status: Status,
        reason: str | None,
        trace: str | None = None,
        result: Result | None = None,
    ) -> Iterator[Record]:
        """Store one cell of a pack with its adapter and predictions, if it has them; yields the record if stored."""
        planned, inputs = outcome.job.pack.members[slot], outcome.inputs
        cell, suite, data = planned.cell, planned.suite, planned.data
        if cell.key not in self.keys:  # a record of an earlier run must stay as it is
            return
        record = Record(
            key=cell.key,
            status=status,
            reason=reason,
            traceback=trace,
            cell=cell,
            majority=suite.majority(cell.task, _select_scored_rows(planned)),
            stand_in=planned.source.stand_in and data.source == "embedded",
            data_source=data.source,
            data_notes=[*data.notes, *(inputs.notes if inputs else ()), *(result.notes if result else ())],
            pack=self._describe_pack(outcome, outcome.job.slots.index(slot)),
            environment=outcome.environment or self.environment,
            started=outcome.started,
            finished=get_utc_time(),
            adapter=self._write_adapter(planned, result),
            **_build_outcome_fields(suite, planned, status, result, inputs),
        )
        # after the adapter is written: the record holds digests of its files
        record = add_digests(self.store.out, record)
        # predictions with a value that is not finite are of no use to paired comparisons
        self.store.write(record, result.predictions if result and status == "ok" else None)
        self.written.add(cell.key)
        yield record

    def _describe_pack(self, outcome: PackOutcome, slot: int) -> PackInfo:
        pack, threads = outcome.job.own_pack, (outcome.environment or self.environment).threads
        keys = list(pack.keys)
        chosen = None if pack.members[slot].method.pack_key() is None else self.chosen
        return PackInfo(keys=keys, slot=slot, size=len(keys), threads=threads, chosen=chosen)

    def _write_adapter(self, planned: PlannedCell, result: Result | None) -> AdapterInfo | None:
        """Write the trained adapter in peft's format, with --save-adapters; None without one."""
        if result is None or result.adapter is None:
            return None
        source, out, task = planned.source, self.store.out, planned.task
        config = None if task.outputs is None else build_labelled_config(source, task.labels)
        return write_adapter(out, planned.key, result.adapter, prepare_base(out, source, config), config)


def describe_averages(suite: Suite, task: str, scores: Mapping[str, float]) -> dict[str, AverageInfo]:
    """Name of each average of a suite -> its tasks, and the score and metrics of a cell's task in it."""
    return {
        a.name: AverageInfo(
            tasks=sorted(a.scores),
            score=suite.headline(task, scores, a),
            metrics=list(a.scores.get(task, ())),
        )
        for a in suite.averages
    }


def _build_outcome_fields(
    suite: Suite, planned: PlannedCell, status: Status, result: Result | None, inputs: InputFacts | None
) -> dict[str, Any]:
    """The fields of a record that only a cell with a result has; scores are empty unless its status is ok."""
    if result is None or inputs is None:
        return {}
    scores = result.scores if status == "ok" else {}
    return {
        "scores": scores,
        "averages": describe_averages(suite, planned.cell.task, scores),
        "rows": dict(inputs.rows),
        "truncation": inputs.truncation,
        "loss_curve": result.history.curve,
        "steps": result.history.steps,
        "parameters": result.parameters,
        "train_state": result.state,
        "phases": result.phases,
        "forgetting": result.forgetting,
        "sharpness": result.sharpness,
        "extra": result.extra,
    }


def _select_scored_rows(planned: PlannedCell) -> TaskData:
    """The data with its eval splits cut to the scored rows, for a majority baseline on the same rows."""
    data, rows = planned.data, planned.cell.protocol.eval_rows
    splits = {s: tuple(select_rows(data.splits[s], rows, s)) for s in planned.task.eval_splits}
    return dataclasses.replace(data, splits={**data.splits, **splits})
