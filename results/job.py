"""The whole main job: run a spec, then write its report."""

from __future__ import annotations

import dataclasses
import functools
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from harness.core.listener import Listener, PlainListener
from harness.core.record import Profile, Record
from harness.core.spec import Spec, make_spec
from harness.core.store import Store
from results.summary import build_summary, describe_run, format_summary, format_summary_html


@dataclasses.dataclass(frozen=True, repr=False)
class FinishedRun:
    """A run with its report. A notebook shows it as counts, folder, report and ranking."""

    out: Path
    report: Path
    records: tuple[Record, ...]
    profiles: tuple[Profile, ...]
    seconds: float

    @property
    def failed(self) -> int:
        return sum(r.status != "ok" for r in self.records)

    def __repr__(self) -> str:
        return format_summary(*self._summary)

    def _repr_html_(self) -> str:
        return format_summary_html(*self._summary)

    @functools.cached_property
    def _summary(self) -> tuple[list[str], list[list[str]]]:
        return describe_run(self.records, self.out, self.report), build_summary(self.records, self.profiles)


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
    from results.report import check_formats, write_report

    started = time.monotonic()
    load_all(spec.plugin)
    check_formats(spec)
    outcome = run_cells(spec, command, listen)
    report = write_report(
        Store(outcome.out), outcome.records, list(outcome.profiles), spec, notes=list(outcome.skipped)
    )
    return FinishedRun(outcome.out, report, outcome.records, outcome.profiles, time.monotonic() - started)
