"""The whole main job: run a spec, then write its report."""

from __future__ import annotations

import dataclasses
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from harness.core.listener import Listener, PlainListener
from harness.core.record import Profile, Record
from harness.core.spec import Spec, make_spec
from harness.core.store import Store


@dataclasses.dataclass(frozen=True)
class FinishedRun:
    """A run with its report."""

    out: Path
    report: Path
    records: tuple[Record, ...]
    profiles: tuple[Profile, ...]
    seconds: float
    notes: tuple[str, ...] = ()
    """One line for each tracker of --log that did not get all cells."""

    @property
    def failed(self) -> int:
        return sum(r.status != "ok" for r in self.records)


def run(**fields: Any) -> FinishedRun:
    """Train what is missing, measure, and write the report; the fields are those of the command line.

    `results.run(suite="glue", methods="lora,lorasp", seeds=5)`; what is done is in `out` of the answer, for
    `results.load`. Raises UserError.
    """
    settings = {name: str(v) if name == "seeds" else v for name, v in fields.items() if v is not None}
    command = f"results.run({', '.join(f'{name}={value!r}' for name, value in settings.items())})"
    return run_spec(make_spec(settings), command, lambda total: PlainListener(sys.stderr, total))


def run_spec(spec: Spec, command: str, listen: Callable[[int], Listener]) -> FinishedRun:
    """Run what is missing of a spec and write the report.

    `command` is what the report names as its origin; `listen` makes a listener for so many cells. Raises UserError;
    KeyboardInterrupt leaves a folder that resumes.
    """
    from harness.core.registry import load_all
    from harness.runner.run import run as run_cells
    from results.loggers.base import check_loggers, log_records
    from results.report import check_formats, write_report

    started = time.monotonic()
    load_all(spec.plugin)
    check_formats(spec)
    check_loggers(spec.log)
    outcome = run_cells(spec, command, listen)
    report = write_report(
        Store(outcome.out), outcome.records, list(outcome.profiles), spec, notes=list(outcome.skipped)
    )
    if spec.save_adapters:
        from results.model_card import write_cards

        write_cards(outcome.out, outcome.records, command)
    notes = log_records(spec.log, outcome.records, outcome.out)
    return FinishedRun(outcome.out, report, outcome.records, outcome.profiles, time.monotonic() - started, tuple(notes))
