"""What a report says of tuning."""

from __future__ import annotations

import itertools
import statistics
from pathlib import Path

import pandas as pd
import pytest

from harness.core.tuned import Trial, Tuned
from reports.document import Findings
from reports.render import write_report
from reports.tuning import add_tuning, build_chosen_table, compute_budget_curve, compute_expected_best, list_budgets
from tests.reports.records import cell, record

SCORES = [61.5, 40.0, 61.5, 55.25, 0.0]


def tuned(method: str = "lora", scores: tuple[float | None, ...] = (50.0, 61.0, None), best: int = 1) -> Tuned:
    made = [
        Trial(values={"lr": 1e-3 * 10**i}, keys=[f"{method}{i}"], score=score, steps=7, seconds=0.5)
        for i, score in enumerate(scores)
    ]
    edges = {"lr": "highest"} if best == len(scores) - 1 else {}
    return Tuned.model_validate(
        {"suite": "glue", "tasks": ["rte"], "method": method, "ranges": {"lr": (1e-4, 1e-1)}}
        | {"trials": made, "best": best, "edges": edges}
    )


@pytest.mark.parametrize("budget", [1, 2, 3, 5])
def test_expected_best_is_the_mean_over_all_draws(budget: int) -> None:
    every = [max(drawn) for drawn in itertools.product(SCORES, repeat=budget)]
    assert compute_expected_best(SCORES, budget) == pytest.approx(statistics.fmean(every))


def test_a_trial_that_failed_counts_as_one() -> None:
    assert compute_budget_curve(tuned()) == pytest.approx(
        [statistics.fmean(max(d) for d in itertools.product([50.0, 61.0, 0.0], repeat=n)) for n in (1, 2, 3)]
    )


def test_table_says_cost_and_edge() -> None:
    frame = pd.DataFrame(build_chosen_table([tuned(), tuned("head", (50.0, 61.0, 62.0), 2)]))
    assert list(frame["at the edge"]) == ["no", "lr (highest tried)"]
    assert list(frame["trials"]) == [3, 3] and list(frame["failed"]) == [1, 0] and list(frame["steps"]) == [21, 21]
    assert list(frame["chosen"]) == ["lr 0.01", "lr 0.1"] and list(frame["seconds"]) == [1.5, 1.5]


@pytest.mark.parametrize(("seeds", "says"), [(1, "of one seed"), (3, "of the mean over 3 seeds")])
def test_note_says_how_many_seeds_a_trial_has(seeds: int, says: str) -> None:
    own = tuned()
    trials = [t.model_copy(update={"keys": [f"k{i}" for i in range(seeds)]}) for t in own.trials]
    made = add_tuning(
        Findings(), [record(60.0, cell(protocol={"name": "tuned"}))], [own.model_copy(update={"trials": trials})]
    )
    assert f"Scores are {says}, on a part of the train rows" in made.tables[0][2][0]


def test_columns_of_budgets() -> None:
    assert list_budgets(3) == [1, 2, 3] and list_budgets(24) == [1, 2, 4, 8, 16, 24]


def test_report_has_tables_and_figure_of_tuned_runs_only(tmp_path: Path) -> None:
    own = [tuned(), tuned("head", (50.0, 61.0, 62.0), 2)]
    for name in ("tuned", "default"):
        records = [record(60.0, cell("rte", m, s, protocol={"name": name})) for m in ("lora", "head") for s in (0, 1)]
        found = add_tuning(Findings(), records, own)
        write_report(records, [], tmp_path / name, "title", "command", findings=found)
    text = (tmp_path / "tuned" / "report.md").read_text()
    assert "At the edge of what was tried, so that a better value may lie beyond: head on rte (lr)." in text
    assert "Best validation score to expect, by trials" in text and "figures/glue-budgets.svg" in text
    assert (tmp_path / "tuned" / "figures" / "glue-budgets.png").is_file()
    assert "Tuning" not in (tmp_path / "default" / "report.md").read_text()
    assert not (tmp_path / "default" / "figures" / "glue-budgets.png").exists()
