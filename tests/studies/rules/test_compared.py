"""Comparisons of made-up records whose truth is known."""

from __future__ import annotations

from typing import Any

import pytest

from reports.statistics.analysis import analyse
from studies.answer import Gathered
from studies.rules.compared import answer
from studies.study import load
from tests.reports.records import grid_of

NOISE = (0.3, -0.2, 0.1, -0.3, 0.1)


def seen(scores: dict[str, float], margin: float = 1.0, tasks: tuple[str, ...] = ("rte",)) -> Gathered:
    """Methods with a true mean each; noise grows from one to the next so that pairs have spread."""
    made: dict[tuple[str, str], list[float | None]] = {}
    for task in tasks:
        for place, (method, mean) in enumerate(scores.items()):
            made[task, method] = [mean + (place + 1) * n for n in NOISE]
    records = grid_of(made, tasks)
    return Gathered(records, (), analyse(records, (), margin=margin), margin)


@pytest.mark.parametrize(("lorasp", "kind"), [(80.0, "confirmed"), (70.0, "contradicted"), (79.1, "undecided")])
def test_parity(lorasp: float, kind: str) -> None:
    found = answer(load("parity"), seen({"full": 80.0, "lorasp": lorasp}))
    assert found.kind == kind
    assert found.parts["lorasp against full"].kind == kind and len(found.rows) == 1


def test_parity_is_not_decided_by_lora() -> None:
    found = answer(load("parity"), seen({"full": 80.0, "lorasp": 80.0, "lora": 90.0}))
    assert found.kind == "confirmed"
    assert found.parts["lorasp against lora"].kind == "contradicted"


def test_one_better_strategy_contradicts() -> None:
    study, margin = load("strategies"), 2.0
    assert answer(study, seen({"lorasp": 80.0, "row": 80.0}, margin)).kind == "confirmed"
    found = answer(study, seen({"lorasp": 80.0, "row": 80.0, "layer": 90.0}, margin))
    assert found.kind == "contradicted" and "layer is surely better" in found.sentence
    assert [row["verdict"] for row in found.rows] == ["confirmed", "contradicted"]


def test_the_mean_over_several_tasks_decides() -> None:
    found = answer(load("strategies"), seen({"lorasp": 80.0, "row": 80.0}, 2.0, ("cola", "rte")))
    assert [row["on"] for row in found.rows] == ["average of 2 tasks"]


def test_failed_cells_decide_nothing() -> None:
    records = grid_of({("rte", "full"): [80.0, 81.0, 80.5], ("rte", "lorasp"): [80.1, 81.3, None]}, ("rte",))
    found = answer(load("parity"), Gathered(records, (), analyse(records, (), margin=5.0), 5.0))
    assert found.kind == "undecided" and "1 cells failed" in found.sentence


def test_one_seed_decides_nothing() -> None:
    records = grid_of({("rte", "full"): [80.0], ("rte", "lorasp"): [80.0]}, ("rte",))
    found: Any = answer(load("parity"), Gathered(records, (), analyse(records, (), margin=1.0), 1.0))
    assert found.kind == "undecided"
