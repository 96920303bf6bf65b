"""Does LoRA-SP lose more on other data? Its difference to LoRA on far places minus that on near ones.

place: a task, or a metric (one language of XNLI)
contrast of a seed = mean over far places of (subject - reference) - the same mean over near places
"""

from __future__ import annotations

import dataclasses
import math
import statistics
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from harness.core.record import Record
from harness.core.text import count_noun
from reports.frames import Seeds, build_grids, get_score, get_seeds
from reports.statistics.shared_seeds import estimate_over_seeds
from reports.statistics.student import Student
from studies.answer import Answer, Part, StudyRuns
from studies.rules.collapsing import find_refusal
from studies.rules.families import EVERY, FamilyVerdicts, judge_families
from studies.rules.margins import describe_estimate_power, format_interval, judge_estimates
from studies.study import Kind, Study

ScoresByPlace = Mapping[str, Mapping[Seeds, float]]


VERDICT_PHRASES: Mapping[Kind, str] = {
    "confirmed": "is shown not to lose more by the margin",
    "contradicted": "loses significantly more, by more than the margin,",
    "undecided": "may or may not lose more by the margin",
}


def judge(study: Study, seen: StudyRuns) -> Answer:
    """Options: `subject`, `against`, `places` (tasks or metrics), `near` (some of them).

    `families`, true for metrics that are languages: a verdict for each language family too.
    """
    o, margin = study.options, seen.margin or 0.0
    subject, first = (collect_places(seen, o[name], o["places"]) for name in ("subject", "against"))
    differences = {place: _subtract_paired(by, first.get(place, {})) for place, by in subject.items()}
    # Rows are shown even where no verdict is possible.
    rows = [_build_row(place, first.get(place, {}), subject[place], by) for place, by in differences.items()]
    notes = [f"margin {margin:g} points, seeds paired; intervals are for new seeds, these examples"]
    far = [p for p in differences if p not in o["near"]]
    if not far or any(place not in differences for place in o["near"]) or not any(differences.values()):
        lacks = f"scores of {o['subject']} and {o['against']} on {', '.join(o['near'])} and elsewhere"
        return Answer("undecided", f"No verdict yet; missing: {lacks}.", {}, rows, notes, lacks)
    methods = (o["subject"], o["against"])
    # a head alone, or another method of the run, that collapses says nothing of the seeds of these two
    compared = dataclasses.replace(seen, records=[r for r in seen.records if r.cell.label in methods], analysis=None)
    refused = find_refusal(compared, methods, [] if o["places"] == "metrics" else list(differences))
    broken = count_failures(seen.records, methods)
    families = FamilyVerdicts(None, {}, ())
    if o.get("families"):
        families = judge_families(seen, methods, margin, is_broken=bool(broken), is_refused=bool(refused))
    contrast = estimate_contrast(differences, o["near"])
    if families.overall is not None and families.overall.has_examples:
        contrast = families.overall.estimate
        notes = [f"margin {margin:g} points, seeds paired; the verdict's interval is for new seeds and new examples"]
    part = _judge_contrast(contrast, far, o, margin, broken, refused)
    sentence = f"{part.summary} {families.parts[EVERY].sentence}" if families.parts else part.summary
    return Answer(part.kind, sentence, {"far": part, **families.parts}, rows, notes, tables=list(families.tables))


def _subtract_paired(subject: Mapping[Seeds, float], reference: Mapping[Seeds, float]) -> dict[Seeds, float]:
    """Differences over the seeds that both have: seeds are paired, so init, head and order are the same."""
    return {seeds: value - reference[seeds] for seeds, value in subject.items() if seeds in reference}


def _judge_contrast(
    contrast: Student | None, far: Sequence[str], o: Mapping[str, Any], margin: float, broken: int, refused: str = ""
) -> Part:
    """The verdict on the contrast; undecided where cells failed (`broken`), because the failed ones may be the worst.

    `refused`: why nothing can be confirmed.
    """
    contrast = None if broken else contrast
    kind = judge_estimates([contrast], margin, "not worse", refused=[bool(refused)])[0]
    places_far = ", ".join(far) if len(far) <= 4 else f"{len(far)} other places"
    where = f"on {places_far} than on {', '.join(o['near'])}"
    numbers = (
        f"{count_noun(broken, 'cell')} failed"
        if broken
        else f"{format_interval(contrast)}{' points' if contrast else ''}"
    )
    sentence = f"Against {o['against']}, {o['subject']} {VERDICT_PHRASES[kind]} {where}: {numbers}."
    if refused and kind == "undecided":
        sentence += f" Nothing is confirmed: {refused}."
    return Part(kind, sentence, describe_estimate_power(contrast, margin))


def count_failures(records: Iterable[Record], methods: Collection[str]) -> int:
    """The number of cells of these methods that failed or have a score that is not finite."""
    selected = (r for r in records if r.cell.label in methods)
    return sum(r.status != "ok" or not all(map(math.isfinite, r.scores.values())) for r in selected)


def estimate_contrast(lost: ScoresByPlace, near: list[str]) -> Student | None:
    """Mean difference over the far places minus that over the near ones, over seeds; None where a place is missing."""
    far = [place for place in lost if place not in near]
    if not far or any(place not in lost for place in near):
        return None
    # Only seeds with every place: a mean over other places would be another quantity.
    common = [s for s in lost[near[0]] if _has_seed(lost, s)]
    return estimate_over_seeds({s: _mean_over(lost, far, s) - _mean_over(lost, near, s) for s in common})


def _has_seed(lost: ScoresByPlace, seeds: Seeds) -> bool:
    return all(seeds in by_seeds for by_seeds in lost.values())


def _mean_over(lost: ScoresByPlace, places: list[str], seeds: Seeds) -> float:
    return statistics.fmean(lost[place][seeds] for place in places)


def collect_places(seen: StudyRuns, method: str, kind: str) -> dict[str, dict[Seeds, float]]:
    """Place -> seeds -> score in points of one method; the place of a metric is its name."""
    by_place: dict[str, dict[Seeds, float]] = {}
    for grid in build_grids(seen.records):
        for record in grid.select_method(method) if method in grid.methods else ():
            for place, value in _get_scores(record, kind).items():
                by_place.setdefault(place, {})[get_seeds(record)] = value
    return by_place


def _get_scores(record: Record, kind: str) -> Mapping[str, float]:
    if kind == "metrics":
        # a validation part is of the train rows, so it is no other place
        measured = {name: value for name, value in record.scores.items() if not name.endswith("_heldout")}
        return {name: value for name, value in measured.items() if math.isfinite(value)}
    value = get_score(record, next(iter(record.averages), ""))
    return {} if value is None else {record.cell.task: value}


def _build_row(
    place: str, first: Mapping[Seeds, float], own: Mapping[Seeds, float], lost: Mapping[Seeds, float]
) -> dict[str, str]:
    return {
        "place": place,
        "reference": f"{statistics.fmean(first.values()):.1f}" if first else "",
        "subject": f"{statistics.fmean(own.values()):.1f}" if own else "",
        "difference (95 %)": format_interval(estimate_over_seeds(lost)),
        "pairs": str(len(lost)),
    }
