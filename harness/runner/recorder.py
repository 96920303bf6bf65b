"""What a run stores of a cell, whether it finished or not."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from harness.core.cell import Cell
from harness.core.method import Suite, TaskData
from harness.core.provenance import get_utc_time
from harness.core.record import AdapterInfo, AverageInfo, Environment, PackInfo, Record, Status
from harness.models.adapter_files import add_digests, build_labelled_config, prepare_base, write_adapter
from harness.planning.packs import Pack

if TYPE_CHECKING:
    from harness.core.store import Store
    from harness.data.inputs import Inputs
    from harness.planning.plan import Plan
    from harness.training.result import Result


class Recorder:
    """Makes records of a plan's cells and stores them. `told` gives what a record says of the size of its pack."""

    def __init__(self, plan: Plan, store: Store, environment: Environment) -> None:
        self.plan, self.store, self.environment = plan, store, environment
        self.told: Callable[[Cell], dict[str, Any]] = lambda cell: {"chosen": "asked"}

    def write(
        self,
        pack: Pack,
        slot: int,
        status: Status,
        started: str,
        inputs: Inputs | None,
        *,
        reason: str | None = None,
        trace: str | None = None,
        result: Result | None = None,
    ) -> Record:
        """Store one cell of a pack, adapter and predictions too; `inputs` are its tokenised rows, if it had any."""
        cell = pack.cells[slot]
        suite, data = self.plan.suites[cell.suite], self.plan.data[cell.suite, cell.task]
        record = Record(
            key=cell.key,
            status=status,
            reason=reason,
            traceback=trace,
            cell=cell,
            majority=suite.majority(cell.task, _select_scored_rows(suite, cell, data)),
            stand_in=self.plan.models[cell.suite].stand_in and data.source == "embedded",
            data_source=data.source,
            data_notes=[*data.notes, *(inputs.notes if inputs else ()), *(result.notes if result else ())],
            pack=self._build_pack_info(pack, slot),
            environment=self.environment,
            started=started,
            finished=get_utc_time(),
            adapter=self._write_adapter(cell, result),
            **_build_outcome_fields(suite, cell, status, result, inputs),
        )
        record = add_digests(self.store.out, record)
        self.store.write(record, result.predictions if result and status == "ok" else None)
        return record

    def _build_pack_info(self, pack: Pack, slot: int) -> PackInfo:
        keys, size_info = [c.key for c in pack.cells], self.told(pack.cells[slot])
        return PackInfo(keys=keys, slot=slot, size=len(keys), threads=self.environment.threads, **size_info)

    def _write_adapter(self, cell: Cell, result: Result | None) -> AdapterInfo | None:
        """Write the trained adapter, where one was asked for."""
        if result is None or result.adapter is None:
            return None
        source, out = self.plan.models[cell.suite], self.store.out
        task = self.plan.suites[cell.suite].tasks[cell.task]
        config = None if task.outputs is None else build_labelled_config(source, task.labels)
        return write_adapter(out, cell.key, result.adapter, prepare_base(out, source, config), config)


def _build_outcome_fields(
    suite: Suite, cell: Cell, status: Status, result: Result | None, inputs: Inputs | None
) -> dict[str, Any]:
    """The fields of a record that only a finished run has."""
    if result is None or inputs is None:
        return {}
    scores = result.scores if status == "ok" else {}
    averages = {
        a.name: AverageInfo(
            tasks=sorted(a.scores),
            score=suite.headline(cell.task, scores, a),
            metrics=list(a.scores.get(cell.task, ())),
        )
        for a in suite.averages
    }
    return {
        "scores": scores,
        "averages": averages,
        "rows": inputs.rows,
        "truncation": inputs.truncation,
        "loss_curve": result.trained.curve,
        "steps": result.trained.steps,
        "parameters": result.parameters,
        "train_state": result.state,
        "phases": result.phases,
        "extra": result.extra,
    }


def _select_scored_rows(suite: Suite, cell: Cell, data: TaskData) -> TaskData:
    """The data with the eval rows that are scored, so that the constant prediction is held to the same ones."""
    from harness.data.tokens import select_rows

    rows = cell.protocol.eval_rows
    splits = {s: tuple(select_rows(data.splits[s], rows, s)) for s in suite.tasks[cell.task].eval_splits}
    return dataclasses.replace(data, splits={**data.splits, **splits})
