"""The whole way of a study: its runs, the rule's answer, and the report with the verdict on top."""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from harness.progress import Listener
from harness.record import Profile, Record
from harness.registry import load_all
from harness.run import check_shown, run
from harness.spec import Spec, make_spec
from harness.store import Store, write_atomically
from reports.document import Findings
from studies.answer import Answer, Gathered
from studies.page import findings, page
from studies.rulebook import RULES
from studies.rules.claims import FILE
from studies.specs import RUNS, folder, specs
from studies.study import Study


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What a study came to."""

    out: Path
    report: Path
    answer: Answer
    cells: int
    failed: int
    stand_in: bool
    seconds: float


def run_study(study: Study, flags: Mapping[str, Any], command: str, listen: Callable[[int], Listener]) -> Outcome:
    """Run what is missing and answer. The same command again runs only what is missing. Raises UserError."""
    started = time.monotonic()
    load_all(flags.get("plugin", ()))
    made = specs(study, flags)
    shown = made[0] if made else make_spec(dict(flags))
    check_shown(shown)
    out = Path(flags.get("out") or (made[0].folder if made else folder(study, made, shown.preset)))
    if made:
        seen = gather(study, made, command, listen, out)
    else:
        seen = Gathered(root=out.parent if flags.get("out") else RUNS)
    answer = RULES[study.rule](study, seen)
    report = _report(study, answer, seen, shown, out, command)
    _store(study, answer, seen, shown, out, command)
    failed = sum(r.status != "ok" for r in seen.records)
    return Outcome(out, report, answer, len(seen.records), failed, seen.stand_in, time.monotonic() - started)


def gather(study: Study, made: list[Spec], command: str, listen: Callable[[int], Listener], out: Path) -> Gathered:
    """Run every grid into the one folder; what it then holds of them."""
    from reports.statistics.analysis import analyse

    records: dict[str, Record] = {}
    profiles: dict[str, Profile] = {}
    dropped: list[str] = []
    store = Store(out)
    for spec in made:
        # the study writes one report of all grids at the end
        outcome = run(spec.model_copy(update={"formats": ("csv",), "figures": ()}), command, listen)
        records |= {r.key: r for r in outcome.records}
        profiles |= {p.key: p for p in outcome.profiles}
        asked = store.read_run()
        dropped += asked["dropped"]
    margin, late = asked["margin"], bool(asked["margin_late"])
    title = f"study {study.name}: {', '.join(dict.fromkeys(r.cell.label for r in records.values()))}"
    store.write_run(command, title, list(records), list(dict.fromkeys(dropped)), margin, late)
    every, own = tuple(records.values()), tuple(profiles.values())
    found = analyse(every, own, margin=margin, cells=store.cells, late=late) if study.compares else None
    return Gathered(every, own, found, margin, store.cells, out.parent)


def _report(study: Study, answer: Answer, seen: Gathered, spec: Spec, out: Path, command: str) -> Path:
    from reports import findings as ordinary
    from reports.render import write_page, write_report

    below = ordinary.findings(seen.analysis) if seen.analysis else Findings()
    found = findings(study, answer, seen.stand_in, below)
    if not seen.records:
        path: Path = write_page(page(study, found, command), out / "report", spec.formats)
        return path
    asked = Store(out).read_run()
    facts = (asked["title"], command, asked["dropped"])
    shown: Path = write_report(
        seen.records, seen.profiles, out / "report", *facts, findings=found, formats=spec.formats, images=spec.figures
    )
    return shown


def _store(study: Study, answer: Answer, seen: Gathered, spec: Spec, out: Path, command: str) -> None:
    """The answer as data, which the study `claims` reads."""
    content = {
        "study": study.name,
        "preset": spec.preset if seen.records else "exact",
        "stand_in": seen.stand_in,
        "margin": seen.margin,
        "kind": answer.kind,
        "sentence": answer.sentence,
        "parts": {name: dataclasses.asdict(part) for name, part in answer.parts.items()},
        "evidence": [dict(row) for row in answer.rows],
        "notes": list(answer.notes),
        "command": command,
    }
    write_atomically(out / FILE, (json.dumps(content, indent=1) + "\n").encode())
