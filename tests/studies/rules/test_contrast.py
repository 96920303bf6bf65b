"""Losses near and far of made-up records."""

from __future__ import annotations

import math

import pytest

from reports.statistics.language_gaps import FAMILIES
from studies.answer import StudyRuns
from studies.rules.contrast import judge
from studies.rules.families import EVERY
from studies.study import load_study
from tests.reports.records import cell, grid_of, record

NOISE = (0.3, -0.2, 0.1, -0.2)
TASKS = ("d000", "d050", "d100")


def by_task(cost: float) -> StudyRuns:
    """lorasp loses 3 points near and 3 + cost far."""
    made: dict[tuple[str, str], list[float | None]] = {}
    for task in TASKS:
        far = 0.0 if task == "d000" else cost
        made[task, "lora"] = [80.0 + 2 * n for n in NOISE]
        made[task, "lorasp"] = [77.0 - far + (n if task == "d000" else -n) for n in NOISE]
    return StudyRuns(grid_of(made, TASKS), margin=2.0)


@pytest.mark.parametrize(("cost", "kind"), [(0.0, "confirmed"), (8.0, "contradicted"), (2.2, "undecided")])
def test_tasks(cost: float, kind: str) -> None:
    found = judge(load_study("domain"), by_task(cost))
    assert found.kind == kind and len(found.rows) == 3
    assert f"{-cost if cost else 0.0:+.2f} (" in found.sentence


@pytest.mark.parametrize(("cost", "kind"), [(0.0, "confirmed"), (8.0, "contradicted")])
def test_metrics(cost: float, kind: str) -> None:
    records = []
    for seed, n in enumerate(NOISE):
        for method, far in (("lora", 0.0), ("lorasp", cost)):
            scores = {"accuracy_en": 80.0 + n, "accuracy_sw": 70.0 - far + n * (2 if far == 0 else 3)}
            scores["accuracy_sw"] += seed * 0.05 if method == "lora" else 0.0
            records.append(record(75.0, cell("en", method, seed), ("en",), scores=scores))
    assert judge(load_study("multilingual"), StudyRuns(records, margin=2.0)).kind == kind


def test_without_the_near_place_nothing_is_decided() -> None:
    seen = by_task(0.0)
    left = [r for r in seen.records if r.cell.task != "d000"]
    assert judge(load_study("domain"), StudyRuns(left, margin=2.0)).kind == "undecided"


def test_losing_less_far_away_is_no_loss() -> None:
    found = judge(load_study("domain"), by_task(-8.0))
    assert found.kind == "confirmed"


def test_undecided_says_what_it_would_take() -> None:
    found = judge(load_study("domain"), by_task(2.2))
    assert found.kind == "undecided" and "seeds needed for 2.0 points" in found.sentence


@pytest.mark.parametrize("broken", [None, math.nan])
def test_a_cell_without_a_number_decides_nothing(broken: float | None) -> None:
    """The other seeds alone would contradict."""
    made = list(by_task(8.0).records)
    left = [r for r in made if not (r.cell.task == "d050" and r.cell.method == "lorasp" and r.cell.seeds["init"] == 3)]
    lost = record(broken, cell("d050", "lorasp", 3), TASKS)
    found = judge(load_study("domain"), StudyRuns([*left, lost], margin=2.0))
    assert found.kind == "undecided" and "1 cell failed" in found.sentence


def test_one_seed_decides_nothing() -> None:
    one = [r for r in by_task(8.0).records if r.cell.seeds["init"] == 0]
    found = judge(load_study("domain"), StudyRuns(one, margin=2.0))
    assert found.kind == "undecided" and "one seed or no spread" in found.sentence


def test_what_is_lacking_is_named() -> None:
    made = by_task(8.0).records
    for left in (
        [r for r in made if r.cell.task == "d000"],
        [r for r in made if r.cell.method == "lorasp"],
        [r for r in made if r.cell.task != "d000"],
    ):
        found = judge(load_study("domain"), StudyRuns(left, margin=2.0))
        assert found.kind == "undecided" and found.parts == {} and "lorasp and lora" in found.lacks


def test_a_place_that_one_method_lacks_decides_nothing() -> None:
    left = [r for r in by_task(8.0).records if (r.cell.task, r.cell.method) != ("d100", "lora")]
    assert judge(load_study("domain"), StudyRuns(left, margin=2.0)).kind == "undecided"


def test_a_language_without_a_number_decides_nothing_and_is_no_mean() -> None:
    made = []
    for seed, n in enumerate(NOISE):
        for method, far in (("lora", 0.0), ("lorasp", 8.0)):
            scores = {"accuracy_en": 80.0 + n, "accuracy_sw": 70.0 - far + n * (2 if far == 0 else 3)}
            if (method, seed) == ("lorasp", 1):
                scores["accuracy_sw"] = math.nan
            made.append(record(1.0, cell("en", method, seed), ("en",), scores=scores))
    found = judge(load_study("multilingual"), StudyRuns(made, margin=2.0))
    assert found.kind == "undecided" and "1 cell failed" in found.sentence
    assert not any("nan" in text for row in found.rows for text in row.values())


def by_language(costs: dict[str, float]) -> StudyRuns:
    """lorasp and lora in all languages; in those of `costs` lorasp loses so many points more than in English."""
    records = []
    codes = ["en", *(code for family in FAMILIES.values() for code in family)]
    for seed, n in enumerate(NOISE):
        for method in ("lora", "lorasp"):
            scores = {}
            for place, code in enumerate(codes):
                cost = costs.get(code, 0.0) if method == "lorasp" else 0.0
                scores[f"accuracy_{code}"] = 75.0 - place - cost + n * (1 + place / 7 if method == "lorasp" else 1)
            records.append(record(75.0, cell("en", method, seed, suite="xnli"), ("en",), scores=scores))
    return StudyRuns(records, margin=2.0)


def test_each_language_family_has_a_verdict() -> None:
    """Turkish alone loses, which the mean over all languages hides; two languages of a family are its mean."""
    found = judge(load_study("multilingual"), by_language({"tr": 8.0, "hi": 8.0, "ur": -8.0}))
    kinds = {name: part.kind for name, part in found.parts.items()}
    assert kinds["Turkic"] == "contradicted" and kinds["far"] == found.kind == "confirmed"
    assert {kinds[name] for name in FAMILIES if name != "Turkic"} == {"confirmed"}
    assert kinds[EVERY] == "contradicted" and "contradicted 1 (Turkic)" in found.sentence
    rows = found.tables[0][1]
    assert len(rows) == len(FAMILIES) and {row["generalizes to"] for row in rows} == {"new seeds"}


def test_a_failed_cell_decides_no_family() -> None:
    seen = by_language({"tr": 8.0})
    lost = record(None, cell("en", "lorasp", 9, suite="xnli"), ("en",))
    found = judge(load_study("multilingual"), StudyRuns([*seen.records, lost], margin=2.0))
    assert {part.kind for part in found.parts.values()} == {"undecided"}
