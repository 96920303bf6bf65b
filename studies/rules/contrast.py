"""Does LoRA-SP lose more far from home? Its difference to LoRA far away, less its difference near."""

from __future__ import annotations

import math
import statistics
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from harness.core.record import Record
from reports.frames import Seeds, grids, score, seeds_of
from reports.statistics.shared_seeds import over_seeds
from reports.statistics.student import Student
from studies.answer import Answer, Gathered, Part
from studies.rules.collapsing import refusal_of
from studies.rules.margins import decide, interval, power
from studies.study import Kind, Study

Places = Mapping[str, Mapping[Seeds, float]]


SAID: Mapping[Kind, str] = {
    "confirmed": "surely loses no more by the margin",
    "contradicted": "surely loses more by over the margin",
    "undecided": "may or may not lose more by the margin",
}


def answer(study: Study, seen: Gathered) -> Answer:
    """Options: `subject`, `against`, `places` (tasks or metrics), `near` (some of them)."""
    o, margin = study.options, seen.margin or 0.0
    subject, first = (places(seen, o[name], o["places"]) for name in ("subject", "against"))
    lost = {
        place: {s: value - first[place][s] for s, value in by.items() if s in first.get(place, {})}
        for place, by in subject.items()
    }
    rows = [_row(place, first.get(place, {}), subject[place], by) for place, by in lost.items()]
    notes = [f"margin {margin:g} points, seeds paired; intervals are for new seeds, these examples"]
    far = [p for p in lost if p not in o["near"]]
    if not far or any(place not in lost for place in o["near"]) or not any(lost.values()):
        lacks = f"scores of {o['subject']} and {o['against']} on {', '.join(o['near'])} and elsewhere"
        return Answer("undecided", f"Nothing could be compared: it lacks {lacks}.", {}, rows, notes, lacks)
    methods = (o["subject"], o["against"])
    refused = refusal_of(seen, methods, [] if o["places"] == "metrics" else list(lost))
    part = _part(lost, far, o, margin, failures(seen.records, methods), refused)
    return Answer(part.kind, part.told, {"far": part}, rows, notes)


def _part(
    lost: Places, far: Sequence[str], o: Mapping[str, Any], margin: float, broken: int, refused: str = ""
) -> Part:
    """Undecided where cells are `broken`: what is left of them may be the better half.

    `refused`: why nothing can be confirmed.
    """
    contrast = None if broken else contrast_of(lost, o["near"])
    kind = decide([contrast], margin, "not worse", refused=[bool(refused)])[0]
    places_far = ", ".join(far) if len(far) <= 4 else f"{len(far)} other places"
    where = f"on {places_far} than on {', '.join(o['near'])}"
    numbers = f"{broken} cells failed" if broken else f"{interval(contrast)}{' points' if contrast else ''}"
    sentence = f"Against {o['against']}, {o['subject']} {SAID[kind]} {where}: {numbers}."
    if refused and kind == "undecided":
        sentence += f" Nothing is confirmed: {refused}."
    return Part(kind, sentence, power(contrast, margin))


def failures(records: Iterable[Record], methods: Collection[str]) -> int:
    """Cells of these methods that did not end, or with a score that is no number."""
    own = (r for r in records if r.cell.label in methods)
    return sum(r.status != "ok" or not all(map(math.isfinite, r.scores.values())) for r in own)


def contrast_of(lost: Places, near: list[str]) -> Student | None:
    """Mean difference over the far places less that over the near ones, by seed; None where a seed lacks a place."""
    far = [place for place in lost if place not in near]
    if not far or any(place not in lost for place in near):
        return None
    common = [s for s in lost[near[0]] if all(s in by for by in lost.values())]
    return over_seeds({s: _over(lost, far, s) - _over(lost, near, s) for s in common})


def _over(lost: Places, places_: list[str], seeds: Seeds) -> float:
    return statistics.fmean(lost[place][seeds] for place in places_)


def places(seen: Gathered, method: str, kind: str) -> dict[str, dict[Seeds, float]]:
    """Place -> seeds -> score in points, of one method. A metric's place is its name."""
    found: dict[str, dict[Seeds, float]] = {}
    for grid in grids(seen.records):
        for record in grid.of_method(method) if method in grid.methods else ():
            for place, value in _scores(record, kind).items():
                found.setdefault(place, {})[seeds_of(record)] = value
    return found


def _scores(record: Record, kind: str) -> Mapping[str, float]:
    if kind == "metrics":
        return {name: value for name, value in record.scores.items() if math.isfinite(value)}
    value = score(record, next(iter(record.averages), ""))
    return {} if value is None else {record.cell.task: value}


def _row(
    place: str, first: Mapping[Seeds, float], own: Mapping[Seeds, float], lost: Mapping[Seeds, float]
) -> dict[str, str]:
    return {
        "place": place,
        "reference": f"{statistics.fmean(first.values()):.1f}" if first else "",
        "subject": f"{statistics.fmean(own.values()):.1f}" if own else "",
        "difference (95 %)": interval(over_seeds(lost)),
        "pairs": str(len(lost)),
    }
