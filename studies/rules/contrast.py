"""Does LoRA-SP lose more far from home? Its difference to LoRA far away, less its difference near."""

from __future__ import annotations

import statistics
from collections.abc import Mapping

from harness.record import Record
from reports.frames import Seeds, grids, score, seeds_of
from reports.statistics.student import Student, of_values
from studies.answer import Answer, Gathered, Part
from studies.rules.margins import decide, interval
from studies.study import Study

Places = Mapping[str, Mapping[Seeds, float]]


def answer(study: Study, seen: Gathered) -> Answer:
    """Options: `subject`, `against`, `places` (tasks or metrics), `near` (some of them)."""
    o = study.options
    subject, first = (places(seen, o[name], o["places"]) for name in ("subject", "against"))
    lost = {
        place: {s: value - first[place][s] for s, value in by.items() if s in first.get(place, {})}
        for place, by in subject.items()
    }
    contrast = contrast_of(lost, o["near"])
    kind = decide([contrast], seen.margin or 0.0, "not worse")[0]
    far = [p for p in lost if p not in o["near"]]
    said = {
        "confirmed": "surely loses no more by the margin",
        "contradicted": "surely loses more by over the margin",
        "undecided": "may or may not lose more by the margin",
    }
    places_far = ", ".join(far) if len(far) <= 4 else f"{len(far)} other places"
    where = f"on {places_far or 'no place'} than on {', '.join(o['near'])}"
    sentence = f"Against {o['against']}, {o['subject']} {said[kind]} {where}: {interval(contrast)} points."
    rows = [_row(place, first.get(place, {}), subject[place], by) for place, by in lost.items()]
    notes = [f"margin {seen.margin or 0:g} points, seeds paired; intervals are for new seeds, these examples"]
    return Answer(kind, sentence, {"far": Part(kind, sentence)}, rows, notes)


def contrast_of(lost: Places, near: list[str]) -> Student | None:
    """Mean difference over the far places less that over the near ones, by seed; None where a seed lacks a place."""
    far = [place for place in lost if place not in near]
    if not far or any(place not in lost for place in near):
        return None
    common = [s for s in lost[near[0]] if all(s in by for by in lost.values())]
    return of_values([_over(lost, far, s) - _over(lost, near, s) for s in common])


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
        return record.scores
    value = score(record, next(iter(record.averages), ""))
    return {} if value is None else {record.cell.task: value}


def _row(
    place: str, first: Mapping[Seeds, float], own: Mapping[Seeds, float], lost: Mapping[Seeds, float]
) -> dict[str, str]:
    return {
        "place": place,
        "reference": f"{statistics.fmean(first.values()):.1f}" if first else "",
        "subject": f"{statistics.fmean(own.values()):.1f}" if own else "",
        "difference (95 %)": interval(of_values(list(lost.values()))),
        "pairs": str(len(lost)),
    }
