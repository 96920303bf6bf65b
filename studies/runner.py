"""The whole way of a study: its runs, the rule's answer, and the report with the verdict on top."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from harness.core.errors import UserError
from harness.core.files import seal, write_atomically
from harness.core.listener import Listener
from harness.core.record import Record
from harness.core.registry import load_all
from harness.core.spec import Spec, make_spec
from harness.core.store import Store
from harness.runner.run import no_records, run, stored as stored_run
from reports.document import Findings
from results.report import check_shown, write_report
from studies import stored
from studies.answer import Answer, Gathered
from studies.collected import collected
from studies.page import findings, page
from studies.rulebook import RULES, check as check_rule
from studies.specs import RUNS, folder, specs
from studies.study import Study

KEPT = (RUNS, Path("results/reference"))
"""Where `claims` looks without --runs."""


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What a study came to."""

    out: Path
    report: Path
    answer: Answer
    cells: int
    failed: int
    stand_in: bool
    late: bool
    seconds: float


def run_study(
    study: Study,
    flags: Mapping[str, Any],
    command: str,
    listen: Callable[[int], Listener],
    runs: Sequence[Path] = (),
) -> Outcome:
    """Run what is missing and answer. The same command again runs only what is missing. Raises UserError."""
    started = time.monotonic()
    load_all(flags.get("plugin", ()))
    check(study, runs)
    made = specs(study, flags)
    shown = made[0] if made else make_spec(dict(flags))
    check_shown(shown)
    out = Path(flags.get("out") or (made[0].folder if made else folder(study, made, shown.preset, runs)))
    stored.check_folder(out, study)
    if made:
        gather(study, made, command, listen, out)
        seen, lines = of_folder(study, out)
    else:
        lines = []
        found = collected(runs or _roots(flags, out), named=bool(runs)) if study.rule == "claims" else {}
        seen = Gathered(stored=found)
    answer = RULES[study.rule](study, seen)
    _store(out, stored.content(study, answer, seen, shown.preset, command))
    path = _report(study, answer, seen, out, shown, command, lines)
    failed = sum(r.status != "ok" for r in seen.records)
    return Outcome(out, path, answer, len(seen.records), failed, seen.stand_in, seen.late, time.monotonic() - started)


def check(study: Study, runs: Sequence[Path]) -> None:
    """Raise UserError for a study that its rule cannot judge, and for --runs where nothing is collected."""
    check_rule(study)
    if runs and study.rule != "claims":
        raise UserError(f"--runs: study {study.name} trains its own cells; allowed: study claims --runs DIR,DIR")


def _roots(flags: Mapping[str, Any], out: Path) -> list[Path]:
    """Beside the folder of --out, else where runs are kept."""
    return [out.parent] if flags.get("out") else [root for root in KEPT if root.is_dir()]


def gather(study: Study, made: Sequence[Spec], command: str, listen: Callable[[int], Listener], out: Path) -> None:
    """Run every grid into the one folder, and say there what it holds."""
    records: dict[str, Record] = {}
    dropped: list[str] = []
    store = Store(out)
    store.prepare()
    for spec in made:
        with _marked(out, study):
            # the study writes one report of all grids at the end
            outcome = run(spec.model_copy(update={"formats": ("csv",), "figures": ()}), command, listen)
        records |= {r.key: r for r in outcome.records}
        asked = store.read_run()
        dropped += asked["dropped"]
    title = f"study {study.name}: {', '.join(dict.fromkeys(r.cell.label for r in records.values()))}"
    late = bool(asked["margin_late"])
    store.write_run(command, title, list(records), list(dict.fromkeys(dropped)), asked["margin"], late)


@contextlib.contextmanager
def _marked(out: Path, study: Study) -> Iterator[None]:
    """The folder says whose it is before anything is trained; no longer where nothing could be planned."""
    fresh = not (out / stored.FILE).is_file()
    if fresh:
        _store(out, stored.marker(study))
    try:
        yield
    except UserError:
        if fresh and not (out / "run.json").is_file():
            (out / stored.FILE).unlink()
        raise


def of_folder(study: Study, out: Path) -> tuple[Gathered, list[str]]:
    """What a study's folder holds of it, and lines about skipped files. Raises UserError where it holds no run."""
    from reports.statistics.analysis import analyse

    records, profiles, lines = stored_run(out)
    if not records:
        raise no_records(out, lines)
    store = Store(out)
    asked = store.read_run()
    margin, late = asked.get("margin"), bool(asked.get("margin_late"))
    found = analyse(records, profiles, margin=margin, cells=store.cells, late=late) if study.compares else None
    return Gathered(records, tuple(profiles), found, margin, store.cells, late), lines


def report(out: Path, spec: Spec, to: Path | None = None) -> tuple[Path, list[str]]:
    """Write a study's report again from its folder, into `to` if given, and lines about skipped files.

    The verdict is made anew from the records; without any, it is the stored one.
    """
    load_all(())
    content = stored.read(out)
    study = stored.declared(content)
    check(study, ())
    seen, lines = of_folder(study, out) if study.grids else (Gathered(), [])
    answer = RULES[study.rule](study, seen) if study.grids else stored.answer_of(content)
    return _report(study, answer, seen, out, spec, content.get("command", ""), lines, to), lines


def _report(
    study: Study,
    answer: Answer,
    seen: Gathered,
    out: Path,
    spec: Spec,
    command: str,
    lines: Sequence[str] = (),
    to: Path | None = None,
) -> Path:
    from reports import findings as ordinary
    from reports.render import write_page

    if not seen.records:
        path: Path = write_page(
            page(study, findings(study, answer, seen, Findings()), command), to or out / "report", spec.formats
        )
        return path
    analysis = seen.analysis
    below = ordinary.findings(analysis) if analysis else ordinary.checks_alone(seen.records, seen.profiles)
    return write_report(
        Store(out),
        tuple(seen.records),
        list(seen.profiles),
        spec,
        findings(study, answer, seen, below),
        notes=lines,
        folder=to,
    )


def _store(out: Path, content: Mapping[str, Any]) -> None:
    out.mkdir(parents=True, exist_ok=True)
    write_atomically(out / stored.FILE, seal(json.dumps(content, indent=1).encode()))
