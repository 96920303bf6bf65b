"""Which cells of a plan are still to train, and what to tell the user before they do."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence
from pathlib import Path

from harness.core.device import check_optimizers
from harness.core.errors import UserError
from harness.core.files import check_writable, describe_os_error, escape_path
from harness.core.record import Record
from harness.core.spec import Spec
from harness.core.store import Store, select_missing_cells
from harness.core.text import count_having
from harness.models.adapter_files import is_saved
from harness.planning.plan import Plan
from harness.planning.planned_cell import PlannedCell
from harness.runner.executors.base import Executor


@dataclasses.dataclass(frozen=True)
class Remaining:
    """The plan without cells that cannot train, its `cells` without a record, and lines to show before training.

    `has_results` says whether some cell of the plan has a record.
    """

    plan: Plan
    cells: Sequence[PlannedCell]
    has_results: bool
    notes: Sequence[str]


def find_remaining(plan: Plan, spec: Spec, store: Store, executor: Executor) -> Remaining:
    """The cells of a plan that are still to train. Raises UserError if the plan has no cell that can."""
    # damaged records are set aside here, so that their cells count as missing below
    records, set_aside = store.repair()
    notes = _check_checkpoint_folder(store)
    if spec.save_adapters:
        records, adapter_notes = require_adapters(store.out, plan, records)
        notes += adapter_notes
    if spec.sharpness:
        records, sharpness_notes = require_sharpness(plan, records)
        notes += sharpness_notes
    missing = select_missing_cells(plan.cells, records, retry=spec.retry)
    if missing:  # may import torch and build models of the methods, which a finished run does not need
        from harness.planning.preflight import drop_unfit_cells

        # before any training: otherwise a method that does not fit would fail hours later
        plan = drop_unfit_cells(plan, missing, cache=spec.cache)
        missing = select_missing_cells(plan.cells, records, retry=spec.retry)
        # the devices of the executor: this process may have none, as on the head of a cluster
        check_optimizers([planned.cell for planned in missing], executor.describe().environment.device)
    if not plan.cells:
        raise UserError(f"nothing is left to run: {'; '.join(plan.dropped)}")
    total = len(plan.cells)
    counts = f"{total} cells: {total - len(missing)} done, {len(missing)} to run"
    lines = [*set_aside, *plan.dropped, *plan.notes, *notes, *plan.data_notes, counts]
    return Remaining(plan, missing, any(c.key in records for c in plan.cells), lines)


def _check_checkpoint_folder(store: Store) -> list[str]:
    """A note if checkpoints cannot be written; the run continues without them."""
    folder = store.out / "checkpoints"
    try:
        if os.path.lexists(folder):
            check_writable(folder)
    except OSError as error:
        return [f"no checkpoints: cannot write in {escape_path(folder)}: {describe_os_error(error)}"]
    return []


def require_adapters(out: Path, plan: Plan, records: dict[str, Record]) -> tuple[dict[str, Record], list[str]]:
    """The records without those that lack an adapter, so that their cells run again, and notes about it."""
    exporting = {planned.key for planned in plan.cells if planned.method.exports}
    lacking = {k for k, r in records.items() if k in exporting and r.status == "ok" and not is_saved(out, r)}
    unsupported = sorted({planned.method.name for planned in plan.cells if not planned.method.exports})
    lines = [f"not expressible in peft: {', '.join(unsupported)}; not saved"] if unsupported else []
    if lacking:
        cells = count_having(len(lacking), "finished cell")
        lines.append(f"{cells} no saved adapter: training again to save it")
    return {k: r for k, r in records.items() if k not in lacking}, lines


def require_sharpness(plan: Plan, records: dict[str, Record]) -> tuple[dict[str, Record], list[str]]:
    """The records without those that lack the sharpness, so that their cells run again, and a note about it.

    Raises UserError for cells whose gradients are too coarse to be differentiated.
    """
    coarse = [p.cell for p in plan.cells if p.cell.dtype != "fp32" or p.cell.quantize != "none"]
    if coarse:
        raise UserError(
            f"--sharpness with {coarse[0].title} in {coarse[0].precision}: differences of rounded gradients are noise;"
            " allowed: --dtype fp32 --quantize none; leave out --sharpness, or these cells"
        )
    keys = {planned.key for planned in plan.cells}
    lacking = {k for k, r in records.items() if k in keys and r.status == "ok" and r.sharpness is None}
    lines = []
    if lacking:
        lines = [f"{count_having(len(lacking), 'finished cell')} no sharpness: training again to measure it"]
    return {k: r for k, r in records.items() if k not in lacking}, lines
