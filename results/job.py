"""Run a spec, then write its report."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.core.errors import UserError
from harness.core.listener import Listener, PlainListener
from harness.core.looks import Decide, Look, parse_looks
from harness.core.profile import Profile
from harness.core.record import Record
from harness.core.spec import Spec
from harness.core.spec_reading import make_spec
from harness.core.store import Store
from harness.runner.budget import count_failures
from results.summary import build_summary, describe_run, format_summary, format_summary_html

if TYPE_CHECKING:
    from reports.statistics.analysis import Analysis


@dataclasses.dataclass(frozen=True, repr=False)
class FinishedRun:
    """A run with its report. A notebook shows it as counts, folder, report and ranking."""

    out: Path
    report: Path
    records: tuple[Record, ...]
    profiles: tuple[Profile, ...]
    seconds: float
    analysis: Analysis
    """The estimates, tests and rankings that the report is made of."""
    notes: tuple[str, ...] = ()
    """One line for each tracker of --log that did not get all cells."""
    remaining: str = ""
    """One line about the cells that the budget has left; '' where there are none."""
    looks: tuple[Look, ...] = ()
    """The looks of `seeds="auto"`; the last one has all decisions."""
    stopped: str = ""
    """Why `seeds="auto"` added no more seeds: 'decided', or the limit that ended the run."""

    @property
    def failed(self) -> int:
        """Cells without a score; those that the budget has left do not count."""
        return count_failures(self.records, self.remaining)

    def __repr__(self) -> str:
        return format_summary(*self._summary)

    def _repr_html_(self) -> str:
        return format_summary_html(*self._summary)

    @functools.cached_property
    def _summary(self) -> tuple[list[str], list[list[str]]]:
        return describe_run(self.records, self.out, self.report), build_summary(self.records, self.profiles)


def run(**fields: Any) -> FinishedRun:
    """Train the missing cells, profile, and write the report; the fields are those of the command line.

    `results.run(suite="glue", methods="lora,lorasp", seeds=5)`. Read the scores with `results.load(run.out)`. Raises
    UserError.
    """
    # `seeds` is text on the command line ("5", "init=0,mask=0..9", "auto"), but a plain number is natural here.
    settings = {name: str(v) if name == "seeds" else v for name, v in fields.items() if v is not None}
    command = f"results.run({', '.join(f'{name}={value!r}' for name, value in settings.items())})"
    return run_spec(make_spec(settings), command, lambda total: PlainListener(sys.stderr, total))


def run_spec(
    spec: Spec, command: str, listen: Callable[[int], Listener], on_report: Callable[[], object] = lambda: None
) -> FinishedRun:
    """Train the missing cells of a spec and write the report.

    The report names `command` as its origin; `listen` makes a listener for a number of cells; `on_report` is called
    when training and profiles are over. Raises UserError. After KeyboardInterrupt the same call resumes.
    """
    from harness.core.registry import load_all
    from harness.runner.run import run as run_cells
    from results.loggers.base import check_loggers, log_records
    from results.report import analyse_run, check_formats, import_in_background, write_report

    started = time.monotonic()
    load_all(spec.plugin)
    # A wrong format must fail now, not after hours of training.
    check_formats(spec)
    check_loggers(spec.log)
    outcome = run_cells(spec, command, listen, import_in_background, make_decide(spec))
    on_report()
    store = Store(outcome.out)
    analysis = analyse_run(store, outcome.records, outcome.profiles, spec)
    report = write_report(
        store, outcome.records, list(outcome.profiles), spec, notes=list(outcome.skipped), analysis=analysis
    )
    if spec.save_adapters:
        from results.model_card import write_cards

        write_cards(outcome.out, outcome.records, command)
    outcome.timeline.mark("reported")
    # another run may have the folder by now: what it writes is not to be replaced
    with contextlib.suppress(UserError), store.lock():
        store.declare({"timeline": outcome.timeline.seconds})
    notes = tuple(log_records(spec.log, outcome.records, outcome.out))
    seconds = time.monotonic() - started
    return FinishedRun(
        outcome.out,
        report,
        outcome.records,
        outcome.profiles,
        seconds,
        analysis,
        notes,
        outcome.remaining,
        outcome.looks,
        outcome.stopped,
    )


def make_decide(spec: Spec) -> Decide | None:
    """What judges the looks of an automatic number of seeds; None of a fixed number. Raises UserError."""
    looks = parse_looks(spec.seeds)
    if looks is None:
        return None
    from reports.statistics.decisions import SequentialTests
    from results.report import read_question

    store = Store(spec.folder)

    @functools.cache
    def open_tests() -> SequentialTests:
        # run.json has the question of the run once its first cells are planned: an earlier command may have declared it
        run_info = store.read_run()
        return SequentialTests(looks, run_info["margin"], read_question(run_info, spec), store.cells)

    return lambda records, seeds: open_tests().decide(records, seeds)
